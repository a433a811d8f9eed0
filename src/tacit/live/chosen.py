"""The windows that are asked of one view, as compiled code takes them (`live.look`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from struct import Struct
from typing import Any

import numpy as np

from tacit.aggregates.columns import Array
from tacit.errors import DataError
from tacit.live import fold, look, scan
from tacit.live.feed import LONG, Feed, join_parts, key_parts
from tacit.live.form import BOOL, FLOAT, LEAST, TEXT, Form, Slot, slot_of
from tacit.live.heavy import Segments, adds_up, kind_of
from tacit.live.look import Sheet
from tacit.live.place import Place, standing_key
from tacit.live.sealed import Sealed
from tacit.operations import Window
from tacit.values import Type


class Chosen:
    """The windows that are asked of one view, as arrays."""

    def __init__(self, feed: Feed, form: Form, segments: Segments, windows: Sequence[Window]):
        self.feed, self.form, self.segments = feed, form, segments
        self.keys = [name for name, _ in form.view.keys]
        ranked = sorted(windows, key=lambda w: (*self._group(w), -1 if w.length is None else 0))
        groups: dict[tuple[Any, ...], list[Window]] = {}
        for window in ranked:
            groups.setdefault(self._group(window), []).append(window)
        self.windows = [
            w
            for group in groups.values()
            for w in sorted(group, key=lambda w: (w.length is None, w.length or 0))
        ]
        self.slots = [slot_of(window) for window in self.windows]
        ops = [fold.op_of(slot) for slot in self.slots]
        rows, at = [], 0
        for group in groups.values():
            wants = 0
            for window in group:
                wants |= fold.wants_of(fold.op_of(slot_of(window)))
            first = group[0]
            value = -1 if first.value is None else form.index[first.value]
            where = -1 if first.where is None else form.index[first.where]
            rows.append((value, where, wants, at, at + len(group)))
            at += len(group)
        self.groups = np.array(rows, np.int64)
        endless = [form.reach(window) is None for window in self.windows]
        self.ops = np.array(list(zip(ops, endless, strict=True)), np.int64)
        self.endless = endless
        self.lengths = _numbers(window.length for window in self.windows)
        self.hops = _numbers(window.hop for window in self.windows)
        self.keeps = _numbers(form.keep.get(window.signal) for window in self.windows)
        whole = form.view.windows
        self.all = (
            _numbers(window.length for window in whole),
            _numbers(window.hop for window in whole),
            _numbers(form.keep.get(window.signal) for window in whole),
        )
        self.kinds = [
            -1 if slot.value is None or op in (scan.OP_COUNT, scan.OP_DISTINCT, scan.OP_SINCE)
            else (FLOAT if op == scan.OP_MEAN else int(form.kinds[form.index[slot.value]]))
            for slot, op in zip(self.slots, ops, strict=True)
        ]  # fmt: skip
        self.floats = [w for w, kind in enumerate(self.kinds) if kind == FLOAT]
        self.odd = [w for w, kind in enumerate(self.kinds) if kind in (TEXT, BOOL)]
        self.places: dict[int, Place] = {}
        self.standing = standing_key(feed.name)
        self.numbers = np.array([form.slots.index(slot) for slot in self.slots], np.int64)
        self.ranks = np.array([kind_of(form, slot) for slot in self.slots], np.int64)
        self.adds = [adds_up(form, slot) for slot in self.slots]
        self.ages = [w for w, slot in enumerate(self.slots) if _ages(slot) and slot.by is None]
        self.restless = any(
            fold.ages(slot) and not (_ages(slot) and slot.by is None) for slot in self.slots
        )
        self.distinct: dict[Slot, list[int]] = {}
        for w, op in enumerate(ops):
            if op == scan.OP_DISTINCT:
                self.distinct.setdefault(self.slots[w], []).append(w)
        self.program = look.program(
            form.width, form.stamp, self.restless, (form.kinds, form.cells), self.groups,
            (self.ops[:, 0], self.ops[:, 1], self.lengths, self.hops, self.keeps), self.all,
        )  # fmt: skip
        kinds = "".join("d" if kind == FLOAT else "q" for kind in self.kinds)
        self.told = Struct(f"={look.TOLD}q{kinds}").unpack_from
        """What leads a sheet, and the results by their kinds, from its bytes."""
        self.states = Struct(f"={len(kinds)}q").unpack_from
        self.after = 8 * (look.TOLD + len(kinds))
        """Where in its bytes the states are."""
        self._local = threading.local()
        self.text = len(self.keys) == 1 and form.types[0] is Type.TEXT
        self.blank = [fold.finish(slot, fold.nothing(slot), 0) for slot in self.slots]

    @property
    def sheet(self) -> Sheet:
        """Room for what is found of one key: this thread's, until it asks for the next."""
        found: Sheet | None = getattr(self._local, "sheet", None)
        if found is None:
            found = self._local.sheet = look.sheet(self.program)
        return found

    def plain(self, sheet: Sheet) -> list[Any]:
        """The results of all windows as numbers, by their kinds."""
        return list(self.told(sheet.raw)[look.TOLD :])

    def missing(self, sheet: Sheet) -> list[int]:
        """The windows that have no value."""
        states = self.states(sheet.raw, self.after)
        return [w for w, state in enumerate(states) if state == scan.NONE]

    def key(self, keys: Mapping[str, object]) -> bytes:
        """The bytes of a key. Raises DataError T390 for one that is missing or of another type."""
        if self.text:
            return text_key(self.keys[0], keys.get(self.keys[0]))
        parts = [
            check_key(name, kind, keys.get(name))
            for name, kind in zip(self.keys, self.form.types, strict=True)
        ]
        return join_parts(key_parts(self.form.types, parts))

    def every_key(self, keys: Mapping[str, Sequence[object] | object], count: int) -> list[bytes]:
        """The same of so many: each entity's are a list, or one for all of them."""
        lists = []
        for name in self.keys:
            given = keys.get(name)
            lists.append(given if isinstance(given, list | tuple) else [given] * count)
        if self.text:
            return [text_key(self.keys[0], key) for key in lists[0]]
        return [
            self.key(dict(zip(self.keys, parts, strict=True))) for parts in zip(*lists, strict=True)
        ]

    def counted(self, rows: fold.Rows, sealed: Sealed, starts: Array, at: int) -> dict[int, int]:
        """Windows of a heavy key that count what is distinct, as far as no base adds to them."""
        found: dict[int, int] = {}
        for slot, several in self.distinct.items():
            plain = [w for w in several if not (self.endless[w] and rows.extra)]
            told = sealed.distinct(slot, rows, [int(starts[w]) for w in plain], at)
            found |= dict(zip(plain, told or (), strict=told is not None))
        return found

    def _group(self, window: Window) -> tuple[Any, ...]:
        """Windows whose starts keep the order of their lengths share one pass."""
        keep = self.form.keep.get(window.signal)
        other = fold.op_of(slot_of(window)) == scan.OP_OTHER
        hop = window.hop or 0
        return (window.value or "", window.where or "", hop, -1 if keep is None else keep, other)


def _ages(slot: Slot) -> bool:
    """Whether its result grows with the clock, a microsecond each microsecond."""
    return slot.aggregate == "since"


def _numbers(values: Iterator[int | None] | Any) -> Array:
    return np.array([-1 if value is None else value for value in values], np.int64)


def check_key(name: str, kind: Type, key: object) -> object:
    """The key. Raises DataError T390 for one that is missing or of another type."""
    fits = isinstance(key, str) if kind is Type.TEXT else type(key) is int
    if not fits or (isinstance(key, int) and not LEAST <= key < 2**63):
        raise DataError(
            f"the key of {name!r} is {type(key).__name__ if key is not None else 'missing'},"
            f" not {kind}",
            code="T390",
            where=name,
            fix=f"give {name} as {kind}",
        )
    return key


def text_key(name: str, key: object) -> bytes:
    """The bytes of a key that is one text, which most are: `join_parts` of its one part."""
    if type(key) is str:
        raw = key.encode()
        if len(raw) <= LONG:
            return b"\x00" + raw
    return join_parts(key_parts((Type.TEXT,), (check_key(name, Type.TEXT, key),)))
