"""The cells of an answer, one number each, and what is made of several: sums, ratios, expressions.

A cell is a combination of the values of dimensions and a period. Every number comes with the spread
of its noise; what is computed of such numbers is post-processing, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tacit.declare.expression import parse
from tacit.engines.local import Local
from tacit.operations import Derived
from tacit.plan.asked import PERIOD
from tacit.plan.forms import Sum, form_of
from tacit.privacy.interval import Floats, Interval, linear_interval, ratio_error, ratio_interval
from tacit.values import Type

Key = tuple[object, ...]


@dataclass(frozen=True)
class Cells:
    """Numbers by cell.

    Attributes:
        keys: a column for each dimension, and the period's start (int64 µs) if there is a grain.
        value: (n,); NaN where there is none.
        error: (n,), the standard deviation of the noise; 0 for what has none, NaN where it is not
            known.
        lower, upper: (n,), the 95% interval.
        laplace: whether the noise is Laplace, rather than Gaussian.
        hidden: (n,), cells that too few people stand behind.
        complete: whether every cell that there can be is there, so that sums of cells are sums.
    """

    keys: pa.Table
    value: Floats
    error: Floats
    lower: Floats
    upper: Floats
    laplace: bool
    hidden: npt.NDArray[np.bool_]
    complete: bool = True

    def rows(self) -> list[Key]:
        """Every cell's key."""
        columns = [column.to_pylist() for column in self.keys.columns]
        return list(zip(*columns, strict=True)) if columns else [()] * len(self.value)


def exact(keys: pa.Table, value: Floats) -> Cells:
    """Cells of what is about nobody: numbers as they are."""
    return Cells(keys, value, np.zeros(len(value)), value, value, False, np.zeros(len(value), bool))


def with_interval(cells: Cells) -> Cells:
    """The cells, with the interval that their own noise gives."""
    found = linear_interval(cells.value, cells.error[:, None], (cells.laplace,))
    return replace(cells, lower=found.lower, upper=found.upper)


# ---------------------------------------------------------------------- sums over cells


def running(cells: Cells, length: int | None) -> Cells:
    """Each cell's sum over the `length` periods that end with it; None for all from the first.

    Cells must be complete. The noise of periods is independent, so variances add up; of Laplace
    noise, sums are not Laplace, and the interval is that of the sum. A cell that is hidden is in no
    sum: two sums, or a sum and the cells that are shown, would else tell what it is.
    """
    groups: dict[Key, list[tuple[int, int]]] = {}
    dims = [name for name in cells.keys.column_names if name != PERIOD]
    periods = cells.keys.column(PERIOD).to_pylist()
    for row, key in enumerate(cells.keys.select(dims).to_pylist() if dims else [{}] * len(periods)):
        groups.setdefault(tuple(key.values()), []).append((periods[row], row))
    value, spreads = np.array(cells.value), [np.empty(0)] * len(cells.value)
    hidden = np.array(cells.hidden)
    for members in groups.values():
        order = [row for _, row in sorted(members)]
        for place, row in enumerate(order):
            over = order[0 if length is None else max(0, place + 1 - length) : place + 1]
            shown = [each for each in over if not cells.hidden[each]]
            value[row] = cells.value[shown].sum()
            spreads[row] = cells.error[shown]
            hidden[row] = not shown
    return _summed(replace(cells, hidden=hidden), value, spreads)


def _summed(cells: Cells, value: Floats, spreads: Sequence[Floats]) -> Cells:
    """Sums of so many noises each, with their intervals."""
    error = np.array([float(np.sqrt((part**2).sum())) for part in spreads])
    most = max((len(part) for part in spreads), default=1)
    if cells.laplace and most > 1:
        wide = np.zeros((len(value), most))
        for row, part in enumerate(spreads):
            wide[row, : len(part)] = part
        interval = linear_interval(value, wide, (True,) * most)
    else:
        interval = linear_interval(value, error[:, None], (cells.laplace,))
    # Of a sum of several Laplace noises, what is next made of it takes the wider of the two tails.
    return replace(cells, value=value, error=error, lower=interval.lower, upper=interval.upper)


def rolled_up(cells: Cells, keys: pa.Table, coarse: pa.Table) -> Cells:
    """Sums of complete cells: `keys` says, row by row, to which cell of `coarse` each belongs.

    A cell of the sum is shown if one of its parts is, and is the sum of those that are: who stands
    behind a part stands behind it, and the others stay hidden.
    """
    places = {key: place for place, key in enumerate(_tuples(coarse))}
    members: list[list[int]] = [[] for _ in places]
    for row, key in enumerate(_tuples(keys)):
        if key in places:
            members[places[key]].append(row)
    shown = [[row for row in rows if not cells.hidden[row]] for rows in members]
    value = np.array([cells.value[rows].sum() for rows in shown])
    hidden = np.array([not rows for rows in shown])
    spreads = [cells.error[rows] for rows in shown]
    return _summed(replace(cells, keys=coarse, hidden=hidden), value, spreads)


def _tuples(keys: pa.Table) -> list[Key]:
    columns = [column.to_pylist() for column in keys.columns]
    return list(zip(*columns, strict=True)) if columns else [()] * keys.num_rows


