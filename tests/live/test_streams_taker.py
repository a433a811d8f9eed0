"""The taker of segments takes what Flink makes whole once, whatever dies; without Flink here."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import pytest
from live_cases import check, online
from streams_cases import FEED, NOW, POISON, counted, lmdb, opening, states, stream

from tacit.errors import DataError, StoreError
from tacit.live.inputs.rows import read_json
from tacit.live.streams import lanes, taker
from tacit.live.streams.lanes import Batch, begin, shard_of
from tacit.live.streams.route import Opening
from tacit.live.streams.taker import Taker


def segments(folder: Path, messages: list[bytes], shards: int, name: str, stray: float = 0) -> None:
    """What the SQL of `flink_sql` would write; some dealt to the wrong shard."""
    rng = random.Random(name)
    for view, declared in enumerate(FEED.views):
        for message in messages:
            try:
                row = json.loads(message)
                key = "\x1f".join(str(row[source]) for _, source in declared.keys)
                shard = shard_of(key.encode(), shards)
            except (ValueError, TypeError, KeyError):
                shard = 0
            if rng.random() < stray:
                shard = rng.randrange(shards)
            place = folder / f"view={view}" / f"shard={shard}"
            place.mkdir(parents=True, exist_ok=True)
            line = {"line": base64.b64encode(message).decode(), "came": NOW}
            with (place / f"part-{name}-{rng.randrange(2)}").open("a") as file:
                file.write(json.dumps(line) + "\n")
            (place / ".part-being-written").touch()


def begun(given: Opening, shards: int) -> Batch:
    batch = begin(given.open(), "events", "flink", "run", 0, shards, NOW)
    assert batch is not None
    return batch


def pushed(folder: Path, messages: list[bytes], ids: str | None) -> object:
    store = online(folder, FEED)
    rows, _, rejected = read_json(messages, ids)
    store.push("events", rows, now=NOW, ids=ids, rejected=rejected)
    return store


@pytest.mark.parametrize(("ids", "stray"), [("event", 0), (None, 0.1)])
def test_segments_become_what_push_writes(tmp_path: Path, ids: str | None, stray: float) -> None:
    rows, messages = stream(21, 900)
    given = opening(lmdb(tmp_path / "flink"), ids)
    batch = begun(given, 3)
    folder = tmp_path / "segments"
    whole = Taker(given, batch, folder)
    for i, a in enumerate(range(0, len(messages), 400)):
        segments(folder, messages[a : a + 400], 3, f"s{i}", stray)
        for share in range(2):  # two takers
            Taker(given, batch, folder, (share, 2)).step()
    assert whole.step() == 0
    assert not list(folder.rglob("part-*"))
    store, local = given.open(), pushed(tmp_path / "push", messages, ids)
    assert states(store) == states(local)
    assert counted(store, "events") == counted(local, "events")
    assert counted(store, "events")["quarantined"] == len(POISON)
    if ids:
        check(store, FEED, rows, NOW)


def test_a_taker_that_dies_anywhere_takes_each_line_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, messages = stream(22, 400)
    given = opening(lmdb(tmp_path / "flink"), "event")
    batch, folder, rng = begun(given, 3), tmp_path / "segments", random.Random(3)
    monkeypatch.setattr(taker, "_LINES", 37)  # within segments, too
    unlink, write, left = Path.unlink, lanes.write, [0]

    def tick() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("killed")

    def dying(*args: object) -> object:
        tick()
        return write(*args)  # type: ignore[arg-type]

    def removing(path: Path, missing_ok: bool = False) -> None:
        tick()
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(lanes, "write", dying)
    monkeypatch.setattr(Path, "unlink", removing)
    for i, a in enumerate(range(0, len(messages), 200)):
        segments(folder, messages[a : a + 200], 3, f"s{i}")
        while list(folder.rglob("part-*")):
            left[0] = rng.randrange(9)
            try:
                Taker(given, batch, folder).step()
            except RuntimeError:
                continue
    monkeypatch.undo()
    last = Taker(given, batch, folder)
    last.step()
    last.close()
    local = pushed(tmp_path / "push", messages, "event")
    assert states(given.open()) == states(local)
    assert counted(given.open(), "events") == counted(local, "events")


def test_two_takers_of_one_shard_do_not_count_twice(tmp_path: Path) -> None:
    _, messages = stream(23, 100)
    given = opening(lmdb(tmp_path / "flink"), None)
    batch, folder = begun(given, 1), tmp_path / "segments"
    segments(folder, messages, 1, "s")
    one, other = Taker(given, batch, folder), Taker(given, batch, folder)
    pieces = other._pieces(0)
    assert one.step() == 3 * len(messages)
    assert not other._lane(0, pieces)  # all of it is in
    one._away.clear()
    again = [piece for piece in pieces if piece.view == 0]
    fresh = type(again[0])(tmp_path / "new", 0, "flink/0/0/new", again[0].lines, 5, last=True)
    with pytest.raises(StoreError) as taken:
        other._lane(0, [again[0], fresh])
    assert taken.value.code == "T726"


def test_what_flink_did_not_write_is_refused(tmp_path: Path) -> None:
    given = opening(lmdb(tmp_path / "flink"), None)
    place = tmp_path / "segments" / "view=0" / "shard=0"
    place.mkdir(parents=True)
    (place / "part-x").write_text("{}\n")
    with pytest.raises(DataError) as refused:
        Taker(given, begun(given, 1), tmp_path / "segments").step()
    assert refused.value.code == "T394"
