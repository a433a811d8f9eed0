"""Writing: prepared rows into the heads of their keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tacit.aggregates.columns import Array, read_only
from tacit.live import heavy, kernels
from tacit.live.form import EXTRA, HEADER, LEAST, ROWS, SEALED, Form
from tacit.live.heavy import Segments
from tacit.live.place import Place
from tacit.live.prepare import Prepared
from tacit.live.sealing import Sealing
from tacit.store.online.base import Changing


@dataclass(frozen=True, slots=True)
class Written:
    """What became of rows: before which moment they came too late for every window, and the keys
    that are damaged or of another meaning."""

    cut: int
    refused: list[bytes]


def cut_of(form: Form, now: int, slack: int) -> int:
    """The moment before which rows are folded or dropped.

    No window that ends at ``now - slack`` or later needs them, or none may have them any more.
    """
    reaches = [form.reach(window) for window in form.view.windows]
    keeps = [form.keep.get(window.signal) for window in form.view.windows]
    cut = now - form.horizon - slack
    if None not in keeps and None not in reaches:
        cut = max(cut, now - max(keep for keep in keeps if keep is not None))
    return max(cut, LEAST)


def drop_of(form: Form, now: int, slack: int) -> int:
    """The moment before which rows that come change nothing: no window is left that they are of."""
    return LEAST if form.endless else cut_of(form, now, slack)


def write(
    store: Changing, segments: Segments, place: Place, rows: Prepared, now: int, slack: int
) -> Written:
    """Merges rows into their keys, and seals heads that overflow."""
    form = segments.form
    cut, drop = cut_of(form, now, slack), drop_of(form, now, slack)
    if not rows.keys:
        return Written(drop, [])
    before = place.heads
    heads = [before + key for key in rows.keys]
    raws = store.get(heads)
    sizes = np.array([0 if raw is None else len(raw) // 8 for raw in raws], np.int64)
    old = np.frombuffer(b"".join([raw for raw in raws if raw is not None]), np.int64)
    out = np.empty(
        len(old) + rows.rows.size + len(heads) * HEADER + text_words(form, rows), np.int64
    )
    ends, counts, states = kernels.merge_blobs(
        old,
        np.append(0, np.cumsum(sizes)),
        rows.rows,
        rows.starts,
        read_only(rows.entries),
        read_only(rows.heap),
        form.texts,
        form.cells,
        np.full(len(heads), drop, np.int64),
        form.stamp,
        out,
    )
    view = memoryview(out.data).cast("B")
    bounds = (ends * 8).tolist()
    fine = (states == kernels.FINE).tolist()
    over = set(np.flatnonzero(counts > heavy.HEAD).tolist())
    store.put(
        [
            (head, view[bounds[k] : bounds[k + 1]])
            for k, head in enumerate(heads)
            if fine[k] and k not in over
        ]
    )
    for k in over:
        seal(store, segments, place, rows.keys[k], out[ends[k] : ends[k + 1]], cut)
    return Written(drop, [rows.keys[k] for k, each in enumerate(fine) if not each])


def seal(
    store: Changing,
    segments: Segments,
    place: Place,
    key: bytes,
    head: Array,
    cut: int,
    owners: Array | None = None,
) -> bool:
    """Seals a head; whether anything is left of the key."""
    sealing = Sealing(segments, store, place.index(key), place.segment(key))
    new = sealing.run(head, cut, owners=owners)
    if new[ROWS] or new[EXTRA] or new[SEALED]:
        store.put([(place.head(key), new.tobytes())])
        return True
    store.delete([place.head(key)])
    return False


def text_words(form: Form, rows: Prepared) -> int:
    """Words that the texts of new rows may take at most."""
    if not len(form.texts):
        return 0
    lengths = rows.entries & 0xFFFFFFFF
    words = 2 * len(rows.keys)
    for column in form.texts.tolist():
        there = (rows.rows[:, 1 + column // 32] >> (column % 32)) & 1
        codes = rows.rows[there == 1, form.cells[column]]
        words += int(((lengths[codes] + 7) // 8 + 1).sum())
    return words
