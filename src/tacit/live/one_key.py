"""The values of one key: of its head by compiled code; what that leaves by the algebra, from the
same rows, from what was sealed, and from what was folded away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tacit.aggregates.columns import Array
from tacit.errors import StoreError
from tacit.live import fold, look, scan
from tacit.live.chosen import Chosen
from tacit.live.form import BOOL, SEALED, TEXT, raw_text
from tacit.live.heavy import damaged, foreign
from tacit.live.lasting import Trace, sealed_lasts
from tacit.live.look import Sheet
from tacit.live.place import Place
from tacit.live.sealed import Sealed
from tacit.live.tiles import finish_all
from tacit.store.online.base import Reading

_PATIENCE = 8  # times that a heavy key is read again because it changed meanwhile
_EMPTY = np.frombuffer(bytes(8), np.int64)[:0]  # as what is read is: not to be written to


def values_of(
    store: Reading,
    view: Chosen,
    place: Place,
    key: bytes,
    at: int,
    now: int,
    trace: Trace | None = None,
    raw: bytes | None = None,
) -> tuple[list[Any], bool, bool]:
    """Values by window, whether anything is known of the key, and whether all have a value. ``raw``
    is its head where that was read already."""
    head, sheet = place.head(key), view.sheet
    for turn in range(_PATIENCE):
        if raw is None or turn:
            raw = store.get([head])[0]
        words = _EMPTY if raw is None else np.frombuffer(raw, np.int64)
        look.one(words, view.program, sheet.words, at, now)
        entity, until, odd, hard = view.told(sheet.raw)[: look.TOLD]
        if entity > look.HEAVY:
            check(view, entity, at)
        if trace is not None:
            trace.heads[head] = raw
            trace.by(until)
        if entity == look.ABSENT:
            return list(view.blank), False, False
        if entity == look.LIGHT and not hard and not view.odd:
            found = view.plain(sheet)
            for w in view.missing(sheet) if odd else ():
                found[w] = None
            return found, True, not odd
        sealed = None
        if entity == look.HEAVY:
            sealed = _sealed(store, view, place, key, words, at, trace)
            if sealed is None:
                continue
        found = _found(view, raw or b"", words, sheet, sealed, at)
        return found, True, None not in found
    raise StoreError(
        "a key changed each time it was read",
        code="T722",
        where=view.form.view.name,
        fix="try again; the store is written to faster than it is read",
    )


def _sealed(
    store: Reading,
    view: Chosen,
    place: Place,
    key: bytes,
    words: Array,
    at: int,
    trace: Trace | None,
) -> Sealed | None:
    """The sealed rows of a key; None when they changed since its head was read."""
    starts = view.sheet.starts
    sealed = Sealed(view.segments, store, place.index(key), place.segment(key))
    if sealed.count != words[SEALED]:
        return None
    if not sealed.load([(int(start), at) for start in set(starts.tolist())]):
        return None
    if trace is not None:
        trace.by(sealed_lasts(sealed, view.lengths, view.hops, view.keeps, starts, at))
    return sealed


def _found(
    view: Chosen,
    raw: bytes,
    words: Array,
    sheet: Sheet,
    sealed: Sealed | None,
    at: int,
) -> list[Any]:
    """The values of one key, where they are no mere numbers of its head."""
    adds = None if sealed is None else _added(view, sheet, sealed, at)
    found, told, odd = view.plain(sheet), sheet.states.tolist(), view.odd
    if adds is not None:
        odd = [w for w, state in enumerate(told) if state != scan.VALUE or not adds[w]] + odd
    elif told.count(scan.VALUE) < len(told):
        odd = [w for w, state in enumerate(told) if state != scan.VALUE] + odd
    rows: fold.Rows | None = None
    counted: Mapping[int, int] = {}
    if sealed is not None and view.distinct:
        rows = fold.Rows(view.form, words)
        counted = view.counted(rows, sealed, sheet.starts, at)
    for w in dict.fromkeys(odd):
        if w in counted:
            found[w] = counted[w]
        elif told[w] > scan.VALUE or (adds is not None and not adds[w]):
            rows = fold.Rows(view.form, words) if rows is None else rows
            found[w] = _algebra(view, w, rows, sheet, sealed, at)
        elif told[w] == scan.NONE:
            found[w] = None
        elif view.kinds[w] == TEXT:
            number = found[w] if sealed is None else int(sheet.gathered[w, scan.LAST])
            found[w] = raw_text(raw, view.form.width, number)
        elif view.kinds[w] == BOOL:
            found[w] = found[w] == 1
    return found


def _added(view: Chosen, sheet: Sheet, sealed: Sealed, at: int) -> list[bool]:
    """Has the results be of the head and of sealed rows together, and says of which windows
    compiled code adds these up. What is gathered stays that of the head."""
    total, kept, states = sheet.gathered.copy(), sheet.states.copy(), sheet.states
    sealed.add(total, view.groups, view.numbers, sheet.starts, at)
    finish_all(total, view.ops[:, 0].copy(), view.ranks, at, sheet.results, states)
    states[kept == scan.FOLDED] = scan.FOLDED
    return [each or _newer(view, w, sheet, sealed) for w, each in enumerate(view.adds)]


def _newer(view: Chosen, w: int, sheet: Sheet, sealed: Sealed) -> bool:
    """Whether a window's last value is in the head, after all that is sealed."""
    found = sheet.gathered[w]
    return bool(
        view.ops[w, 0] == scan.OP_LAST and found[scan.COUNT] and found[scan.LAST_AT] > sealed.newest
    )


def _algebra(
    view: Chosen,
    w: int,
    rows: fold.Rows,
    sheet: Sheet,
    sealed: Sealed | None,
    at: int,
) -> Any:
    """A value by partial states: of the head, of what was sealed, of what was folded."""
    slot, start = view.slots[w], int(sheet.starts[w])
    state = fold.gathered_state(rows, slot, sheet.gathered[w])
    if state is None:
        end = rows.before(at)
        state = fold.fold(rows, slot, min(rows.before(start), end), end)
    if sealed is not None:
        state = fold.merge(slot, state, sealed.state(slot, start, at))
    if view.endless[w] and rows.extra:
        base = fold.unpack(view.form.endless, rows.extra)
        state = fold.merge(slot, state, base[view.form.endless.index(slot)])
    return fold.finish(slot, state, at)


def check(view: Chosen, entity: int, at: int) -> None:
    """Raises for what cannot be answered."""
    name = view.form.view.name
    if entity == look.BAD:
        raise damaged(name)
    if entity == look.ALIEN:
        raise foreign(name)
    if entity == look.EARLY:
        raise StoreError(
            f"a window that ends at {at} reaches back to rows that were let go",
            code="T725",
            where=name,
            fix="ask for a later moment, or of the batch; or keep more slack",
        )
