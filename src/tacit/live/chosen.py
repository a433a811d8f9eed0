"""What is asked of one view, made ready for compiled code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tacit.aggregates.algebra import base_key
from tacit.aggregates.columns import Array
from tacit.live import fold, scan
from tacit.live.feed import Feed
from tacit.live.form import BOOL, FLOAT, MOST, TEXT, Form, Slot, slot_of
from tacit.live.heavy import Sealed, Segments, adds_up, kind_of
from tacit.live.place import Place
from tacit.operations import Window

_TIMED = ("since", "decayed")
"""Aggregates whose values change with the moment itself."""


class Chosen:
    """The windows that are asked of one view, as arrays."""

    def __init__(self, feed: Feed, form: Form, segments: Segments, windows: Sequence[Window]):
        self.feed, self.form, self.segments = feed, form, segments
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
            np.zeros(len(whole), np.int64),
        )
        self.kinds = [
            -1 if slot.value is None or op in (scan.OP_COUNT, scan.OP_DISTINCT, scan.OP_SINCE)
            else (FLOAT if op == scan.OP_MEAN else int(form.kinds[form.index[slot.value]]))
            for slot, op in zip(self.slots, ops, strict=True)
        ]  # fmt: skip
        self.floats = [w for w, kind in enumerate(self.kinds) if kind == FLOAT]
        self.odd = [w for w, kind in enumerate(self.kinds) if kind in (TEXT, BOOL)]
        self.places: dict[int, Place] = {}
        self.numbers = np.array([form.slots.index(slot) for slot in self.slots], np.int64)
        self.ranks = np.array([kind_of(form, slot) for slot in self.slots], np.int64)
        self.adds = [adds_up(form, slot) for slot in self.slots]
        self.blank = [fold.finish(slot, fold.nothing(slot), 0) for slot in self.slots]
        self.keys = [name for name, _ in form.view.keys]
        self.distinct: dict[Slot, list[int]] = {}
        for w, op in enumerate(ops):
            if op == scan.OP_DISTINCT:
                self.distinct.setdefault(self.slots[w], []).append(w)
        self.timed = [w for w, slot in enumerate(self.slots) if base_key(slot.aggregate) in _TIMED]

    def lasting(self, words: Array, answer: Answer, sealed: Sealed | None, at: int) -> int:
        """Until when what was found of a key stays right, if nothing is written to it."""
        form = self.form
        windows = (answer.starts, self.lengths, self.hops, self.keeps)
        until = MOST
        if len(words):
            until = int(scan.lasting(words, form.width, *windows, at))
            # Where no window of the view sees its last row any more, nothing is known of a key.
            until = min(until, int(scan.forgotten(words, form.width, *self.all[:3], at)))
        if sealed is not None:
            until = min(until, sealed.lasting(*windows, at))
        return until

    def told(self, rows: fold.Rows, sealed: Sealed, answer: Answer, at: int) -> dict[int, int]:
        """Windows of a heavy key that count what is distinct, as far as no base adds to them."""
        found: dict[int, int] = {}
        for slot, several in self.distinct.items():
            plain = [w for w in several if not (self.endless[w] and rows.extra)]
            told = sealed.distinct(slot, rows, [int(answer.starts[w]) for w in plain], at)
            found |= dict(zip(plain, told or (), strict=told is not None))
        return found

    def _group(self, window: Window) -> tuple[Any, ...]:
        """Windows whose starts keep the order of their lengths share one pass."""
        keep = self.form.keep.get(window.signal)
        other = fold.op_of(slot_of(window)) == scan.OP_OTHER
        hop = window.hop or 0
        return (window.value or "", window.where or "", hop, -1 if keep is None else keep, other)


def _numbers(values: Iterator[int | None] | Any) -> Array:
    return np.array([-1 if value is None else value for value in values], np.int64)


class Answer(NamedTuple):
    """What compiled code found for some keys of a view."""

    starts: Array
    results: Array
    states: Array
    entities: Array
    gathered: Array
