"""What a spine must not carry into a training set: the outcome, or the time to come.

Features end before a row's moment and outcomes begin at it, so signals cannot leak. What the spine
carries along was made elsewhere. Refused are columns that an outcome is computed from, columns that
say the same as an outcome, and moments after the row's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.aggregates.columns import Array, flat
from tacit.declare.expression import parse
from tacit.errors import DataError
from tacit.learn.spine import AT, Spine
from tacit.operations import View
from tacit.store.files import micros

ENOUGH = 20
"""Rows with an outcome, below which two columns may be the same by chance."""


def check_names(spine: Spine, outcomes: Iterable[View]) -> None:
    """Raises DataError T372 for a carried column of the name of one that an outcome reads."""
    for view in outcomes:
        for window in view.windows:
            parts = [name for name in (window.value, window.by, window.where) if name]
            read = set().union(*(parse(view.column(name).sql).columns for name in parts))
            for name in spine.carried:
                if name in read:
                    _leaks(
                        f"{name!r} is what the outcome {window.signal!r} is computed from, in"
                        f" {view.source!r}",
                        "leave it out of the spine; or, if it was known at the row's moment,"
                        " call it something else",
                    )


def check_moments(spine: Spine) -> None:
    """Raises DataError T373 for a carried column with moments after the row's own."""
    for name in spine.carried:
        column = spine.table[name]
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            late = pc.sum(pc.greater(micros(column), spine.table[AT])).as_py()
            if late:
                raise DataError(
                    f"the spine's {name!r} lies after the row's own moment in {late:,} rows",
                    code="T373",
                    where="spine",
                    fix="leave it out: nobody knew it then",
                )


def check_values(spine: Spine, outcomes: Mapping[str, pa.ChunkedArray]) -> None:
    """Raises DataError T372 for a carried column that says the same as an outcome, one to one."""
    for name in spine.carried:
        for label, values in outcomes.items():
            if same(spine.table[name], values):
                what = f"{name!r} tells the outcome {label!r} in every row"
                _leaks(what, "leave it out of the spine")


def _leaks(what: str, fix: str) -> None:
    raise DataError(f"the spine's {what}", code="T372", where="spine", fix=fix)


def same(column: pa.ChunkedArray, label: pa.ChunkedArray) -> bool:
    """Whether each value of either stands beside one value of the other, where both are there.

    Not where there is one value only, or nearly as many as rows: then it says nothing, except that
    equal numbers are the same however many.
    """
    if pa.types.is_nested(column.type) or pa.types.is_nested(label.type):
        return False
    both = pc.and_(pc.is_valid(column), pc.is_valid(label))
    left, right = _codes(column.filter(both)), _codes(label.filter(both))
    rows = len(left)
    if rows < ENOUGH or right.max() == 0:
        return False
    distinct = right.max() + 1
    pairs = len(np.unique(left * distinct + right))
    if pairs != distinct or left.max() + 1 != distinct:
        return False
    if distinct * 2 <= rows:
        return True
    numeric = all(
        pa.types.is_integer(c.type) or pa.types.is_floating(c.type) for c in (column, label)
    )
    if not numeric:
        return False
    difference = pc.equal(column.cast(pa.float64()), label.cast(pa.float64())).filter(both)
    return bool(pc.all(difference).as_py())


def _codes(column: pa.ChunkedArray) -> Array:
    array = flat(column)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    codes = array.indices.to_numpy(zero_copy_only=False)
    # A dictionary may hold what no row has; count what is there.
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)
