"""A stream with lateness and restarts, read online meanwhile; then the same moments as training
rows. What a training set says was known at a moment is what serving said at it.

A shop's lines arrive in another order than they happened in, by every way in that there is; the
process that takes them is restarted at random, between a commit and its acknowledgement too. Now and
then somebody reads. When all is in, the lines are ingested into the lake, and a training set of the
rows that were read, ``as_of="spine"``, must equal what was read.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import redis

from tacit.engines.reference import Reference
from tacit.live.inputs.folder import Folder
from tacit.live.inputs.redis_stream import RedisStream
from tacit.live.values import Status
from tacit.plan.views import views_of
from tacit.project import Project
from tacit.values import DAY, HOUR, MINUTE, SECOND

MODULE = '''\
"""A shop with every kind of signal."""

from tacit import *

customer = Entity("Somebody who shops here.", person="pseudonymous")
article = Entity("Something on sale.")
discover = Purpose("Show what one may want.", use="personalize.content", basis="contract")
articles = Table(
    "What is on sale.", of=article, place="cloud", category=PUBLIC,
    columns={"item": key(article), "band": text()},
)
orders = Events(
    "Every line of every order.",
    place="cloud", region="eu", keep="ever", basis="contract", purposes=[discover],
    time="at", arrival="received_at", category="user.behavior.purchase_history",
    columns={
        "line": integer(), "customer": key(customer, "user.unique_id.pseudonymous", type="int"),
        "item": key(article), "quantity": integer(), "price": number(), "country": text(),
        "at": time(), "received_at": time(),
    },
    derived={"amount": "quantity * price"},
)
lines_1d = orders.count("1d").fresh("2h")
lines_30d = orders.count("30d")
lines = orders.count()
priced = orders.count("7d", value="price")
returned = orders.count("30d", where="quantity < 0")
hopped = orders.count("7d", hop="1d")
units_7d = orders.sum("quantity", "7d")
units = orders.sum("quantity")
spend_7d = orders.sum("amount", "7d")
spend = orders.sum("amount", where="quantity > 0")
mean_30d = orders.mean("price", "30d")
mean_units = orders.mean("quantity")
spread = orders.variance("price", "30d")
faded = orders.decayed("amount", half="3d", window="30d")
cheapest = orders.min("price", "30d")
dearest = orders.max("amount")
first_item = orders.first("item", "30d")
last_item = orders.last("item").fresh("1d")
last_three = orders.last_k("item", k=3, window="7d")
favourites = orders.top_k("item", k=2, window="30d")
items_30d = orders.distinct("item", "30d")
items = orders.distinct("item")
about = orders.approx_distinct("item", "30d")
usual = orders.approx_quantile("price", q=0.5, window="30d")
bands = orders.count("7d", by="articles.band")
since = orders.since()
sold_1d = orders.sum("quantity", "1d", per=article)
sold = orders.count(per=article)
buyers = orders.distinct("customer", "30d", per=article)
price_7d = orders.mean("price", "7d", per=article)
lands = orders.top_k("country", k=2, window="30d", per=article)
times = orders.count(per=(customer, article))
last_time = orders.since("30d", per=(customer, article))
share = Formula("How much of it came back.", sql="returned / lines_30d")
pace = Formula("Faster or slower.", sql="lines_1d * 30 / lines_30d")
training = Sink(
    "To learn who comes back.",
    signals=[NAMES],
    to="training", place="cloud", purposes=[discover], region="eu", keep="90d",
)
'''
NAMES = [
    line.split(" = ")[0]
    for line in MODULE.splitlines()
    if " = orders." in line or " = Formula(" in line
]
FLOATS = {"spend_7d", "spend", "mean_30d", "spread", "faded", "price_7d"}
"""What the local engine adds up in doubles (docs/aggregates.md); all else is equal to the bit."""
FRESH = {"lines_1d", "last_item", "pace"}


def late(rng: np.random.Generator, at: np.ndarray) -> np.ndarray:
    """When lines arrive: most within a minute, some after weeks, a few ahead of their own clock."""
    kind = rng.random(len(at))
    most = np.select(
        [kind < 0.6, kind < 0.85, kind < 0.95, kind < 0.98],
        [MINUTE, HOUR, 2 * DAY, -4 * MINUTE],
        40 * DAY,
    )
    return at + (rng.random(len(at)) * most).astype(np.int64)


def synthetic(seed: int, count: int) -> pa.Table:
    """Lines like a shop's: a few heavy customers and items, ties in time, gaps, returns."""
    rng = np.random.default_rng(seed)
    start = 1_291_190_000 * SECOND
    at = np.sort(start + rng.integers(0, 60 * 24 * 60, count) * MINUTE)
    customers = 12_000 + np.minimum(rng.zipf(1.4, count), 400)
    quantity = np.where(rng.random(count) < 0.05, -1, 1) * rng.integers(1, 30, count)
    price = np.round(rng.gamma(2.0, 2.0, count), 2)
    return pa.table(
        {
            "customer": pa.array(customers, mask=rng.random(count) < 0.02),
            "item": [f"i{n}" for n in np.minimum(rng.zipf(1.3, count), 800)],
            "quantity": pa.array(quantity, mask=rng.random(count) < 0.02),
            "price": pa.array(price, mask=rng.random(count) < 0.02),
            "country": [("fr", "de", "uk")[n] for n in rng.integers(0, 3, count)],
            "at": at,
        }
    )


