"""How often the store is asked for one key."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from live_cases import NOW, events, feed, online, small

from tacit.live.merging import Merger
from tacit.live.place import Place, standing_key
from tacit.store.online.lmdb import Lmdb
from tacit.values import HOUR


class Counted:
    """A reading that writes down which keys it was asked for, a list for each trip."""

    def __init__(self, inner: Any, trips: list[list[bytes]]) -> None:
        self.inner, self.trips = inner, trips

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.trips.append(list(keys))
        found: list[bytes | None] = self.inner.get(keys)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Counting(Lmdb):
    trips: list[list[bytes]]

    @contextmanager
    def read(self) -> Iterator[Any]:  # type: ignore[override]
        with super().read() as inner:
            yield Counted(inner, self.trips)


@pytest.mark.parametrize("waits", [False, True])
def test_a_key_takes_three_point_reads_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """Its head; of a heavy one its index, and in a third read segments. Beside them, of the view,
    which version stands and which deltas wait."""
    small(monkeypatch)
    monkeypatch.setattr(Merger, "pushed", lambda self, count: None)
    given, rng = feed(endless=False), random.Random(1)
    backend = Counting(tmp_path, sync=False)
    backend.trips = []
    store = online(backend, given)
    for _ in range(6):
        store.push("events", events(rng, 30, NOW, 2 * HOUR), now=NOW)
    store.merger.run()
    if waits:
        store.push("events", events(rng, 30, NOW, 2 * HOUR), now=NOW)
    [form] = [each for each in given.forms if each.view.name == "users"]
    place = Place.of("events", 1, "users")
    look = store.lookup([window.signal for window in form.view.windows])
    look.one({"user": "ann"}, NOW)  # what waits is read once, by whoever comes first
    of_view = {standing_key("events"), place.deltas}
    for user, most, segments in (("ann", 3, True), ("nobody", 1, False)):
        backend.trips.clear()
        look.one({"user": user}, NOW)
        own = [[key for key in trip if key not in of_view] for trip in backend.trips]
        own = [trip for trip in own if trip]
        assert 1 <= len(own) <= most
        assert any(key.startswith(place.prefix + b"s") for key in own[-1]) == segments
        assert sum(len(trip) for trip in backend.trips) - sum(map(len, own)) == 2
