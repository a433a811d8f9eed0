"""The answer to a private query, once it is paid for: exact sums, noise, estimates.

What `Computing` holds between the engine's sums and `release` is not private and goes nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tacit.engines.base import ARROW
from tacit.errors import PrivacyError
from tacit.privacy.central.choice import PermuteAndFlip
from tacit.privacy.central.means import Means
from tacit.privacy.central.quantiles import Quantiles
from tacit.privacy.central.selection import GaussianThreshold, TruncatedGeometric
from tacit.privacy.central.sums import Integers, NoisySums
from tacit.privacy.randomness import Randomness
from tacit.project.central import Measure
from tacit.project.central_grid import cells_of, middle_of, quantiles_of
from tacit.project.central_query import COHORT, PEOPLE, Ready, most_keys
from tacit.project.files import opened
from tacit.project.project import Project

Columns = dict[str, pa.Array]
_PLACE = "0place"  # no column of a total has such a name


def public_keys(made: Ready) -> pa.Table | None:
    """The public keys in the types of the rows' keys: columns g0, g1, …; None where there are none.

    Raises PrivacyError T874 for columns that do not fit, nulls, and keys that come twice.
    """
    given = made.query.public_keys
    if given is None:
        return None
    kinds = {column.name: column.type for column in made.question.view.computed}
    columns = []
    for group, (name, _) in zip(made.groups, made.keys, strict=True):
        try:
            column = given.column(name).cast(ARROW[kinds[group]])
        except (KeyError, pa.ArrowException):
            raise _unfit(made, f"the column {name!r} is not there, or not {kinds[group]}") from None
        if column.null_count:
            raise _unfit(made, f"the column {name!r} holds a null")
        columns.append(column)
    table = pa.table(columns, names=list(made.groups))
    if table.group_by(list(made.groups)).aggregate([]).num_rows < table.num_rows:
        raise _unfit(made, "a key comes twice")
    return table


def _unfit(made: Ready, what: str) -> PrivacyError:
    return PrivacyError(
        f"public_keys do not fit: {what}",
        code="T874",
        where=f"question over {made.query.source}",
        fix=f"give a column each for {', '.join(n for n, _ in made.keys)}, every key once",
    )


class Computing:
    """One answer in the making. Runs the trees when it is made."""

    def __init__(self, project: Project, made: Ready, randomness: Randomness) -> None:
        self.made = made
        self.query = made.query
        self.randomness = randomness
        trees = made.trees(randomness.bytes(16).hex())
        with ExitStack() as held:
            sources = opened(project, [made.question.view], held)
            found = project.engine.totals(list(trees.values()), sources)
        self.found: Mapping[str, pa.Table] = dict(zip(trees, found, strict=True))

    def table(self, public: pa.Table | None) -> pa.Table:
        """The answer: the keys, and of each measure the estimate, its error and its interval."""
        domain = self._domain(public)
        by_key = self._by_key(domain)
        if self.made.top is not None:
            return self._best(domain, by_key)
        columns = self._key_columns(domain)
        shown = np.ones(domain.num_rows, np.bool_)
        if self.made.suppresses:
            shown = self._release(COHORT, by_key[COHORT]) >= self.query.minimum
        for i, measure in enumerate(self.query.measures):
            for end, column in self._measured(i, measure, domain, by_key).items():
                columns[self.made.names[i] + end] = (
                    column if self.made.selects else _only(column, shown)
                )
        table = pa.table(columns)
        return table.filter(pa.array(shown)) if self.made.selects else table

    # ------------------------------------------------------------------ keys

    def _domain(self, public: pa.Table | None) -> pa.Table:
        """The keys that are answered, in an order that tells nothing: the public one, or sorted.

        Chosen ones are as many as there is memory for, and which those are depends on the keys that
        were chosen alone: it is post-processing.
        """
        if public is not None:
            return public
        if not self.made.groups:
            return pa.table({"all": [True]})
        sums, select = self.found["sums"], self.made.parts["select"]
        assert isinstance(select, TruncatedGeometric | GaussianThreshold), "as it was wanted"
        kept = select.keep(_integers(sums[PEOPLE]), self.randomness)
        named = sums.filter(pa.array(kept)).select(list(self.made.groups))
        ordered = named.sort_by([(group, "ascending") for group in self.made.groups])
        return ordered.slice(0, most_keys(self.query))

    def _key_columns(self, domain: pa.Table) -> Columns:
        pairs = zip(self.made.groups, self.made.keys, strict=True)
        return {name: domain.column(group) for group, (name, _) in pairs}

    def _placed(self, found: pa.Table, domain: pa.Table) -> tuple[pa.Table, Integers]:
        """The rows of a total whose key is in the domain, and the place of each there."""
        if not self.made.groups:
            return found, np.zeros(found.num_rows, np.int64)
        if len(self.made.groups) == 1:
            [group] = self.made.groups
            at = pc.index_in(found.column(group), value_set=domain.column(group).combine_chunks())
            return found.filter(pc.is_valid(at)), _integers(at.drop_null())
        numbered = domain.append_column(_PLACE, pa.array(np.arange(domain.num_rows)))
        joined = found.join(numbered, list(self.made.groups), join_type="inner")
        return joined, _integers(joined[_PLACE])

    def _by_key(self, domain: pa.Table) -> dict[str, Integers]:
        """Each exact sum by key of the domain; 0 for one without rows. Not private."""
        if "sums" not in self.found:
            return {}
        rows, places = self._placed(self.found["sums"], domain)
        found = {}
        for name in rows.column_names:
            if name not in self.made.groups and name != _PLACE:
                found[name] = np.zeros(domain.num_rows, np.int64)
                found[name][places] = _integers(rows[name])
        return found

    def _cells(self, name: str, domain: pa.Table, count: int) -> Integers:
        """The exact counts of a grid's cells, (keys, cells). Not private."""
        rows, places = self._placed(self.found[name], domain)
        cells = np.zeros((domain.num_rows, count), np.int64)
        cells[places, _integers(rows["cell"])] = _integers(rows["rows"])
        return cells

    # ------------------------------------------------------------------ measures

    def _noise(self, name: str) -> NoisySums:
        noise = self.made.parts[name]
        assert isinstance(noise, NoisySums), "as it was wanted"
        return noise

    def _release(self, name: str, sums: Integers) -> Integers:
        return self._noise(name).release(sums, self.randomness)

    def _measured(
        self, i: int, measure: Measure, domain: pa.Table, by_key: Mapping[str, Integers]
    ) -> Columns:
        """The four columns of a measure, by the ends of their names."""
        name = f"m{i}"
        if measure.kind in ("count", "persons"):
            return self._counted(name, self._release(name, by_key[name]), 1.0)
        if measure.kind == "sum":
            assert measure.step is not None, "checked"
            return self._counted(name, self._release(name, by_key[name]), float(measure.step))
        if measure.kind == "mean":
            return self._mean(name, measure, by_key)
        cells = self._cells(name, domain, cells_of(measure))
        if measure.kind == "histogram":
            return self._counted(name, self._release(name, cells), 1.0)
        return self._quantiles(name, measure, cells)

    def _counted(self, name: str, noisy: Integers, unit: float) -> Columns:
        """Sums in their unit: numbers, or a list for each key."""
        noise = self._noise(name)
        width = noise.half_width(self.query.confidence)
        error = np.full(len(noisy), noise.sigma * unit)
        ends = {"": noisy * unit, "_error": error}
        ends |= {"_lower": (noisy - width) * unit, "_upper": (noisy + width) * unit}
        return {end: _array(values) for end, values in ends.items()}

    def _mean(self, name: str, measure: Measure, by_key: Mapping[str, Integers]) -> Columns:
        middle, _, _ = middle_of(measure)
        low, high, step = (float(n or 0) for n in (measure.low, measure.high, measure.step))
        means = Means(self._noise(name), self._noise(f"{name}n"), float(middle), step, low, high)
        sums = self._release(name, by_key[name])
        counts = self._release(f"{name}n", by_key[f"{name}n"])
        found = means.estimate(sums, counts, self.query.confidence)
        ends = ("", "_error", "_lower", "_upper")
        return {end: pa.array(values) for end, values in zip(ends, found, strict=True)}

    def _quantiles(self, name: str, measure: Measure, cells: Integers) -> Columns:
        tree = Quantiles(self._noise(name), cells.shape[1])
        nodes = tree.release(cells, self.randomness)
        low, step = float(measure.low or 0), float(measure.step or 0)
        found = [tree.estimate(nodes, at, self.query.confidence) for at in quantiles_of(measure)]
        ends = {}
        for end, places in zip(("", "_lower", "_upper"), zip(*found, strict=True), strict=True):
            ends[end] = _array(low + step * np.stack(places, axis=1))
        return ends | {"_error": pa.nulls(len(cells), pa.float64())}

    def _best(self, domain: pa.Table, by_key: Mapping[str, Integers]) -> pa.Table:
        """The keys with most people, the first one first, and how many those are."""
        choose = self.made.parts["choose"]
        assert isinstance(choose, PermuteAndFlip), "as it was wanted"
        places = choose.choose(by_key["m0"], self.randomness)
        columns = self._key_columns(domain.take(pa.array(places)))
        noisy = self._release("m0", by_key["m0"][places])
        ends = self._counted("m0", noisy, 1.0)
        return pa.table(columns | {self.made.names[0] + end: each for end, each in ends.items()})


def _integers(column: pa.ChunkedArray) -> Integers:
    found: Integers = column.to_numpy().astype(np.int64, copy=False)
    return found


def _array(values: npt.NDArray[np.float64]) -> pa.Array:
    """Numbers by key; a list of them by key where there are two dimensions."""
    plain = values.astype(np.float64, copy=False)
    if plain.ndim == 1:
        return pa.array(plain)
    offsets = np.arange(len(plain) + 1, dtype=np.int32) * plain.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(plain.reshape(-1)))


def _only(column: pa.Array, shown: npt.NDArray[np.bool_]) -> pa.Array:
    """The column with null for keys that are not shown."""
    if shown.all():
        return column
    return column.take(pa.array(np.arange(len(column)), mask=~shown))