# ---------------------------------------------------------------------- expressions of cells


@dataclass(frozen=True)
class Composed:
    """What a metric comes to: an expression over parts that were measured.

    `parts`: name → its cells; all with the same dimensions and grain.
    """

    sql: str
    parts: Mapping[str, Cells] = field(default_factory=dict)


def compute(made: Composed) -> Cells:
    """The expression, cell by cell. A cell that a part lacks has no value.

    Sums and ratios of sums have intervals of their exact distribution; others by the delta method.
    """
    first = next(iter(made.parts.values()))
    if parse(made.sql).tree.op == "column":
        return first
    keys, columns = _aligned(made.parts)
    values = {name: column[0] for name, column in columns.items()}
    errors = {name: column[1] for name, column in columns.items()}
    hidden = np.logical_or.reduce([column[2] for column in columns.values()])
    laplace = tuple(cells.laplace for cells in made.parts.values())
    value = _evaluate(made.sql, values)
    error, interval = _spread(made.sql, value, values, errors, laplace)
    whole = all(cells.complete for cells in made.parts.values())
    return Cells(keys, value, error, interval.lower, interval.upper, any(laplace), hidden, whole)


def _aligned(
    parts: Mapping[str, Cells],
) -> tuple[pa.Table, dict[str, tuple[Floats, Floats, npt.NDArray[np.bool_]]]]:
    """All cells that any part has, and each part's values, errors and hidden flags by these."""
    order: dict[Key, int] = {}
    for cells in parts.values():
        for key in cells.rows():
            order.setdefault(key, len(order))
    columns = {}
    for name, cells in parts.items():
        value, error = np.full(len(order), np.nan), np.full(len(order), np.nan)
        hidden = np.ones(len(order), bool)
        at = np.array([order[key] for key in cells.rows()], np.int64)
        value[at], error[at], hidden[at] = cells.value, cells.error, cells.hidden
        columns[name] = (value, error, hidden)
    schema = next(iter(parts.values())).keys.schema
    listed = list(order)
    arrays = [pa.array([key[i] for key in listed], f.type) for i, f in enumerate(schema)]
    keys = pa.table(arrays, schema=schema) if len(schema) else _no_keys(len(listed))
    return keys, columns


def _no_keys(rows: int) -> pa.Table:
    """A table of so many rows that no column tells apart."""
    return pa.table({"": pa.nulls(rows)}).select([])


def _evaluate(sql: str, values: Mapping[str, Floats]) -> Floats:
    """The expression over columns of floats, by its one meaning; NaN where it is null."""
    names = {name: f"x{i}" for i, name in enumerate(values)}
    flat = parse(sql).substitute({name: parse(short) for name, short in names.items()})
    table = pa.table(
        {names[n]: pa.array(v, pa.float64(), mask=np.isnan(v)) for n, v in values.items()}
    )
    inputs = tuple((short, Type.FLOAT) for short in names.values())
    found = Local().derive(table, [Derived("value", flat.sql, Type.FLOAT, inputs)])
    column = found["value"].to_numpy(zero_copy_only=False)
    return np.asarray(column, np.float64)


def _spread(
    sql: str,
    value: Floats,
    values: Mapping[str, Floats],
    errors: Mapping[str, Floats],
    laplace: tuple[bool, ...],
) -> tuple[Floats, Interval]:
    """The standard error and the interval of an expression."""
    form = form_of(parse(sql).tree)
    if form is None:
        slopes = _slopes(sql, values, errors)
        error = np.sqrt((slopes**2).sum(axis=1))
        return error, linear_interval(value, np.abs(slopes), laplace)
    if form.linear:
        total = form.above.by(1 / form.below.constant) if form.below.constant else form.above
        spreads = _terms(total, values, errors)[1]
        return np.sqrt((spreads**2).sum(axis=1)), linear_interval(value, np.abs(spreads), laplace)
    above, below = _terms(form.above, values, errors), _terms(form.below, values, errors)
    return ratio_error(above, below), ratio_interval(above, below, laplace)


def _terms(
    total: Sum, values: Mapping[str, Floats], errors: Mapping[str, Floats]
) -> tuple[Floats, Floats]:
    """A sum's values (n,) and signed spreads (n, m), a column for each part."""
    value = np.full(len(next(iter(values.values()))), total.constant)
    for name, weight in total.weights.items():
        value = value + weight * values[name]
    spreads = [total.weights.get(name, 0.0) * errors[name] for name in values]
    return value, np.column_stack(spreads)


def _slopes(sql: str, values: Mapping[str, Floats], errors: Mapping[str, Floats]) -> Floats:
    """∂f/∂x_j σ_j of each part (n, m), by central differences a hundredth of σ_j wide."""
    columns = []
    for name in values:
        h = np.where(errors[name] > 0, errors[name] / 100, 1.0)
        up = _evaluate(sql, {**values, name: values[name] + h})
        down = _evaluate(sql, {**values, name: values[name] - h})
        columns.append((up - down) / (2 * h) * errors[name])
    return np.column_stack(columns)
