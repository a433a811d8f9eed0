"""Interactions from a file of anybody's: who, what, when, and the public text of what.

Which column is which is said by options, else guessed from common names and said aloud.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from tacit.demo.synthetic import make_catalogue, make_events
from tacit.errors import DataError
from tacit.store.files import first_line

GUESSES: Mapping[str, tuple[str, ...]] = {
    "user": (
        *("user", "user_id", "userid", "customer", "customer_id", "customerid"),
        *("person", "device", "visitor"),
    ),
    "item": ("item", "item_id", "itemid", "product", "product_id", "movie", "movie_id", "track"),
    "time": ("at", "time", "timestamp", "ts", "date", "datetime", "event_time", "created_at"),
    "title": ("title", "description", "name", "item_name", "product_name", "text"),
}


@dataclass(frozen=True, slots=True)
class Interactions:
    """Interactions in order of time, and the catalogue they are of.

    `history` has `person`, `item` (text), `at` (timestamp[us]) and `enjoyed`: rows of one moment
    keep their order by lying a microsecond apart, and `enjoyed` is false where `where` says so: a
    return stays in its person's history, but speaks for nothing. `catalogue` has `item` and
    `title`, of what was enjoyed by anybody. `left_out` counts the rows that belong to nobody or to
    no moment; `columns` says which was which.
    """

    history: pa.Table
    catalogue: pa.Table
    left_out: int
    columns: Mapping[str, str]
    where: str | None


def read_interactions(
    path: Path, chosen: Mapping[str, str | None], where: str | None, devices: int | None
) -> Interactions:
    """The interactions of a Parquet file, of at most `devices` people.

    `chosen` maps user, item, time and title to columns; what is None is guessed. Without `where`, a
    `quantity` column means that only rows of a positive one count: others are returns. Raises
    DataError T301 no file, T302 not readable, T303 a column missing, T304 of a wrong type, T307 for
    a condition that cannot be applied, T308 when no row is left.
    """
    if not path.is_file():
        raise DataError("there is no such file", code="T301", where=str(path), fix="check the path")
    with duckdb.connect() as connection:
        # An unnamed timestamp is UTC in Tacit, whatever this machine's own zone is.
        connection.execute("SET TimeZone = 'UTC'")
        try:
            raw = connection.from_parquet(str(path), file_row_number=True)
            types = dict(zip(raw.columns, map(str, raw.types), strict=True))
        except duckdb.Error as error:
            raise DataError(
                f"the file cannot be read as Parquet: {first_line(error)}",
                code="T302",
                where=str(path),
                fix="write it again; it is damaged, cut short, or of another format",
            ) from None
        columns = _columns(path, types, chosen)
        if where is None and "quantity" in map(str.lower, types):
            where = "quantity > 0"
        _check_condition(connection, path, where)
        try:
            return _read(connection, path, types, columns, where, devices)
        except duckdb.Error as error:
            raise _unfit(path, where, error) from None


def _columns(
    path: Path, types: Mapping[str, str], chosen: Mapping[str, str | None]
) -> dict[str, str]:
    found: dict[str, str] = {}
    lowered = {name.lower(): name for name in types}
    for role, guesses in GUESSES.items():
        name = chosen.get(role)
        if name is None:
            name = next((lowered[guess] for guess in guesses if guess in lowered), None)
        if name is None and role == "title":
            continue
        if name is None or name not in types:
            asked = f"no column {name!r}" if name else f"no column that looks like the {role}"
            close = difflib.get_close_matches(name or role, types, 1) or sorted(types)
            raise DataError(
                f"the file has {asked}",
                code="T303",
                where=str(path),
                fix=f"say --{role} COLUMN; it has {', '.join(close[:12])}",
            )
        found[role] = name
    _check_types(path, types, found)
    return found


def _check_types(path: Path, types: Mapping[str, str], columns: Mapping[str, str]) -> None:
    plain = ("VARCHAR", "INT", "UUID")
    suits = {
        "user": plain,
        "item": plain,
        "time": ("TIMESTAMP", "DATE", "BIGINT"),
        "title": ("VARCHAR",),
    }
    for role, name in columns.items():
        if not any(kind in types[name] for kind in suits[role]) or "[" in types[name]:
            raise DataError(
                f"the column for the {role} holds {types[name]}",
                code="T304",
                where=f"{path}, column {name!r}",
                fix=f"name another with --{role}, or write it as {' or '.join(suits[role])}",
            )


def _read(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    types: Mapping[str, str],
    columns: Mapping[str, str],
    where: str | None,
    devices: int | None,
) -> Interactions:
    left_out = _load(connection, path, types, columns, where)
    catalogue = connection.sql(
        """SELECT item, coalesce(first(title ORDER BY position) FILTER (title <> ''), item) AS title
            FROM rows WHERE enjoyed GROUP BY item ORDER BY item"""
    ).to_arrow_table()
    if devices is not None:
        # Which people are taken does not depend on the order of the file, nor on what they did.
        connection.execute(
            "DELETE FROM rows WHERE person NOT IN (SELECT person FROM rows GROUP BY person"
            " ORDER BY md5(person), person LIMIT ?)",
            [devices],
        )
    if not _one(connection, "SELECT count(*) FROM rows WHERE enjoyed"):
        raise DataError(
            "no interaction is left",
            code="T308",
            where=str(path),
            fix="check --where, --devices and which columns are meant",
        )
    history = connection.sql(
        """SELECT person, item, make_timestamp(moment + row_number() OVER (
                PARTITION BY person, moment ORDER BY position) - 1) AS "at", enjoyed
            FROM rows ORDER BY moment, position"""
    ).to_arrow_table()
    return Interactions(history, catalogue, left_out, columns, where)


def _check_condition(connection: duckdb.DuckDBPyConnection, path: Path, where: str | None) -> None:
    try:
        connection.execute(
            f"SELECT coalesce(({where or 'true'}), false) FROM read_parquet(?) LIMIT 1",  # noqa: S608
            [str(path)],
        )
    except duckdb.Error as error:
        raise _unfit(path, where, error) from None


def _load(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    types: Mapping[str, str],
    columns: Mapping[str, str],
    where: str | None,
) -> int:
    """Makes the table `rows`; the number of rows that were left out of it."""
    quoted = {role: '"' + name.replace('"', '""') + '"' for role, name in columns.items()}
    at = quoted["time"]
    moment = f"epoch_us({at})" if types[columns["time"]] != "BIGINT" else at
    title = f"CAST({quoted['title']} AS VARCHAR)" if "title" in quoted else "NULL"
    connection.execute(
        f"""CREATE TEMP TABLE rows AS SELECT CAST({quoted["user"]} AS VARCHAR) AS person,
            CAST({quoted["item"]} AS VARCHAR) AS item, {moment} AS moment, {title} AS title,
            file_row_number AS position, coalesce(({where or "true"}), false) AS enjoyed
            FROM read_parquet(?, file_row_number=true)""",  # noqa: S608
        [str(path)],
    )
    whole = "person IS NOT NULL AND item IS NOT NULL AND moment IS NOT NULL"
    left_out = _one(connection, f"SELECT count(*) FROM rows WHERE NOT ({whole})")  # noqa: S608
    connection.execute(f"DELETE FROM rows WHERE NOT ({whole})")  # noqa: S608
    return left_out


def _unfit(path: Path, where: str | None, error: duckdb.Error) -> DataError:
    """T307 for a condition that some row does not bear; T302 where the file is to blame."""
    of_sql = (duckdb.BinderException, duckdb.ParserException, duckdb.ConversionException)
    if where is None or not isinstance(error, of_sql):
        return DataError(
            f"its rows cannot be read: {first_line(error)}",
            code="T302",
            where=str(path),
            fix="write the file again; it is damaged, or its times lie outside of all calendars",
        )
    return DataError(
        f"the condition cannot be applied: {first_line(error)}",
        code="T307",
        where=f"{path}, --where {where!r}",
        fix="write a condition over the file's columns, such as 'quantity > 0'",
    )


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.execute(sql).fetchall()[0][0])


def made_up(people: int, seed: int = 1, items: int = 1_500) -> Interactions:
    """A made-up population's interactions (see `demo.synthetic`); the same for the same seed."""
    catalogue = make_catalogue(seed, items)
    events = make_events(catalogue, seed, people)
    ids = pa.array(catalogue.ids)
    history = pa.table(
        {
            "person": pa.array([f"p{code:06}" for code in range(people)]).take(
                pa.array(events.user)
            ),
            "item": ids.take(pa.array(events.item)),
            "at": pa.array(events.time).cast(pa.timestamp("us")),
            "enjoyed": pa.repeat(True, len(events.user)),
        }
    ).sort_by("at")
    titles = pa.table({"item": ids, "title": pa.array(catalogue.texts)})
    columns = {"user": "person", "item": "item", "time": "at", "title": "title"}
    return Interactions(history, titles, 0, columns, None)
