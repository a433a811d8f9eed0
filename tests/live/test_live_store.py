"""The online store keeps its word: once, whole, until it must go, and not a wrong value."""

from __future__ import annotations

import json
import math
import random
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_cases import NOW, SCHEMA, check, crash_feed, events, feed, online, small, table

from examples import examples
from tacit.errors import DataError, StoreError
from tacit.live import expansion, scan
from tacit.live.accept import Rejected
from tacit.live.baseline import begin
from tacit.live.erasing import erase
from tacit.live.intake import PUSHED, Taken
from tacit.live.online import Online
from tacit.live.place import Mark, Place
from tacit.live.values import Status
from tacit.store.online.lmdb import Lmdb
from tacit.values import DAY, HOUR, MINUTE, SECOND


def fill(store: Online, rounds: int = 6, seed: int = 1) -> tuple[list[dict[str, Any]], int]:
    rng, rows, now = random.Random(seed), [], NOW
    for step in range(rounds):
        now = NOW + step * 10 * MINUTE
        batch = events(rng, 30, now, 2 * HOUR)
        store.push("events", batch, now=now)
        rows += batch
    return rows, now


def value(store: Online, signal: str, at: int, **keys: str) -> Any:
    return store.lookup([signal]).one(keys, at).values[0]


# ---------------------------------------------------------------------- once


def test_a_push_counts_once_by_its_batch_and_events_by_their_ids(tmp_path: Path) -> None:
    store = online(tmp_path, feed())
    rows = [dict.fromkeys(SCHEMA) | {"user": "ann", "at": NOW - 1, "item": "i0"}]
    first = store.push("events", rows, now=NOW, batch="b1")
    again = store.push("events", rows, now=NOW, batch="b1")
    assert (first.accepted, again.accepted, again.duplicates) == (1, 0, 1)
    three = rows * 3
    receipt = store.push("events", three, now=NOW, ids=["a", "b", "a"])
    assert (receipt.accepted, receipt.duplicates) == (2, 1)
    later = NOW + 8 * DAY  # past what is remembered
    store.push("events", [{**rows[0], "at": later - 1}], now=later, ids=["c"])
    store.push("events", [{**rows[0], "at": later - 1}], now=later, ids=["a"])
    assert value(store, "count.c2.None", later, user="ann") == 5
    # an int and the text of it are different ids
    receipt = store.push("events", rows * 2, now=later, ids=[7, "7"])
    assert receipt.accepted == 2


def test_rows_without_an_id_are_not_one_another_s(tmp_path: Path) -> None:
    store = online(tmp_path, feed())
    row = dict.fromkeys(SCHEMA) | {"user": "ann", "at": NOW - 1, "item": "i0"}
    rows: list[Any] = [{**row, "nr": "a"}, row, {**row, "nr": None}]
    columns = table(rows).append_column("nr", pa.array(["a", None, None]))
    pushes: list[tuple[Any, Any]] = [(rows, "nr"), (columns, "nr"), (rows, ["a", None, "b"])]
    for given_rows, ids in pushes:
        with pytest.raises(DataError, match="T391"):
            store.push("events", given_rows, now=NOW, ids=ids)
    assert store.standing("events").counts == {}
    assert store.push("events", rows[:1], now=NOW, ids="nr").accepted == 1


