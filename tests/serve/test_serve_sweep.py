"""A server sweeps its store once a day, whatever else it does; and stops when it is told to."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from serve_cases import NOW, filled

from tacit.project import Project
from tacit.serve import application as serving
from tacit.serve.application import Application
from tacit.serve.server import application
from tacit.values import DAY


def test_a_server_sweeps_what_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [NOW]
    monkeypatch.setattr(Project, "now", lambda self: clock[0])
    monkeypatch.setattr(serving, "_SWEEP", 0.0)
    monkeypatch.setattr(serving, "_KEEP", 0.01)
    shop = filled(tmp_path)
    shop.push("visits", [{"person": "p1"}, {"person": None}], batch="poison")

    def heads() -> int:
        with shop.online.backend.read() as store:
            return sum(b"h\0" in key for key, _ in store.scan(b"d"))

    async def run(app: Application) -> None:
        asked: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        told: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        living = asyncio.create_task(app({"type": "lifespan"}, asked.get, told.put))
        await asked.put({"type": "lifespan.startup"})
        assert (await told.get())["type"] == "lifespan.startup.complete"
        await asyncio.sleep(0.3)
        assert heads() == before  # it begins to count from here
        clock[0] = NOW + 32 * DAY
        end = time.monotonic() + 20
        while heads() or list(shop.online.quarantined("visits")):
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        await asked.put({"type": "lifespan.shutdown"})
        await living

    assert len(list(shop.online.quarantined("visits"))) == 1
    app = application(shop)
    shop.online.merger.run()
    before = heads()
    assert before > 3
    asyncio.run(run(app))


def test_a_sweep_ends_when_the_server_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [NOW]
    monkeypatch.setattr(Project, "now", lambda self: clock[0])
    monkeypatch.setattr(serving, "_PAUSE", 600.0)
    shop = filled(tmp_path)
    app = application(shop)
    app._sweep()
    clock[0] += DAY
    found = app._sweeper.submit(app._sweep)
    time.sleep(0.2)
    assert not found.done()  # it waits, for those who push
    app._shut_down()
    assert found.done()
