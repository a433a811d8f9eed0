"""Flink SQL writes the states that `push` writes; real runs, killed in between."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from live_cases import check, online
from streams_cases import FEED, NOW, POISON, counted, lmdb, opening, states, stream, written

from tacit.errors import EngineError
from tacit.live.inputs.rows import read_json
from tacit.live.streams import flink as on_flink
from tacit.live.streams.flink import Flink, Streaming, install, python_of
from tacit.live.streams.messages import Messages
from tacit.live.streams.route import Opening
from tacit.live.streams.taker import Piece
from tacit.values import SECOND

pytestmark = pytest.mark.slow
HOME = Path(os.environ.get("TACIT_FLINK", Path(__file__).parents[2] / ".venv" / "flink"))


@pytest.fixture(scope="session")
def flink() -> Flink:
    """Flink in its own virtual environment, which is made here if it is not there."""
    try:
        python_of(HOME)
    except EngineError:
        install(HOME)
    return Flink(HOME, options={"parallelism.default": "2"})


def streaming(flink: Flink, given: Opening, folder: Path) -> Streaming:
    messages = Messages(folder / "in", ids=given.ids)
    state = folder / "flink"
    state.mkdir(exist_ok=True)
    return Streaming(flink, given.open(), given, messages, state, 4, SECOND, lambda: NOW, NOW)


class KilledError(Exception):
    """The process that takes segments dies, and Flink with it."""


def test_flink_writes_the_states_of_push(
    flink: Flink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, messages = stream(31, 1500)
    given = opening(lmdb(tmp_path / "store"), "event", token=str(tmp_path))
    store = given.open()
    written(tmp_path / "in", messages[:900], 150)
    job = streaming(flink, given, tmp_path)
    lane, left = on_flink.Taker._lane, [3]

    def dying(taker: on_flink.Taker, shard: int, pieces: Sequence[Piece]) -> bool:
        taken = lane(taker, shard, pieces)
        left[0] -= taken
        if not left[0]:  # these lines are in, their segments not away; other lanes lack theirs
            raise KilledError
        return taken

    monkeypatch.setattr(on_flink.Taker, "_lane", dying)
    with pytest.raises(KilledError):  # the job is killed with SIGKILL in the midst of it
        job.run(threading.Event(), idle=20)
    assert store.standing("events").streams["flink"]["open"]
    monkeypatch.undo()
    written(tmp_path / "in", messages[900:], 150, "t")
    stopped = threading.Event()
    ending = threading.Thread(target=_when_in, args=(store, len(rows), stopped))
    ending.start()
    streaming(flink, given, tmp_path).run(stopped)
    ending.join()
    assert not store.standing("events").streams["flink"]["open"]
    local = online(tmp_path / "push", FEED)
    found, _, rejected = read_json(messages, "event")
    local.push("events", found, now=NOW, ids="event", rejected=rejected)
    assert states(store) == states(local)
    assert counted(store, "events") == counted(local, "events")
    assert counted(store, "events")["quarantined"] == len(POISON)
    for at in (NOW, NOW - 1, NOW - 1234567):
        check(store, FEED, rows, at)
    assert not list((tmp_path / "flink" / "segments").rglob("part-*"))


def _when_in(store: object, count: int, stopped: threading.Event) -> None:
    """Stops the stream when everything is in, or when it takes too long."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        told = counted(store, "events")  # type: ignore[arg-type]
        if told["accepted"] == count and told["quarantined"] == len(POISON):
            break
        time.sleep(0.2)
    stopped.set()


def test_flink_that_is_not_there_or_fails_says_so(flink: Flink, tmp_path: Path) -> None:
    given = opening(lmdb(tmp_path / "store"), None, token=str(tmp_path))
    with pytest.raises(EngineError) as absent:
        streaming(Flink(tmp_path / "nowhere"), given, tmp_path).run(threading.Event(), idle=1)
    assert absent.value.code == "T416"
    wrong = Flink(flink.home, options={"execution.checkpointing.mode": "NEVER"})
    with pytest.raises(EngineError) as failed:
        streaming(wrong, given, tmp_path).run(threading.Event(), idle=1)
    assert failed.value.code == "T417"
    assert "CheckpointingMode" in str(failed.value)