def retail(path: Path, count: int | None = None) -> pa.Table:
    """The lines of Online Retail, in order; the first so many, or all."""
    columns = ["customer", "item", "quantity", "price", "country", "at"]
    table = pq.read_table(path, columns=columns)
    table = table if count is None else table.slice(0, count)
    at = table["at"].cast(pa.timestamp("us")).cast(pa.int64())
    return table.set_column(5, "at", at)


def arriving(lines: pa.Table, seed: int) -> pa.Table:
    """The lines in the order in which they arrive, each with its number and its arrival."""
    received = late(np.random.default_rng(seed), lines["at"].to_numpy())
    lines = lines.add_column(0, "line", pa.array(np.arange(lines.num_rows)))
    return lines.append_column("received_at", pa.array(received)).sort_by("received_at")


@dataclass
class Shop:
    """A project that is streamed to."""

    folder: Path
    lines: pa.Table
    seed: int
    url: str | None = None
    sweeps: int = 10
    """Every so many steps what no window sees any more is swept away; it looks at every key."""
    rng: random.Random = field(init=False)
    clock: int = 0
    reads: list[tuple[dict[str, Any], list[Any], list[Status]]] = field(default_factory=list)
    segments: int = 0
    restarts: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.received = self.lines["received_at"].to_numpy()
        self.end = int(self.received[-1]) + DAY
        self.segments_at = self.folder / "segments"
        self.segments_at.mkdir(parents=True)
        items = pc.unique(self.lines["item"]).drop_null()
        bands = [None if n % 7 == 0 else f"b{n % 3}" for n in range(len(items))]
        pq.write_table(pa.table({"item": items, "band": bands}), self.folder / "articles.parquet")
        (self.folder / "signals.py").write_text(MODULE.replace("NAMES", ", ".join(NAMES)))
        where = "" if self.url is None else f'\n[online]\nredis = "{self.url}"\n'
        moment = np.datetime64(self.end, "us")
        (self.folder / "tacit.toml").write_text(
            f'name = "shop"\nas_of = {moment}Z\n[sources.articles]\npath = "articles.parquet"\n{where}'
        )
        self.open()

    # ------------------------------------------------------------------ the stream

    def open(self) -> None:
        """A new process, as it were: nothing is left but what is on the disk."""
        self.project = Project.load(self.folder)
        self.online = self.project.online
        self.look = self.project.lookup(NAMES)
        self.streams: Any = None if self.url is None else redis.Redis.from_url(self.url)
        self.reader = self._reader()

    def restart(self) -> None:
        self.restarts += 1
        self.online.backend.close()
        self.open()

    def _reader(self) -> RedisStream | None:
        if self.url is None:
            return None
        size = self.rng.choice([7, 500, 5000])
        return RedisStream(
            self.online, "orders", self.url, "lines", clock=lambda: self.clock, batch=size
        )

    def take(self, part: pa.Table) -> None:
        """Some lines, by one of the ways in."""
        ways = [self._push_table, self._push_batch, self._push_rows, self._drop_segment]
        if self.streams is not None:
            ways = [*ways, *[self._stream] * 4]
        self.rng.choice(ways)(part)

    def _push_table(self, part: pa.Table) -> None:
        """With ids; what was sent already comes again."""
        self.online.push("orders", part, now=self.clock, ids="line")
        if self.rng.random() < 0.3:
            self.restart()
        again = part.slice(self.rng.randrange(part.num_rows))
        assert self.online.push("orders", again, now=self.clock, ids="line").accepted == 0

    def _push_batch(self, part: pa.Table) -> None:
        for _ in range(2):
            self.online.push("orders", part, now=self.clock, batch=str(part["line"][0]))

    def _push_rows(self, part: pa.Table) -> None:
        for low in range(0, part.num_rows, 2000):
            self.online.push("orders", part.slice(low, 2000).to_pylist(), now=self.clock)

    def _drop_segment(self, part: pa.Table) -> None:
        """A file into the folder; its reader stops in its middle."""
        self.segments += 1
        name = self.segments_at / f"{self.segments:06}"
        if self.rng.random() < 0.5:
            pq.write_table(part, name.with_suffix(".parquet"), row_group_size=1000)
        else:
            text = "\n".join(map(json.dumps, part.to_pylist()))
            name.with_suffix(".jsonl").write_text(text + "\n")
        size = max(1, part.num_rows // 3)
        while self._folder(size).step() is not None:
            if self.rng.random() < 0.3:
                self.restart()

    def _folder(self, size: int) -> Folder:
        clock = lambda: self.clock  # noqa: E731
        return Folder(self.online, "orders", self.segments_at, clock=clock, batch=size)

    def _stream(self, part: pa.Table) -> None:
        """Through Redis Streams, with a reader that dies between any two of its steps."""
        with self.streams.pipeline(transaction=False) as pipe:
            for row in part.to_pylist():
                pipe.xadd("lines", {"event": json.dumps(row)})
            pipe.execute()
        while True:
            assert self.reader is not None
            chance = self.rng.random()
            if chance < 0.1 and self.reader._claimed:  # it is given entries, and dies
                self.streams.xreadgroup("tacit", "the dead", {"lines": ">"}, count=50)
                self.restart()
            elif chance < 0.2:  # it commits, and dies before it acknowledges
                entries = self.reader._entries(0)
                if entries:
                    self.reader._commit(entries)
                self.restart()
            elif self.reader.step() is None:
                return

    # ------------------------------------------------------------------ reading meanwhile

    def run(self, steps: int, keys: int) -> None:
        """Streams everything, and reads at random moments."""
        cuts = sorted(self.rng.sample(range(1, len(self.received)), steps))
        done = 0
        for step, cut in enumerate([*cuts, len(self.received)], 1):
            # All that arrived before this moment, and nothing else, is in.
            self.clock = int(self.received[cut - 1]) + 1 + self.rng.choice([0, 0, 7, MINUTE])
            cut = int(np.searchsorted(self.received, self.clock))
            if cut > done:
                self.take(self.lines.slice(done, cut - done))
                done = cut
            if self.rng.random() < 0.25:
                self.restart()
            if step % self.sweeps == 0:
                self.online.sweep(self.clock)
            self.read(done, keys)
        self.clock = self.end

    def read(self, done: int, keys: int) -> None:
        """Some customers and articles at this moment: at once, and a few of them one by one."""
        spine = list(self._chosen(done, keys))
        columns = {name: [row[name] for row in spine] for name in ("customer", "article")}
        table = self.look.many(columns, self.clock)
        for k, row in enumerate(spine):
            values = [column[k] for column in table.columns]
            status = [Status(each) for each in table.status[k]]
            if k < 2:
                one = self.look.one(row, self.clock)
                assert same(one.values, values), (row, one.values, values)
                assert one.status == status
            self.reads.append(({**row, "at": self.clock}, values, status))

    def _chosen(self, done: int, keys: int) -> Iterator[dict[str, Any]]:
        """Keys that were just heard of, among them heavy ones; and one that never was."""
        yield {"customer": -1, "article": "nothing"}
        for _ in range(keys - 1):
            near = self.rng.random() < 0.5
            low = max(0, done - 200) if near else 0
            first, second = (self.rng.randrange(low, done) for _ in range(2))
            second = first if self.rng.random() < 0.5 else second
            who, what = self.lines["customer"][first].as_py(), self.lines["item"][second].as_py()
            yield {"customer": -2 if who is None else who, "article": what}

    # ------------------------------------------------------------------ the same as training rows

    def check(self, exact: int = 20) -> dict[str, int]:
        """Training sets of the rows that were read equal what was read."""
        self._accounted()
        project = Project.load(self.folder)
        ingested = project.ingest("orders", self.lines)
        assert ingested.accepted + ingested.quarantined == self.lines.num_rows
        spine = [key for key, _, _ in self.reads]
        made = project.training_set(spine, NAMES, as_of="spine")
        self._compare(made.table, made.status, self.reads)
        chosen = self.rng.sample(self.reads, min(exact, len(self.reads)))
        self._exactly(project, chosen)
        self._as_of_a_moment(project)
        return {"reads": len(self.reads), "restarts": self.restarts}

    def _accounted(self) -> None:
        """Every line was counted once: in, or in quarantine because it is nobody's."""
        counts = self.online.standing("orders").counts
        nobody = self.lines["customer"].null_count
        assert counts["accepted"] == self.lines.num_rows - nobody
        assert counts["quarantined"] >= nobody  # once for each time that it was sent

    def _compare(self, table: pa.Table, status: pa.Table | None, reads: Sequence[Any]) -> None:
        assert table.num_rows == len(reads)
        for name, place in zip(NAMES, range(len(NAMES)), strict=True):
            theirs = table[name].to_pylist()
            for (key, values, _), wanted in zip(reads, theirs, strict=True):
                close = name in FLOATS
                assert same(values[place], wanted, close), (name, key, values[place], wanted)
            if status is not None:
                told = status[name].to_pylist()
                for (key, values, states), word in zip(reads, told, strict=True):
                    agree(name, key, values[place], states[place], word)

    def _exactly(self, project: Project, reads: Sequence[Any]) -> None:
        """Against the oracle everything is equal to the bit, sums of floats too."""
        names = [name for name in NAMES if name not in ("share", "pace")]
        rows = self.lines.filter(pc.is_valid(self.lines["customer"]))
        content = {"articles": project.rows("articles").table}
        for key, values, _ in reads:
            known = rows.filter(pc.less(rows["received_at"], key["at"]))
            spine = pa.table({name: [value] for name, value in key.items()})
            views = views_of(project.plan, names)
            near = pc.or_(
                pc.equal(known["customer"], key["customer"]),
                pc.equal(known["item"], key["article"]),
            )
            tables = {"orders": known.filter(near), **content}
            truth = Reference().features(views, tables, spine)
            for name, value in zip(NAMES, values, strict=True):
                if name in names:
                    wanted = truth[name][0].as_py()
                    assert same(value, wanted), (name, key, value, wanted)

    def _as_of_a_moment(self, project: Project) -> None:
        """Moments a while before now, as of now: late lines are in, as they are online by then."""
        last = self.end
        spine, read = [], []
        for row in self._chosen(self.lines.num_rows, 8):
            at = last - self.rng.randrange(HOUR)
            found = self.look.one(row, at, now=last)
            spine.append({**row, "at": at})
            read.append((spine[-1], found.values, found.status))
        made = project.training_set(spine, NAMES, as_of=last)
        self._compare(made.table, None, read)


def same(ours: Any, theirs: Any, close: bool = False) -> bool:
    """Equal, and of the same type; floats that were added up in doubles to 1e-9."""
    if isinstance(theirs, list | tuple):
        if not isinstance(ours, list | tuple) or len(ours) != len(theirs):
            return False
        return all(same(a, b, close) for a, b in zip(ours, theirs, strict=True))
    if type(ours) is not type(theirs):
        return False
    if close and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)
    return bool(ours == theirs)


def agree(name: str, key: Any, value: Any, status: Status, word: str) -> None:
    """The statuses are one; but of what holds nothing, online cannot tell whether anything ever
    was: a value is missing, a count is of the key that is known (live.md)."""
    said = status.name.lower()
    if value is None and name not in ("share", "pace"):
        assert said == "missing", (name, key, said)
    elif value not in (None, 0, []):
        assert said == word, (name, key, value, said, word)
    assert {said, word} <= {"missing", "fresh", "stale"}, (name, key, said, word)
