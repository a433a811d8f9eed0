"""Rows to the algebra's partial states, and their bytes.

What a window gathered in compiled code (`live.scan`) becomes a state by the algebra's own `update`
and `merge`: n values whose sum is p parts are those parts and n - p zeros. All else is folded row
by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from tacit.aggregates.algebra import REGISTRY, Aggregate, Value
from tacit.aggregates.columns import Array, read_only
from tacit.aggregates.state import Reader, Writer
from tacit.live import scan
from tacit.live.form import (
    BOOL,
    FLOAT,
    LEAST,
    ROWS,
    TEXT,
    Form,
    Slot,
    blob_parts,
    text_at,
)

Folded = Any
"""A state of a slot; with ``by``, a mapping from its values to states."""


class Rows:
    """The rows of a blob as Python values, decoded when they are asked for."""

    def __init__(self, form: Form, words: Array) -> None:
        self.form = form
        self.words = words
        self.rows, self.table, self.heap, self.extra = blob_parts(words, form.width)

    @cached_property
    def texts(self) -> list[str]:
        """The texts by their numbers."""
        heap = self.heap.tobytes()
        ends = [(entry >> 32, entry & 0xFFFFFFFF) for entry in self.table.tolist()]
        return [heap[start : start + size].decode() for start, size in ends]

    def text(self, code: int) -> str:
        """One of them."""
        if "texts" in self.__dict__:
            return self.texts[code]
        return text_at(self.table, self.heap, code)

    def before(self, time: int) -> int:
        """How many rows lie before a moment."""
        return int(np.searchsorted(self.rows[:, 0], time))

    def value(self, column: str | None, word: int) -> Value:
        """A word of a column as its value."""
        if column is None:
            return True
        kind = self.form.kinds[self.form.index[column]]
        if kind == FLOAT:
            return float(np.int64(word).view(np.float64))
        if kind == TEXT:
            return self.text(word)
        return bool(word) if kind == BOOL else int(word)

    def column(self, name: str, a: int, b: int) -> list[Value | None]:
        """The values of a column in rows [a, b)."""
        i = self.form.index[name]
        masks = self.rows[a:b, 1 + i // 32]
        if self.form.kinds[i] == BOOL:
            cells = (masks >> (32 + i % 32)) & 1
        else:
            cells = self.rows[a:b, self.form.cells[i]]
        valid = ((masks >> (i % 32)) & 1).tolist()
        if self.form.kinds[i] == FLOAT:
            values = np.ascontiguousarray(cells).view(np.float64).tolist()
        elif self.form.kinds[i] == TEXT:
            texts = self.texts or [""]  # a cell without a value may have any number
            values = [
                texts[code] if has else None
                for code, has in zip(cells.tolist(), valid, strict=True)
            ]
        elif self.form.kinds[i] == BOOL:
            values = [cell == 1 for cell in cells.tolist()]
        else:
            values = cells.tolist()
        return [value if there else None for value, there in zip(values, valid, strict=True)]

    def distinct(self, slot: Slot, a: int, b: int) -> set[Value]:
        """The different values of a slot in rows [a, b)."""
        assert slot.value is not None, "what is distinct is a value"
        i = self.form.index[slot.value]
        masks = self.rows[a:b, 1 + i // 32]
        kept = (masks >> (i % 32)) & 1 != 0
        if slot.where is not None:
            passing = self.column(slot.where, a, b)
            kept &= np.array([each is True for each in passing], np.bool_)
        cell = self.form.cells[i]
        cells = (masks >> (32 + i % 32)) & 1 if cell < 0 else self.rows[a:b, cell]
        words = np.unique(cells[kept]).tolist()
        if self.form.kinds[i] == TEXT:
            return {self.texts[word] for word in words}
        return {self.value(slot.value, word) for word in words}


def spread(slot: Slot, kind: int, state: Folded) -> Array | None:
    """A state as `live.scan` would have gathered it; None for one that does not fit there."""
    found = np.zeros(scan.GATHERED, np.int64)
    op = op_of(slot)
    if op == scan.OP_COUNT:
        found[scan.COUNT] = state
        return found
    if op in (scan.OP_SUM, scan.OP_MEAN):
        return _spread_sum(kind, state, found)
    if state == nothing(slot):
        return found
    found[scan.COUNT] = 1
    if op == scan.OP_SINCE:
        found[scan.LAST_AT] = state
    elif op in (scan.OP_MIN, scan.OP_MAX):
        found[scan.MIN] = found[scan.MAX] = _word(kind, state)
    else:
        found[scan.FIRST_AT] = found[scan.LAST_AT] = state[0]
        found[scan.FIRST] = found[scan.LAST] = _word(kind, state[1])
    return found


def _word(kind: int, value: Value) -> int:
    assert isinstance(value, int | float), "texts and vectors are kept elsewhere"
    if kind == FLOAT:
        return int(np.float64(value).view(np.int64))
    return int(value)


def _spread_sum(kind: int, state: Folded, found: Array) -> Array | None:
    """Sums and means keep one state: its sum is peeled off, part by part, until nothing is left."""
    algebra: Any = REGISTRY["sum"]
    found[scan.COUNT] = state.values
    if kind != FLOAT:
        whole = algebra.finish(state)
        if whole is None:
            return None if state.values else found
        found[scan.HIGH], found[scan.LOW] = int(whole) >> 32, int(whole) & 0xFFFFFFFF
        return found
    found[scan.ABOVE], found[scan.BELOW] = state.above, state.below
    parts: list[float] = []
    rest = state._replace(above=0, below=0)
    while state.values and (part := algebra.finish(rest)):
        if len(parts) == scan.KEPT or not math.isfinite(part):
            found[scan.DIFFICULT] = 1
            return found
        parts.append(part)
        rest = algebra.update(rest, -part, 0)
    found[scan.PARTS] = len(parts)
    for i, part in enumerate(reversed(parts)):  # the least first
        found[scan.PART + i] = _word(FLOAT, part)
    return found


def fold(rows: Rows, slot: Slot, a: int, b: int) -> Folded:
    """The state of rows [a, b), one by one."""
    aggregate = REGISTRY[slot.aggregate]
    at = rows.rows[a:b, 0].tolist()
    if op_of(slot) == scan.OP_DISTINCT:
        return aggregate.fold((value, 0) for value in rows.distinct(slot, a, b))
    values = [True] * len(at) if slot.value is None else rows.column(slot.value, a, b)
    passes = [True] * len(at) if slot.where is None else rows.column(slot.where, a, b)
    if slot.by is None:
        kept = [
            (value, time)
            for value, time, passing in zip(values, at, passes, strict=True)
            if passing and value is not None
        ]
        return aggregate.fold(kept)
    groups: dict[Value, list[tuple[Value, int]]] = {}
    by = rows.column(slot.by, a, b)
    for key, value, time, passing in zip(by, values, at, passes, strict=True):
        if passing and key is not None:
            group = groups.setdefault(key, [])
            if value is not None:
                group.append((value, time))
    return {key: aggregate.fold(group) for key, group in groups.items()}


@lru_cache(maxsize=4096, typed=True)
def _repeated(aggregate: str, value: Value, count: int) -> Any:
    """The state of one value, so many times."""
    algebra = REGISTRY[aggregate]
    if count <= 1:
        return algebra.update(algebra.init(), value, 0) if count else algebra.init()
    half = _repeated(aggregate, value, count // 2)
    whole = algebra.merge(half, half)
    return algebra.update(whole, value, 0) if count % 2 else whole


def gathered_state(rows: Rows, slot: Slot, found: Array) -> Folded | None:
    """The state of what was gathered; None when only the rows can tell."""
    op = op_of(slot)
    count = int(found[scan.COUNT])
    algebra = REGISTRY[slot.aggregate]
    if op in (scan.OP_OTHER, scan.OP_DISTINCT):
        return None
    if not count:
        return algebra.init()
    if op == scan.OP_COUNT:
        return _repeated(slot.aggregate, True, count)
    if op == scan.OP_SINCE:
        return algebra.update(algebra.init(), True, int(found[scan.LAST_AT]))
    if op in (scan.OP_SUM, scan.OP_MEAN):
        return _gathered_sum(rows, slot, found, count)
    at, word = {
        scan.OP_MIN: (0, found[scan.MIN]),
        scan.OP_MAX: (0, found[scan.MAX]),
        scan.OP_FIRST: (found[scan.FIRST_AT], found[scan.FIRST]),
        scan.OP_LAST: (found[scan.LAST_AT], found[scan.LAST]),
    }[op]
    return algebra.update(algebra.init(), rows.value(slot.value, int(word)), int(at))


def _gathered_sum(rows: Rows, slot: Slot, found: Array, count: int) -> Folded | None:
    algebra = REGISTRY[slot.aggregate]
    assert slot.value is not None, "sums are of a value"
    if rows.form.kinds[rows.form.index[slot.value]] != FLOAT:
        total = (int(found[scan.HIGH]) << 32) + int(found[scan.LOW])
        return algebra.update(_repeated(slot.aggregate, 0, count - 1), total, 0)
    if found[scan.DIFFICULT]:
        return None
    above, below = int(found[scan.ABOVE]), int(found[scan.BELOW])
    parts = found[scan.PART : scan.PART + int(found[scan.PARTS])].view(np.float64).tolist()
    state = _repeated(slot.aggregate, 0.0, count - above - below - len(parts))
    for part in parts:
        state = algebra.update(state, part, 0)
    state = algebra.merge(state, _repeated(slot.aggregate, math.inf, above))
    return algebra.merge(state, _repeated(slot.aggregate, -math.inf, below))


def op_of(slot: Slot) -> int:
    """How `live.scan` knows the aggregate."""
    if slot.by is not None or slot.aggregate not in scan.OPS:
        return scan.OP_OTHER
    return scan.OPS.index(slot.aggregate)


def wants_of(op: int) -> int:
    """What must be gathered for it."""
    if op in (scan.OP_SUM, scan.OP_MEAN):
        return scan.WANT_SUM
    if op == scan.OP_DISTINCT:
        return scan.WANT_DISTINCT
    ordered = (scan.OP_MIN, scan.OP_MAX, scan.OP_FIRST, scan.OP_LAST)
    return scan.WANT_ORDER if op in ordered else 0


def state_between(rows: Rows, slot: Slot, start: int, end: int) -> Folded:
    """The state of the rows in [start, end)."""
    last = rows.before(end)
    op, form = op_of(slot), rows.form
    if op not in (scan.OP_OTHER, scan.OP_DISTINCT):
        found = np.zeros((1, scan.GATHERED), np.int64)
        value = -1 if slot.value is None else form.index[slot.value]
        where = -1 if slot.where is None else form.index[slot.where]
        starts = np.array([start], np.int64)
        scan.gather(
            read_only(rows.words), form.width, last, starts, value, where, wants_of(op), form.kinds,
            form.cells, found,
        )  # fmt: skip
        state = gathered_state(rows, slot, found[0])
        if state is not None:
            return state
    return fold(rows, slot, min(rows.before(start), last), last)


def all_states(rows: Rows, slots: Sequence[Slot]) -> list[Folded]:
    """The states of all rows of a blob."""
    whole = int(rows.words[ROWS])
    last = int(rows.rows[-1, 0]) + 1 if whole else LEAST
    if last >= 2**63:  # the last moment there is, which no window reaches
        return [fold(rows, slot, 0, whole) for slot in slots]
    return [state_between(rows, slot, LEAST, last) for slot in slots]


def merge(slot: Slot, left: Folded, right: Folded) -> Folded:
    """The state of both."""
    algebra = REGISTRY[slot.aggregate]
    if slot.by is None:
        return algebra.merge(left, right)
    found = dict(left)
    for key, state in right.items():
        found[key] = algebra.merge(found[key], state) if key in found else state
    return found


def nothing(slot: Slot) -> Folded:
    return REGISTRY[slot.aggregate].init() if slot.by is None else {}


def finish(slot: Slot, state: Folded, at: int) -> Any:
    """The result as of a moment; with ``by``, its pairs in the order of ``by``."""
    algebra = REGISTRY[slot.aggregate]
    if slot.by is None:
        return algebra.finish_at(state, at)
    return [(key, algebra.finish_at(state[key], at)) for key in sorted(state)]


def ages(slot: Slot) -> bool:
    """Whether the result of one state is another at another moment."""
    return type(REGISTRY[slot.aggregate]).finish_at is not Aggregate.finish_at


def pack(slots: Sequence[Slot], states: Sequence[Folded]) -> bytes:
    """The states of slots as bytes: each in the algebra's, with its length before it."""
    out = Writer()
    for slot, state in zip(slots, states, strict=True):
        algebra = REGISTRY[slot.aggregate]
        if slot.by is None:
            _put(out, algebra.encode(state))
            continue
        out.size(len(state))
        for key in sorted(state):
            out.value(key)
            _put(out, algebra.encode(state[key]))
    return bytes(out.data)


def unpack(slots: Sequence[Slot], data: bytes) -> list[Folded]:
    """The states back. Raises DataError T340 for bytes that are none."""
    reader, found = Reader(data), []
    for slot in slots:
        algebra = REGISTRY[slot.aggregate]
        if slot.by is None:
            found.append(algebra.decode(reader.raw(reader.size())))
            continue
        states: dict[Value, Any] = {}
        for _ in range(reader.size()):
            key = reader.value()
            states[key] = algebra.decode(reader.raw(reader.size()))
        found.append(states)
    if reader.at != len(data):
        reader.wrong("is followed by other bytes")
    return found


def _put(out: Writer, raw: bytes) -> None:
    out.size(len(raw))
    out.raw(raw)
