"""The declared schema as a contract: which rows of a batch fit it, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tacit.store.files import is_text, of_unit, other_unit, strange
from tacit.store.lake.convert import convert
from tacit.store.lake.layout import Layout
from tacit.values import MINUTE, Type, show_duration

NO_KEY, FUTURE, EXPIRED, TWICE, OTHER_UNIT = "T361", "T365", "T367", "T368", "T348"
AHEAD = 5 * MINUTE
"""How far ahead of now a row may be dated, unless said otherwise: clocks disagree a little."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as they were read, and where they stood.

    Attributes:
        columns: declared name → values, for the columns that the file has.
        rows: their numbers in the file, from 1; int64.
        parsed: whether texts are to be parsed, as of CSV.
        breaches: what was found wrong already: column → code → mask.
        originals: each row's own values, where the columns do not hold them all.
    """

    columns: Mapping[str, pa.Array]
    rows: npt.NDArray[np.int64]
    parsed: bool = False
    breaches: Mapping[str, Mapping[str, pa.Array]] = field(default_factory=dict)
    originals: Sequence[Mapping[str, object]] | None = None

    def values(self, places: npt.NDArray[np.int64]) -> list[Mapping[str, object]]:
        """The values of some rows as they were read."""
        if self.originals is not None:
            return [self.originals[place] for place in places]
        take = pa.array(places)
        held = {name: _listed(column.take(take)) for name, column in self.columns.items()}
        return [{name: some[i] for name, some in held.items()} for i in range(len(places))]


@dataclass(frozen=True, slots=True)
class Breach:
    """A row that does not fit: its number, the first code that holds, and the column at fault."""

    row: int
    code: str
    column: str
    reason: str
    at: int | None
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Terms:
    """What an ingestion holds rows against: a layout, a moment, how far ahead of it one may be; the
    unit of moments that are whole numbers, where it is said."""

    layout: Layout
    now: int
    ahead: int = AHEAD
    unit: str | None = None

    def judge(self, batch: Batch) -> tuple[pa.Table, list[Breach], npt.NDArray[np.int64]]:
        """The rows that fit, of their declared types; the others; and the places of the first.

        Raises DataError T348 where most times seem to be of another unit.
        """
        layout, size = self.layout, len(batch.rows)
        arrays, found = [], []
        for name, kind in layout.columns.items():
            if name not in batch.columns:
                arrays.append(pa.nulls(size, layout.schema().field(name).type))
                continue
            done = convert(batch.columns[name], kind, parsed=batch.parsed)
            moments = done.values
            if kind is Type.TIME and self.unit is not None:
                there = pa.array(_whole(batch, name))
                scaled = of_unit(pc.if_else(there, moments, 0), self.unit)
                moments = pc.if_else(there, scaled, moments)
            arrays.append(moments)
            for code, mask in {**done.breaches, **batch.breaches.get(name, {})}.items():
                found.append((code, name, _mask(mask)))
        values = dict(zip(layout.columns, arrays, strict=True))
        found += self._missing(values)
        found += self._of_other_unit(batch, values)
        found += self._dated(values)
        bad = np.zeros(size, bool)
        for _, _, mask in found:
            bad |= mask
        table = pa.table(arrays, names=list(layout.columns))
        if not bad.any():
            return table, [], np.arange(size)
        kept = table.filter(pa.array(~bad))
        return kept, self._breaches(batch, values, found, bad), np.flatnonzero(~bad)

    def _missing(self, values: Mapping[str, pa.Array]) -> list[tuple[str, str, Mask]]:
        found = [(NO_KEY, name, _absent(values[name])) for name in self.layout.required]
        return [(code, name, mask) for code, name, mask in found if mask.any()]

    def _of_other_unit(
        self, batch: Batch, values: Mapping[str, pa.Array]
    ) -> list[tuple[str, str, Mask]]:
        """Whole numbers that are no microseconds of our days; those that are most of a batch are
        no mistake of a row."""
        time = self.layout.time
        if time is None or self.unit is not None or time not in batch.columns:
            return []
        odd = _mask(strange(values[time]))
        if not odd.any():
            return []
        odd &= _whole(batch, time)
        if 2 * odd.sum() > len(odd):
            raise other_unit(int(odd.sum()), len(odd), f"{self.layout.name}, column {time!r}")
        return [(OTHER_UNIT, time, odd)] if odd.any() else []

    def _dated(self, values: Mapping[str, pa.Array]) -> list[tuple[str, str, Mask]]:
        if self.layout.time is None:
            return []
        at = values[self.layout.time]
        found = [(FUTURE, self.layout.time, _mask(pc.greater(at, self.now + self.ahead)))]
        if self.layout.keep is not None:
            past = pc.less(at, self.now - self.layout.keep)
            found.append((EXPIRED, self.layout.time, _mask(past)))
        return [(code, name, mask) for code, name, mask in found if mask.any()]

    def _breaches(
        self,
        batch: Batch,
        values: Mapping[str, pa.Array],
        found: list[tuple[str, str, Mask]],
        bad: Mask,
    ) -> list[Breach]:
        places = np.flatnonzero(bad)
        originals = batch.values(places)
        times: list[int | None] = [None] * len(places)
        if self.layout.time is not None:
            times = values[self.layout.time].take(pa.array(places)).to_pylist()
        first = np.argmax([mask[places] for _, _, mask in found], axis=0).tolist()
        whys = [self.reason(code, name) for code, name, _ in found]
        breaches = []
        for which, number, at, row in zip(
            first, batch.rows[places].tolist(), times, originals, strict=True
        ):
            code, column, _ = found[which]
            held = {} if code == EXPIRED else row
            when = None if code in (FUTURE, OTHER_UNIT) else at
            breaches.append(Breach(number, code, column, whys[which], when, held))
        return breaches

    def reason(self, code: str, column: str) -> str:
        """A sentence for a code."""
        kind = self.layout.columns.get(column, "row")
        return {
            "T361": f"{column} is missing, and a row without it belongs to nobody or no moment",
            "T362": f"{column} is not of type {kind}",
            "T363": f"{column} would lose its value as {kind}",
            "T364": f"{column} is not a moment",
            "T365": f"{column} lies more than {_seconds(self.ahead)} in the future",
            "T366": "it cannot be read",
            "T367": f"it is past its retention of {show_duration(self.layout.keep)}; values are"
            " not kept",
            "T368": f"{column} came before",
            "T348": f"{column} is a whole number, and as microseconds before 1990 or after 2100",
        }[code]


def _whole(batch: Batch, name: str) -> Mask:
    """Which moments were read as whole numbers."""
    held = batch.columns[name]
    if batch.originals is not None:
        return np.array([type(row.get(name)) is int for row in batch.originals], bool)
    if pa.types.is_dictionary(held.type):
        held = held.dictionary_decode()
    if pa.types.is_integer(held.type):
        return np.ones(len(held), bool)
    if not (pa.types.is_binary(held.type) or is_text(held.type)):
        return np.zeros(len(held), bool)
    return _mask(pc.match_substring_regex(held, r"^\s*[+-]?\d+\s*$"))


def _seconds(length: int) -> str:
    return f"{length / 1e6:,g} s"


def _listed(values: pa.Array) -> list[object]:
    """Values as Python's; moments that Python's own type cannot hold, as the numbers they are."""
    found: list[object]
    try:
        found = values.to_pylist()
    except (OverflowError, ValueError):
        found = pc.cast(values, pa.int64()).to_pylist()
    return found


def _absent(values: pa.Array) -> Mask:
    """Which values are null, or an empty text: the key of nobody."""
    coded = pa.types.is_dictionary(values.type)
    if not coded and not pa.types.is_string(values.type):
        return _mask(pc.is_null(values))
    texts = values.dictionary if coded else values
    if not pc.any(pc.equal(pc.binary_length(texts), 0)).as_py():
        return _mask(pc.is_null(values))
    plain = values.dictionary_decode() if coded else values
    return _mask(pc.or_kleene(pc.is_null(plain), pc.equal(pc.binary_length(plain), 0)))


def _mask(mask: pa.Array) -> Mask:
    found: Mask = np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), bool)
    return found
