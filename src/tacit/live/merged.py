"""Reading over deltas: heads as they will be once what waits for their keys is merged into them.

What deltas hold is read once, by whoever comes first, and kept while they wait. The heads that are
read together are merged together, by the code that writes them: a batch costs one call of it.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from tacit.aggregates.columns import Array, read_only
from tacit.live import deltas, kernels
from tacit.live.deltas import State
from tacit.live.form import HEADER, Form
from tacit.live.place import STATE, Place
from tacit.live.waiting import Taken, Waiting
from tacit.live.writer import drop_of, text_words
from tacit.store.online.base import Backend, Changing, Reading

_LENGTH = 17  # of a `Place`'s prefix
_VERSIONED, _HEADS = b"dh"


class _View:
    """A view whose deltas are read. Used from several threads."""

    def __init__(self, form: Form, slack: int) -> None:
        self.form = form
        self.slack = slack
        self._waits: dict[bytes, Waiting] = {}
        self._lock = threading.Lock()

    def waiting(self, store: Reading, place: Place, state: State) -> Waiting:
        """What waits, up to the deltas that stand at least."""
        found = self._waits.get(place.prefix)
        if found is not None and found.first == state.first and found.last >= state.last:
            return found
        with self._lock:
            found = self._waits.get(place.prefix)
            if found is None or found.first != state.first:
                found = Waiting(self.form, state.first)
            for delta in deltas.read(store, place, self.form, found.last + 1, state.last):
                found.add(delta.now, delta.rows)
            self._waits = {place.prefix: found}
        return found

    def forget(self) -> None:
        """Lets go of what was read: there are no deltas."""
        if self._waits:
            with self._lock:
                self._waits = {}

    def merge(
        self, waiting: Waiting, state: State, keys: Sequence[bytes], raws: Sequence[bytes | None]
    ) -> list[tuple[int, bytes]]:
        """Of different keys with their heads those that deltas change: their places, and how their
        heads are then. One that is damaged stays as it is: who reads it is told."""
        taken = waiting.take(keys, state.last, state.frozen, state.boundary)
        if taken is None:
            return []
        places = taken.places.tolist()
        had = [raws[k] or b"" for k in places]
        out, ends, states = self._merged(taken, had)
        view = memoryview(out.data).cast("B")
        bounds = (8 * ends).tolist()
        return [
            (k, bytes(view[low:high]))
            for k, low, high, found in zip(places, bounds, bounds[1:], states, strict=False)
            if found == kernels.FINE
        ]

    def _merged(self, taken: Taken, had: Sequence[bytes]) -> tuple[Array, Array, list[int]]:
        """Blobs with what waits, where each lies, and what was there."""
        form, rows = self.form, taken.rows
        offsets = np.append(0, np.cumsum([len(raw) // 8 for raw in had]))
        old = np.frombuffer(b"".join(had), np.int64)
        cuts = {now: drop_of(form, now, self.slack) for now in set(taken.nows.tolist())}
        size = len(old) + rows.rows.size + len(had) * HEADER + text_words(form, rows)
        out = np.empty(size, np.int64)
        ends, _, states = kernels.merge_blobs(
            read_only(old), offsets, rows.rows, rows.starts, read_only(rows.entries),
            read_only(rows.heap), form.texts, form.cells,
            np.array([cuts[now] for now in taken.nows.tolist()], np.int64), form.stamp, out,
        )  # fmt: skip
        return out, ends, states.tolist()


class _Merged:
    """A reading of `Merging`, for the length of a block: heads with what deltas hold of them."""

    __slots__ = ("_block", "_heads", "_inner", "_seen", "_views")

    def __init__(
        self, block: AbstractContextManager[Reading], views: Mapping[bytes, _View]
    ) -> None:
        self._block, self._views = block, views
        self._heads: dict[bytes, bytes] = {}  # merged: a batch reads some keys again
        self._seen: dict[bytes, tuple[_View, State, Waiting] | None] = {}

    def __enter__(self) -> _Merged:
        self._inner = self._block.__enter__()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._block.__exit__(*error)

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        heads = [
            i for i, key in enumerate(keys)
            if key[0] == _VERSIONED and len(key) > _LENGTH and key[_LENGTH] == _HEADS
        ]  # fmt: skip
        if not heads:
            return self._inner.get(keys)
        prefixes = dict.fromkeys([keys[i][:_LENGTH] for i in heads])
        new = [prefix for prefix in prefixes if prefix not in self._seen]
        found = self._inner.get([*keys, *[prefix + STATE for prefix in new]])
        for prefix in new:
            self._seen[prefix] = self._known(prefix, found[len(keys)])
            del found[len(keys)]
        for prefix in prefixes:
            seen = self._seen[prefix]
            if seen is not None:
                mine = heads if len(prefixes) == 1 else [
                    i for i in heads if keys[i].startswith(prefix)
                ]  # fmt: skip
                self._merge(seen, keys, mine, found)
        return found

    def _merge(
        self,
        seen: tuple[_View, State, Waiting],
        keys: Sequence[bytes],
        mine: Sequence[int],
        found: list[bytes | None],
    ) -> None:
        """Has heads of one view, some of what was found, be as they are with what waits."""
        view, state, waiting = seen
        heads = self._heads
        if heads:
            for i in mine:
                found[i] = heads.get(keys[i], found[i])
            mine = [i for i in mine if keys[i] not in heads]
        if mine:
            own = [keys[i][_LENGTH + 1 :] for i in mine]
            for k, raw in view.merge(waiting, state, own, [found[i] for i in mine]):
                found[mine[k]] = heads[keys[mine[k]]] = raw

    def _known(self, prefix: bytes, raw: bytes | None) -> tuple[_View, State, Waiting] | None:
        """What is known of a place's deltas, as of this reading."""
        view = self._views.get(view_of(prefix))
        if view is None:
            return None
        if raw is None:
            view.forget()
            return None
        state = State.load(raw)
        return view, state, view.waiting(self._inner, Place(prefix), state)

    def scan(self, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return self._inner.scan(prefix, after)

    def moment(self) -> Hashable:
        return self._inner.moment()


def view_of(prefix: bytes) -> bytes:
    """Of a `Place`'s prefix the source and the view, whatever the version."""
    return prefix[1:7] + prefix[11:_LENGTH]


class Merging:
    """A backend whose readings show heads with what deltas hold of their keys. A scan, and a
    change, see what is stored: `live.merging` first, who changes heads that are there.

    Args:
        forms: of each view of each source.
        slack: how far back moments are answered.
    """

    def __init__(self, inner: Backend, forms: Mapping[str, Sequence[Form]], slack: int) -> None:
        self.inner = inner
        self.scatters = inner.scatters
        self.moment = inner.moment
        self._views = {
            view_of(Place.of(name, 0, form.view.name).prefix): _View(form, slack)
            for name, several in forms.items()
            for form in several
        }

    def read(self) -> AbstractContextManager[Reading]:
        return _Merged(self.inner.read(), self._views)

    def change(self, lane: str = "", *, settle: bool = True) -> AbstractContextManager[Changing]:
        return self.inner.change(lane, settle=settle)

    def settle(self) -> None:
        self.inner.settle()

    def compact(self) -> None:
        self.inner.compact()

    def size(self) -> int:
        return self.inner.size()

    def close(self) -> None:
        self.inner.close()
