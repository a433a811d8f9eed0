"""A content table as a public domain: what a release may speak of, and how it is called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tacit.declare import PUBLIC, Table
from tacit.errors import DataError
from tacit.plan.sources import key_columns
from tacit.values import Type

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Keys, titles and all public text, in file order; `texts` is None where there is none."""

    items: Sequence[str]
    titles: Sequence[str]
    texts: Sequence[str] | None

    def over(self, domain: Iterable[str]) -> Catalogue:
        """The same of the items of a domain, in its order; one that is gone is called by its key.

        A release speaks of the domain that it was collected over, whatever the table says by now.
        """
        places = {item: place for place, item in enumerate(self.items)}
        items = list(domain)
        found = [places.get(item) for item in items]
        titles = [
            item if place is None else self.titles[place]
            for item, place in zip(items, found, strict=True)
        ]
        if self.texts is None:
            return Catalogue(items, titles, None)
        return Catalogue(items, titles, ["" if p is None else self.texts[p] for p in found])


def catalogue_of(name: str, declared: Table, rows: pa.Table, path: Path) -> Catalogue:
    """The catalogue of a table's rows. Raises DataError T308 when there are none."""
    [key] = key_columns(declared, declared.of)
    items: list[str] = rows.column(key).to_pylist()
    if not items:
        raise DataError(
            f"the table {name!r} has no rows, so there is nothing to release or rank",
            code="T308",
            where=str(path),
            fix="write one row for each item",
        )
    public = [
        title
        for title, column in declared.columns.items()
        if (column.category or declared.category) == PUBLIC
        and column.type is Type.TEXT
        and title != key
    ]
    if not public:
        return Catalogue(items, items, None)
    columns = [rows.column(title).to_pylist() for title in public]
    texts = [" ".join(filter(None, row)) for row in zip(*columns, strict=True)]
    titles = [text or item for text, item in zip(columns[0], items, strict=True)]
    return Catalogue(items, titles, texts)


def check_keys(declared: Table, rows: pa.Table, path: Path) -> None:
    """Raises DataError T306 for a table in which a key comes twice."""
    [key] = key_columns(declared, declared.of)
    counts = rows.column(key).value_counts()
    if len(counts) < rows.num_rows:
        twice = next(each["values"] for each in counts.to_pylist() if each["counts"] > 1)
        raise DataError(
            f"the key {twice!r} comes more than once",
            code="T306",
            where=f"{path}, column {key!r}",
            fix="keep one row for each key; a join would multiply events otherwise",
        )
