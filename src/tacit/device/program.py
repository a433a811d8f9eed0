"""The device-placed part of a plan, as a device runs it: SQL text, and the content it joins.

It travels in a signed bundle as `program.json`; a device runs nothing else over its vault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tacit.engines import sqlite
from tacit.engines.sqlite import Connection


@dataclass(frozen=True, slots=True)
class Content:
    """A public content table: column names, and rows in their order."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Program:
    """SQL statements (see `engines.sqlite.statements`) and the content tables they name.

    `keep` is how long rows may be kept, by table, in microseconds: older ones are forgotten by the
    device before it runs anything over them.
    """

    sql: tuple[str, ...]
    content: Mapping[str, Content]
    keep: Mapping[str, int]

    def run(self, connection: Connection, person: str | int, now: int) -> dict[str, Any]:
        """Every signal of the person's own rows before `now`; a histogram is a dict."""
        with _content(connection, self.content):
            found = sqlite.run(connection, self.sql, [[person]], [now])
        return {name: _plain(values[0]) for name, values in found.items()}

    def to_json(self) -> dict[str, Any]:
        """For `program.json`."""
        tables = {
            name: {"columns": list(table.columns), "rows": [list(row) for row in table.rows]}
            for name, table in self.content.items()
        }
        return {"sql": list(self.sql), "content": tables, "keep": dict(self.keep)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Program:
        """What `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        content = {
            str(name): Content(tuple(table["columns"]), tuple(tuple(row) for row in table["rows"]))
            for name, table in raw["content"].items()
        }
        if not all(isinstance(statement, str) for statement in raw["sql"]):
            raise ValueError("a statement is not text")
        keep = {str(table): int(length) for table, length in raw["keep"].items()}
        return cls(tuple(raw["sql"]), content, keep)


def _plain(value: Any) -> Any:
    pairs = isinstance(value, list) and all(isinstance(item, tuple) for item in value)
    return dict(value) if pairs else value


@contextmanager
def _content(connection: Connection, content: Mapping[str, Content]) -> Iterator[None]:
    """The content as temporary tables, which SQLite keeps in memory here; gone afterwards."""
    try:
        for name, table in content.items():
            columns = ", ".join(_quoted(column) for column in table.columns)
            connection.execute(f"CREATE TEMP TABLE {_quoted(name)} ({columns})")
            marks = ", ".join("?" * len(table.columns))
            insert = f"INSERT INTO temp.{_quoted(name)} VALUES ({marks})"  # noqa: S608
            connection.executemany(insert, table.rows)
        yield
    finally:
        for name in content:
            connection.execute(f"DROP TABLE IF EXISTS temp.{_quoted(name)}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
