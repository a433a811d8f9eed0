"""The values of many keys of a view, by one call of compiled code over all their heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tacit.aggregates.columns import Array
from tacit.live import look, scan
from tacit.live.chosen import Chosen
from tacit.live.form import BOOL, raw_text
from tacit.live.lasting import Trace
from tacit.live.one_key import check, values_of
from tacit.live.place import Place
from tacit.store.online.base import Reading


class Sheets(NamedTuple):
    """What compiled code found of keys: what leads the sheet of each (`look.lead`), as bytes one
    after another, ``size`` bytes each."""

    raw: memoryview
    size: int


def sheets_of(view: Chosen, raws: Sequence[bytes | None], at: int, now: int) -> Sheets:
    """What windows tell of keys that have these heads. Those of one key are this thread's, until it
    asks for the next."""
    if len(raws) == 1:  # needs no arrays of its own
        sheet = view.sheet
        look.one(np.frombuffer(raws[0] or b"", np.int64), view.program, sheet.words, at, now)
        return Sheets(sheet.raw, len(sheet.raw))
    words = _sheets(view, raws, at, now)
    return Sheets(words.data.cast("B"), words.strides[0])


def _sheets(view: Chosen, raws: Sequence[bytes | None], at: int, now: int) -> Array:
    """(keys, words): what leads the sheet of each."""
    blobs = [raw or b"" for raw in raws]
    offsets = np.zeros(len(blobs) + 1, np.int64)
    np.cumsum([len(blob) >> 3 for blob in blobs], out=offsets[1:])
    found: Array = np.empty((len(blobs), look.lead(view.program)), np.int64)
    look.each(np.frombuffer(b"".join(blobs), np.int64), offsets, view.program, at, now, found)
    return found


def columns_of(
    store: Reading,
    view: Chosen,
    place: Place,
    keys: Sequence[bytes],
    at: int,
    now: int,
    traces: Sequence[Trace] | None,
) -> tuple[list[list[Any]], Array]:
    """For each window the values of all keys; and (windows, keys) of which one is known."""
    heads = list(map(place.head, keys))
    raws = store.get(heads)
    sheets = _sheets(view, raws, at, now)
    count = len(view.windows)
    told = sheets[:, : look.TOLD]
    results = np.ascontiguousarray(sheets[:, look.TOLD : look.TOLD + count].T)
    states = np.ascontiguousarray(sheets[:, look.TOLD + count :].T)
    for entity in np.unique(told[:, 0]).tolist():
        if entity > look.HEAVY:
            check(view, entity, at)
    absent = told[:, 0] == look.ABSENT
    hard = (told[:, 0] == look.HEAVY) | (told[:, 3] > 0)
    hard &= ~absent
    known = ~absent & (states != scan.NONE)
    columns = _columns(view, raws, results, states, np.flatnonzero(absent).tolist())
    if traces is not None:
        for k in np.flatnonzero(~hard).tolist():  # of others `values_of` tells
            traces[k].heads[heads[k]] = raws[k]
            traces[k].by(int(told[k, 1]))
    for k in np.flatnonzero(hard).tolist():
        trace = None if traces is None else traces[k]
        values, there, _ = values_of(store, view, place, keys[k], at, now, trace, raws[k])
        for w, value in enumerate(values):
            columns[w][k] = value
            known[w, k] = there and value is not None
    return columns, known


def _columns(
    view: Chosen,
    raws: Sequence[bytes | None],
    results: Array,
    states: Array,
    absent: Sequence[int],
) -> list[list[Any]]:
    """The values of each window for all keys, as far as compiled code found them."""
    columns: list[list[Any]] = results.tolist()
    if view.floats:
        floats = results.view(np.float64)
        for w in view.floats:
            columns[w] = floats[w].tolist()
    lacking = states != scan.VALUE
    for w in view.odd:
        if view.kinds[w] == BOOL:
            columns[w] = (results[w] == 1).tolist()
            continue
        codes, columns[w] = columns[w], [None] * len(raws)
        for k in np.flatnonzero(~lacking[w]).tolist():
            columns[w][k] = raw_text(raws[k] or b"", view.form.width, codes[k])
    for w in np.flatnonzero(lacking.any(axis=1)).tolist():
        column = columns[w]
        for k in np.flatnonzero(lacking[w]).tolist():
            column[k] = None
    for w, value in enumerate(view.blank):
        if value is not None:
            for k in absent:
                columns[w][k] = value
    return columns