def test_many_runs_of_ids_stay_few(tmp_path: Path) -> None:
    store = online(tmp_path, crash_feed())
    row = dict.fromkeys(SCHEMA) | {"user": "ann", "at": NOW - 1}
    for i in range(70):  # more than 8 · 8
        store.push("events", [row], now=NOW, ids=[i])
        assert store.push("events", [row], now=NOW, ids=[i // 2]).accepted == 0
    with store.backend.read() as reading:
        assert len(list(reading.scan(b"i"))) < 16


def test_two_readers_of_a_stream_do_not_both_count(tmp_path: Path) -> None:
    store = online(tmp_path, feed())
    row = dict.fromkeys(SCHEMA) | {"user": "ann", "at": NOW - 1}
    taken = Taken("s", [(1,)], Mark(), Mark((1,)))
    store.push("events", [row], now=NOW, taken=taken)
    with pytest.raises(StoreError) as caught:
        store.push("events", [row], now=NOW, taken=taken)
    assert caught.value.code == "T726"
    assert store.mark("events", "s") == Mark((1,))
    assert value(store, "rows.None", NOW, user="ann") == 0
    assert value(store, "since.None", NOW, user="ann") == 1


# ---------------------------------------------------------------------- what does not fit


def test_bad_rows_go_to_quarantine_with_the_reason(tmp_path: Path) -> None:
    store = online(tmp_path, feed())
    good = dict.fromkeys(SCHEMA) | {"user": "ann", "at": NOW - 1, "quantity": 3}
    rows: list[Any] = [
        good,
        {**good, "quantity": "three"},
        {**good, "at": "yesterday"},
        {**good, "at": "2025-06-15T15:06:39.5Z"},
        {**good, "at": NOW + 301 * SECOND},
        {**good, "at": NOW + 10},
        {**good, "quantity": 2**70},
        {**good, "quantity": True},
        "no row",
        {**good, "user": None},
    ]
    receipt = store.push("events", rows, now=NOW)
    assert (receipt.accepted, receipt.quarantined) == (3, 7)
    reasons = [reason for _, reason, _ in store.quarantined("events")]
    assert len(reasons) == 7
    assert sum("301 s in the future" in reason for reason in reasons) == 1
    assert value(store, "count.c1.600000000", NOW, user="ann") == 2
    assert value(store, "count.c1.600000000", NOW + 11, user="ann") == 3  # parked until its time
    store.sweep(NOW + 31 * DAY)
    assert list(store.quarantined("events")) == []


def test_tables_that_do_not_fit_are_refused_whole(tmp_path: Path) -> None:
    store = online(tmp_path, feed())
    rows = table([dict.fromkeys(SCHEMA) | {"user": "ann", "at": NOW}])
    for wrong in (
        rows.drop_columns(["price"]),
        rows.set_column(4, "quantity", pa.array(["x"])),
        rows.append_column("user", pa.array(["x"])),
    ):
        with pytest.raises(DataError) as caught:
            store.push("events", wrong, now=NOW)
        assert caught.value.code == "T391"
    with pytest.raises(DataError, match="T391"):
        store.push("events", rows, now=NOW, ids="nr")
    for call, code in (
        (lambda: store.push("nothing", rows, now=NOW), "T392"),
        (lambda: store.lookup(["nothing"]), "T393"),
        (lambda: value(store, "rows.None", NOW), "T390"),
        (lambda: value(store, "rows.None", NOW, user=7), "T390"),  # type: ignore[arg-type]
        (lambda: store.lookup(["rows.None"]).many({"user": "ann"}, NOW), "T390"),
    ):
        with pytest.raises(DataError) as caught:
            call()
        assert caught.value.code == code
    assert store.standing("events").counts == {}


def test_late_rows_merge_until_no_window_sees_them(tmp_path: Path) -> None:
    store = online(tmp_path, feed(endless=False), slack=HOUR)
    row = dict.fromkeys(SCHEMA) | {"user": "ann", "quantity": 1}
    for ago, late in ((0, 0), (5 * HOUR, 0), (7 * HOUR, 0), (7 * HOUR + SECOND, 1)):
        receipt = store.push("events", [{**row, "at": NOW - ago}], now=NOW)
        assert (receipt.accepted, receipt.late) == (1, late)
    assert value(store, "count.c1.21600000000", NOW + 1, user="ann") == 2
    with pytest.raises(StoreError, match="T725"):
        value(store, "count.c1.21600000000", NOW - 2 * HOUR, user="ann")


# ---------------------------------------------------------------------- statuses


def test_every_value_has_a_status(tmp_path: Path) -> None:
    store = online(tmp_path, feed(endless=False), stale=HOUR)
    row = dict.fromkeys(SCHEMA) | {"user": "ann", "at": NOW - 1, "quantity": 1}
    store.push("events", [row], now=NOW)
    signals = ["count.c1.3600000000", "sum.c0.3600000000"]
    look = store.lookup(signals)
    assert look.one({"user": "ann"}, NOW) == ([1, None], [Status.FRESH, Status.MISSING])
    assert look.one({"user": "bob"}, NOW) == ([0, None], [Status.MISSING, Status.MISSING])
    denied = look.one({"user": "ann"}, NOW, allowed=[False, True])
    assert denied == ([None, None], [Status.DENIED, Status.MISSING])
    batch = look.many({"user": ["ann", "bob"]}, NOW, allowed=[True, False])
    assert batch.status.tolist() == [[0, 3], [2, 3]]
    assert batch.floats()[:, 0].tolist() == [1.0, 0.0]
    assert np.isnan(batch.floats()[:, 1]).all()
    later = NOW + HOUR + 30 * MINUTE
    assert look.one({"user": "ann"}, later).status[0] == Status.STALE
    store.heard("events", later)
    assert look.one({"user": "ann"}, later).status[0] == Status.FRESH
    gone = NOW + DAY  # expired is missing, swept or not
    store.heard("events", gone)
    assert look.one({"user": "ann"}, gone) == ([0, None], [Status.MISSING, Status.MISSING])
    store.sweep(gone)
    assert look.one({"user": "ann"}, gone) == ([0, None], [Status.MISSING, Status.MISSING])


# ---------------------------------------------------------------------- baselines


@given(st.integers(0, 2**32), st.booleans())
@settings(max_examples=8, deadline=None)
def test_a_baseline_and_the_live_tail_meet_exactly(
    tmp_path_factory: pytest.TempPathFactory, seed: int, by_ids: bool
) -> None:
    """Random cuts: the batch holds what its mark says, the tail what came after, and they overlap
    in the journal."""
    rng = random.Random(seed)
    given_feed = feed(baseline=True)
    given_feed = replace(
        given_feed, views=tuple(replace(v, windows=v.windows[:9]) for v in given_feed.views)
    )
    store = online(tmp_path_factory.mktemp("cut"), given_feed)
    rows = events(rng, 60, NOW)
    ids = list(range(len(rows)))

    def send(low: int, high: int) -> None:
        if by_ids:
            store.push("events", rows[low:high], now=NOW, ids=ids[low:high])
        else:
            positions = [(i,) for i in range(low, high)]
            before = store.mark("events", "s")
            taken = Taken("s", positions, before, Mark((high - 1,)))
            store.push("events", rows[low:high], now=NOW, taken=taken)

    done = 0
    for _ in range(2):  # the first baseline, then another over a store that runs
        with_rows = sorted(rng.randrange(done, 61) for _ in range(4))
        early, start, cut, end = with_rows
        for low, high in ((done, early), (early, start)):
            if low < high:
                send(low, high)
        if not store.standing("events").version:
            with pytest.raises(StoreError, match="T728"):
                value(store, "count.c0.600000000", NOW, user="ann")
        building = begin(store, "events")
        if start < end:
            send(start, end)
        held = table(rows[:cut]).append_column("id", pa.array(ids[:cut], pa.int64()))
        building.add(held, now=NOW, ids="id" if by_ids else None)
        marks = None if by_ids else {"s": Mark((cut - 1,))}
        building.finish(now=NOW, marks=marks)
        done = end
        check(store, given_feed, rows[:done], NOW + 1)
    with store.backend.read() as reading:
        assert list(reading.scan(b"j")) == []
        versions = {key[:11] for key, _ in reading.scan(b"d")}
    assert len(versions) <= 1


def test_a_baseline_that_would_leave_a_gap_is_refused(tmp_path: Path) -> None:
    store = online(tmp_path, feed())
    row = dict.fromkeys(SCHEMA) | {"user": "ann", "at": NOW - 1}
    taken = Taken("s", [(5,)], Mark(), Mark((5,)))
    receipt = store.push("events", [row], now=NOW, taken=taken)
    building = begin(store, "events")
    building.add(table([]), now=NOW)
    for marks in ({"s": Mark((4,))}, {PUSHED: Mark((receipt.position - 1,))}):
        with pytest.raises(StoreError, match="T729"):
            building.finish(now=NOW, marks=marks)
    other = begin(store, "events")
    with pytest.raises(StoreError, match="T729"):
        building.add(table([row]), now=NOW)
    other.add(table([row]), now=NOW)
    other.finish(now=NOW, marks={"s": Mark((5,))})
    assert value(store, "since.None", NOW, user="ann") == 1


def test_a_store_of_another_meaning_answers_nothing(tmp_path: Path) -> None:
    store = online(tmp_path, feed())
    rows, now = fill(store, 2)
    store.backend.close()
    before = feed()
    fewer = replace(before, views=(replace(before.views[0], windows=before.views[0].windows[3:]),))
    other = online(tmp_path, fewer)
    signal = fewer.views[0].windows[0].signal
    for call in (
        lambda: other.lookup([signal]).one({"user": "ann"}, now),
        lambda: other.push("events", rows[:1], now=now),
    ):
        with pytest.raises(StoreError, match="T727"):
            call()
    building = begin(other, "events")
    building.add(table(rows), now=now)
    building.finish(now=now)
    check(other, fewer, rows, now)


# ---------------------------------------------------------------------- erasure


@pytest.mark.parametrize("who", ["ann", "é", 'a"b', "c\\d", "日本", "it's"])
def test_erasing_a_person_reaches_quarantine_however_they_are_spelt(
    tmp_path: Path, who: str
) -> None:
    store = online(tmp_path, crash_feed())
    row = dict.fromkeys(SCHEMA) | {"item": "i0", "at": NOW + DAY}
    store.push("events", [row | {"user": who}, row | {"user": "other"}], now=NOW)
    raw = json.dumps(row | {"user": who, "at": None}, ensure_ascii=False).encode()
    odd = "".join(f"\\u{ord(each):04X}" for each in who)  # as JSON may be, if nobody does it
    also = [Rejected(0, "no row", text) for text in (raw, f'{{"user": "{odd}"}}'.encode())]
    store.push("events", [row | {"user": "other"}], now=NOW, rejected=also)
    assert erase(store, "person", [who], compact=False).quarantine == 3
    left = [json.loads(text)["user"] for _, _, text in store.quarantined("events")]
    assert left == ["other", "other"]


def test_erasing_a_person_reaches_everything_and_the_bytes_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    given_feed = feed(endless=False)
    store = online(tmp_path, given_feed)
    rows, now = fill(store, 10)
    mark = "person-to-erase-7f3a"
    own = [{**row, "user": mark} for row in events(random.Random(9), 80, now, HOUR)]
    own += [{**own[0], "quantity": 5}]
    store.push("events", own, now=now)
    store.push("events", [{**own[0], "at": now + DAY}], now=now)  # to quarantine
    check(store, given_feed, rows + own, now)
    folder = tmp_path
    assert _holds(folder, mark)
    erased = erase(store, "person", [mark])
    assert erased.keys >= 2
    assert erased.changed >= 4
    assert erased.quarantine == 1
    assert erased.rebuild == []
    check(store, given_feed, rows, now)
    assert value(store, "count.c1.3600000000", now, user=mark) == 0
    assert not _holds(folder, mark)
    check(online(folder, given_feed), given_feed, rows, now)
    with pytest.raises(DataError, match="T390"):
        erase(store, "person", [7])


def test_erasing_names_views_whose_folded_states_remain(tmp_path: Path) -> None:
    store = online(tmp_path, feed())
    rows, now = fill(store)
    erased = erase(store, "person", ["ann"], compact=False)
    assert erased.rebuild == ["items of"]
    building = begin(store, "events")
    building.add(table([row for row in rows if row["user"] != "ann"]), now=now)
    building.finish(now=now)
    check(store, feed(), [row for row in rows if row["user"] != "ann"], now)


def test_erasing_reaches_the_journal(tmp_path: Path) -> None:
    kept = feed(baseline=True)
    store = online(tmp_path, kept)
    rows, now = fill(store)
    assert erase(store, "person", ["ann", "x" * 600], compact=False).journal > 30
    building = begin(store, "events")
    building.finish(now=now)
    left = [row for row in rows if row["user"] not in ("ann", "x" * 600)]
    check(store, kept, left, now)


def _holds(folder: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_an_event_that_was_dated_ahead_may_come_again(tmp_path: Path) -> None:
    """Under its id, once its date is mended or has come; it is no duplicate of what waits aside."""
    store = online(tmp_path, feed())
    row = {"user": "ann", "item": "i0", "at": NOW + DAY, "price": 1.0, "quantity": 1}
    early = store.push("events", [row], now=NOW, ids=["e1"])
    assert (early.accepted, early.quarantined, early.duplicates) == (0, 1, 0)
    mended = store.push("events", [row | {"at": NOW - 1}], now=NOW, ids=["e1"])
    assert (mended.accepted, mended.duplicates) == (1, 0)
    again = store.push("events", [row | {"at": NOW - 1}], now=NOW, ids=["e1"])
    assert (again.accepted, again.duplicates) == (0, 1)


# ---------------------------------------------------------------------- damage, full disks


def test_a_damaged_blob_is_never_a_wrong_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    given_feed = feed(endless=False)
    store = online(tmp_path, given_feed)
    _, now = fill(store)
    store.merger.run()
    view = given_feed.views[0].name
    place = Place.of("events", 1, view)
    signals = [w.signal for w in given_feed.views[0].windows[:20]]
    look, rng = store.lookup(signals), random.Random(2)
    key = b"\x00ann"
    right = look.one({"user": "ann"}, now)
    with store.backend.read() as reading:
        kept = dict(reading.scan(place.segment(key)))
        kept |= {at: reading.get([at])[0] or b"" for at in (place.head(key), place.index(key))}
    assert len(kept) > 3
    for at, raw in kept.items():
        for _ in range(12):
            wrong = bytearray(raw)
            wrong[rng.randrange(len(wrong))] ^= 1 << rng.randrange(8)
            cut = bytes(wrong) if rng.random() < 0.7 else raw[: rng.randrange(len(raw)) // 8 * 8]
            with store.backend.change() as change:
                change.put([(at, cut)])
            # A segment that nobody needs is not read.
            assert _read(look, now) in (right, "T724", "T727")
        with store.backend.change() as change:
            change.put([(at, raw)])
    with store.backend.change() as change:
        change.put([(place.head(key), b"\0" * 72)])
    receipt = store.push(
        "events",
        [{**dict.fromkeys(SCHEMA), "user": u, "at": now} for u in ("ann", "bob")],
        now=now,
    )
    assert receipt.accepted == 2
    store.merger.run()
    assert store.standing("events").counts["quarantined"] == 1  # ann's row waits; bob's is in
    assert value(store, "since.600000000", now + 5, user="bob") == 5


def _read(look: Any, now: int) -> Any:
    try:
        return look.one({"user": "ann"}, now)
    except StoreError as error:
        return error.code


def test_a_full_store_keeps_nothing_of_a_change(tmp_path: Path) -> None:
    store = online(Lmdb(tmp_path, limit=1 << 20), crash_feed())
    rng, rows = random.Random(1), []
    full = False
    while not full:
        batch = events(rng, 100, NOW)
        try:
            store.push("events", batch, now=NOW)
        except StoreError as error:
            full = error.code == "T720"
            if not full:
                raise
        else:
            rows += batch
    assert rows
    check(store, crash_feed(), rows, NOW)


@pytest.mark.slow
def test_a_full_disk_keeps_nothing_of_a_change(tmp_path: Path) -> None:
    """A process whose files may not grow past 1 MiB stands for a disk without space."""
    code = f"""
import random, sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1] / "parity")]!r}
import resource, signal
from pathlib import Path
from live_cases import NOW, crash_feed, events, online
from tacit.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = online(Path({str(tmp_path)!r}), crash_feed())
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
rng, done = random.Random(1), 0
try:
    while True:
        store.push("events", events(rng, 100, NOW), now=NOW)
        done += 1
except StoreError as error:
    assert error.code == "T720", error
    print(done)
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    rng, rows = random.Random(1), []
    for _ in range(int(found)):
        rows += events(rng, 100, NOW)
    assert rows
    check(online(tmp_path, crash_feed()), crash_feed(), rows, NOW)


# ---------------------------------------------------------------------- arithmetic


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30))
@settings(max_examples=examples(300), deadline=None)
def test_sums_and_means_are_rounded_once(values: list[float]) -> None:
    """Compiled sums and means are the exact ones, or say that they do not know."""
    from fractions import Fraction

    parts, found = np.zeros(64), np.zeros(1, np.int64)
    exact = Fraction(0)
    many, hard = 0, False
    for number in values:
        if abs(number) > 2.0**960:
            hard = True
            continue
        exact += Fraction(number)
        many = expansion.add(parts, many, number)
    assert sum(map(Fraction, parts[:many].tolist()), Fraction(0)) == exact
    if hard or many > scan.KEPT:
        return
    assert expansion.rounded(parts, many) == float(exact)
    mean, certain = expansion.quotient(parts, many, max(1, len(values)))
    if certain:
        assert mean == float(exact / max(1, len(values)))
    assert found[0] == 0


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("high", "low", "count"),
    [
        (962.5, 2.842170943040401e-14, 6),
        (811.6, -2.842170943040401e-14, 6),
        (196.9, -7.105427357601002e-15, 3),
        (833.5, 1.4210854715202004e-14, 5),
        (792.9, 1.4210854715202004e-14, 5),
    ],
)
def test_a_mean_half_way_between_two_goes_to_even(
    high: float, low: float, count: int, sign: float
) -> None:
    from fractions import Fraction

    parts = np.array([low * sign, high * sign])
    exact = (Fraction(low) + Fraction(high)) / count * int(sign)
    mean, certain = expansion.quotient(parts, 2, count)
    assert certain
    assert mean == float(exact)
    assert abs(Fraction(mean) - exact) * 2 == Fraction(math.ulp(mean))


@pytest.mark.parametrize("marked", [True, False])
def test_others_notice_at_once_that_a_store_was_compacted(tmp_path: Path, marked: bool) -> None:
    if not marked:  # as an older Tacit left it
        (tmp_path / "current").write_text("data-1")
    reader, other = Lmdb(tmp_path), Lmdb(tmp_path)
    with other.change() as store:
        store.put([(b"a", b"b")])
    for number in (2, 3):
        assert reader.moment() == (f"data-{number - 1}", 1)
        other.compact()
        assert reader.moment() == (f"data-{number}", 1)
        with reader.read() as reading:
            assert reading.moment() == (f"data-{number}", 1)
            assert reading.get([b"a"]) == [b"b"]


def test_a_push_with_ids_that_is_sent_again_quarantines_nothing_again(tmp_path: Path) -> None:
    kept = crash_feed()
    store = online(tmp_path, kept)
    row = dict.fromkeys(SCHEMA) | {"user": "ann", "item": "i0", "at": NOW - 1, "quantity": 1}
    odd = {**row, "quantity": "many", "nr": "b"}
    early = {**row, "at": NOW + HOUR, "nr": "c"}
    rows: list[dict[str, Any]] = [{**row, "nr": "a"}, odd, early]

    def pushed(given: Any, now: int = NOW) -> tuple[int, int, int]:
        found = store.push("events", given, now=now, ids="nr")
        return found.accepted, found.duplicates, found.quarantined

    assert pushed(rows) == (1, 0, 2)
    assert pushed(rows) == (0, 3, 0)
    assert pushed([odd, odd, {**odd, "nr": "d"}, {**odd, "quantity": "few"}]) == (0, 2, 2)
    # In a table what is no column of the source tells rows apart as well.
    nobodys = table([{**row, "user": None}] * 2).append_column("nr", pa.array(["e", "f"]))
    assert pushed(nobodys) == (0, 0, 2)
    assert pushed(nobodys) == (0, 2, 0)
    # Without ids nobody can tell; and what was dated ahead is an event when its time has come.
    assert store.push("events", [odd], now=NOW).quarantined == 1
    assert pushed(rows, NOW + HOUR) == (1, 2, 0)
    counts = store.standing("events").counts
    assert counts["quarantined"] == len(list(store.quarantined("events"))) == 7
    check(store, kept, [rows[0], early], NOW + HOUR + 1)
