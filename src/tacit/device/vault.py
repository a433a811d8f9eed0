"""A device's own history, in one encrypted SQLite file (SQLCipher 4, AES-256-CBC, HMAC-SHA512).

The key is 256 raw bits from the device's keystore. No passphrase is derived, so a vault opens in
under a millisecond. The first 16 bytes of the file, SQLCipher's salt, are 8 random bytes and 8
bytes of a keyed check over them: that is how a wrong key (T611) is told from damage (T612).

What is promised, and by which setting:

- *An acknowledged append is on the disk.* `synchronous=FULL` with `journal_mode=TRUNCATE`, which
  also syncs the truncated journal. `DELETE` needs `EXTRA` for the same promise and is slower. `WAL`
  appends in half the time, but leaves erased rows in its log and keeps two more files open.
- *An append is whole or absent*, after a crash, a kill, or a full disk (T701).
- *Nothing readable touches the disk*: pages and journal are encrypted; temporaries stay in memory.
- *What is forgotten is overwritten*: `secure_delete=ON` rewrites the freed bytes, and the journal
  is emptied when `forget` returns. Flash may keep old encrypted blocks; to erase all, destroy the
  key.

What it cannot see: a whole file put back from an older copy. Its spends are then those of the copy.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import sqlcipher3

from tacit.device import cipher
from tacit.device.epochs import Charge
from tacit.device.rows import Columns, as_arrow, as_tuples, check_tables, clocks_of, sql_type
from tacit.errors import DataError, PrivacyError, VaultError
from tacit.values import Secret, Type, canonical_json

FORMAT = 1
_SCHEMA = (
    "CREATE TABLE tacit_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE tacit_spent (release TEXT, epoch INTEGER, contribution BLOB,
       PRIMARY KEY (release, epoch)) STRICT, WITHOUT ROWID""",
    f"PRAGMA user_version = {FORMAT}",
)
_CHARGED = """CREATE TABLE IF NOT EXISTS tacit_charged (release TEXT, epoch INTEGER,
    charge TEXT NOT NULL, PRIMARY KEY (release, epoch)) STRICT, WITHOUT ROWID"""
_IS_SPENT = "SELECT 1 FROM tacit_spent WHERE release = ? AND epoch = ?"


class Vault:
    """An open vault. Use it as a context manager; one object may be used from several threads."""

    def __init__(self, path: Path, connection: sqlcipher3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._tables: dict[str, dict[str, Type]] = {}
        self._clocks: dict[str, str] = {}

    @classmethod
    def create(
        cls,
        path: str | Path,
        key: Secret,
        tables: Mapping[str, Mapping[str, Type]],
        *,
        clocks: Mapping[str, str] | None = None,
        unsafe_not_durable: bool = False,
    ) -> Self:
        """A new vault, on the disk when this returns; readable by its owner only.

        `clocks` names the column that dates each table's rows. By default it is the table's only
        TIME column; a table with none or several has no clock. VaultError T614 if the file exists.

        `unsafe_not_durable` is for simulated populations. Nothing is synced and the journal stays
        in memory: what was acknowledged, spends included, can be lost, and a process killed while
        it writes can leave a file that no longer opens.
        """
        check_tables(tables)
        dated = clocks_of(tables, clocks)
        place = Path(os.path.abspath(path))  # else SQLite gives "file:…" and ":memory:" a meaning
        cipher.check_key(key, place)
        try:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            raise VaultError(
                "a file is there already",
                code="T614",
                where=str(place),
                fix="Vault.open() it, or delete it if its history may be lost",
            ) from None
        except OSError as error:
            raise cipher.io_error(error, place) from None
        salt = cipher.new_salt(key)
        vault = None
        try:
            vault = cls(
                place, cipher.connect(place, key, salt, unsafe_not_durable=unsafe_not_durable)
            )
            vault._declare(tables, dated, first=_SCHEMA)
        except BaseException:
            if vault:
                vault.close()
            place.unlink(missing_ok=True)
            place.with_name(place.name + "-journal").unlink(missing_ok=True)
            raise
        return vault

    @classmethod
    def open(cls, path: str | Path, key: Secret, *, unsafe_not_durable: bool = False) -> Self:
        """An existing vault.

        Raises VaultError: T611 wrong key, T612 damaged or truncated, T613 another format, T615
        not there. Damage beyond the first page is found when that page is read, or by `verify`.
        """
        place = Path(os.path.abspath(path))
        cipher.check_key(key, place)
        cipher.check_header(place, key)
        vault = cls(place, cipher.connect(place, key, b"", unsafe_not_durable=unsafe_not_durable))
        try:
            vault._load()
        except BaseException:
            vault.close()
            raise
        return vault

    # ------------------------------------------------------------------ what it holds

    @property
    def connection(self) -> sqlcipher3.Connection:
        """The open connection, for the `sqlite` engine to read. Temporary tables stay in memory."""
        return self._connection

    @property
    def tables(self) -> dict[str, Columns]:
        """The declared tables: name to columns and types, in order."""
        return {name: dict(columns) for name, columns in self._tables.items()}

    @property
    def clocks(self) -> dict[str, str]:
        """The column that dates the rows, for each table that has one."""
        return dict(self._clocks)

    def declare(
        self,
        tables: Mapping[str, Mapping[str, Type]],
        *,
        clocks: Mapping[str, str] | None = None,
    ) -> None:
        """Make room for what a newer bundle declares: adds tables and columns, removes nothing.

        Rows from before hold null in a new column. A column cannot change its type (T613).
        """
        check_tables(tables)
        self._declare(tables, clocks_of(tables, clocks))

    def append(
        self,
        source: str,
        rows: Sequence[Mapping[str, Any]] | pa.Table,
        *,
        now: int | None = None,
    ) -> int:
        """Add rows; when this returns they are on the disk. Returns how many were kept.

        All of the rows are written or none. A column may be left out of a row: it is null. Rows
        with a null clock belong to no time and are not kept. `now` is in microseconds, UTC.

        Clocks disagree a little, and units get mixed up: a row dated at most `rows.SKEW` (five
        minutes) ahead of `now` is dated `now`, so that it counts at once and can expire; a row
        further ahead is refused. Raises DataError T330 to T334, naming table, column and row.
        """
        columns = self._columns(source)
        moment = time.time_ns() // 1000 if now is None else now
        values = as_tuples(source, columns, self._clocks.get(source), rows, moment)
        marks = ", ".join("?" * len(columns))
        with self._transaction() as run:
            run.executemany(f'INSERT INTO "{source}" VALUES ({marks})', values)  # noqa: S608
        return len(values)

    def rows(self, source: str) -> pa.Table:
        """Every row of a source, in order of arrival; TIME columns are int64 microseconds."""
        columns = self._columns(source)
        names = ", ".join(f'"{name}"' for name in columns)
        with self._guarded() as run:
            found = run.execute(f'SELECT {names} FROM "{source}" ORDER BY rowid').fetchall()  # noqa: S608
        return as_arrow(columns, found)

    def forget(
        self,
        source: str,
        *,
        before: int | None = None,
        matching: Mapping[str, Any] | None = None,
    ) -> int:
        """Erase rows and overwrite them; the number erased. It is durable when this returns.

        All rows of the source, or those dated strictly before a moment (retention, microseconds),
        or those whose columns equal the values of `matching`, or those to which both apply. Like
        any write it needs free space, for the journal: as much as the pages it changes (T701).
        """
        columns = self._columns(source)
        terms, values = [], []
        if before is not None:
            terms.append(f'"{self._clock(source)}" < ?')
            values.append(before)
        if matching:
            [given] = as_tuples(source, columns, None, [matching], 0)
            for column, value in zip(columns, given, strict=True):
                if column in matching:
                    terms.append(f'"{column}" IS ?')
                    values.append(value)
        condition = " AND ".join(terms) or "TRUE"
        with self._transaction() as run:
            return int(run.execute(f'DELETE FROM "{source}" WHERE {condition}', values).rowcount)  # noqa: S608

    def oldest(self, source: str) -> int | None:
        """When the oldest row of a source is dated, in microseconds; None when it has no rows."""
        clock = self._clock(source)
        with self._guarded() as run:
            [found] = run.execute(f'SELECT min("{clock}") FROM "{source}"').fetchone()  # noqa: S608
        return None if found is None else int(found)

    # ------------------------------------------------------------------ small state

    def meta(self, key: str, default: Any = None) -> Any:
        """A small value of the device's state, such as its installed bundle's version."""
        with self._guarded() as run:
            found = run.execute("SELECT value FROM tacit_meta WHERE key = ?", (key,)).fetchone()
        return default if found is None else json.loads(found[0])

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a value (anything JSON holds); durable when this returns."""
        with self._transaction():
            self._put(key, value)

    def spend(
        self,
        release: str,
        epoch: int,
        contribution: bytes | None = None,
        charge: Charge | None = None,
    ) -> None:
        """Note that the device contributes to this epoch of a release. Call it before sending.

        It is durable when it returns, so that no crash lets a device contribute twice: a second
        call raises PrivacyError T540. A contribution given here is kept until `sent`, and may be
        sent again as it is after a crash; an encoding drawn anew would be a second contribution.

        `charge` is what it costs of the person's epochs: PrivacyError T547 where the device's own
        filter does not hold it, with nothing noted.
        """
        with self._transaction() as run:
            if run.execute(_IS_SPENT, (release, epoch)).fetchone():
                raise PrivacyError(
                    f"this device has contributed to {release!r} in epoch {epoch} already",
                    code="T540",
                    where=f"{self._path.name}, release {release}, epoch {epoch}",
                    fix="wait for the next epoch, or resend what `unsent` returns, unchanged",
                )
            run.execute("INSERT INTO tacit_spent VALUES (?, ?, ?)", (release, epoch, contribution))
            if charge is not None:
                place = f"{self._path.name}, release {release}, epoch {epoch}"
                kept = charge.admit(self._charges(), self.meta("epochs", {}), place)
                run.execute(
                    "INSERT INTO tacit_charged VALUES (?, ?, ?)",
                    (release, epoch, canonical_json(charge.to_json()).decode()),
                )
                self._put("epochs", kept)

    def _charges(self) -> list[dict[str, Any]]:
        """What was charged to epochs before; makes room for it in a vault that has none."""
        self._connection.execute(_CHARGED)
        found = self._connection.execute("SELECT charge FROM tacit_charged ORDER BY release, epoch")
        return [json.loads(text) for (text,) in found.fetchall()]

    def has_spent(self, release: str, epoch: int) -> bool:
        """Whether the device has contributed to this epoch of a release."""
        with self._guarded() as run:
            return run.execute(_IS_SPENT, (release, epoch)).fetchone() is not None

    def unsent(self) -> tuple[tuple[str, int, bytes], ...]:
        """Contributions spent but not known to have arrived: release, epoch, bytes."""
        with self._guarded() as run:
            found = run.execute(
                "SELECT release, epoch, contribution FROM tacit_spent"
                " WHERE contribution IS NOT NULL ORDER BY release, epoch"
            ).fetchall()
        return tuple((str(release), int(epoch), bytes(raw)) for release, epoch, raw in found)

    def sent(self, release: str, epoch: int) -> None:
        """Drop the kept bytes of a contribution that has arrived; it stays spent."""
        with self._transaction() as run:
            run.execute(
                "UPDATE tacit_spent SET contribution = NULL WHERE release = ? AND epoch = ?",
                (release, epoch),
            )

    # ------------------------------------------------------------------ the file

    def verify(self) -> None:
        """Read and authenticate every page. Raises VaultError T612 at the first damage."""
        with self._guarded() as run:
            faults = run.execute("PRAGMA cipher_integrity_check").fetchall()
            faults = faults or run.execute("PRAGMA integrity_check(1)").fetchall()
        if faults != [("ok",)]:
            raise cipher.damaged(self._path, str(faults[0][0]))

    def close(self) -> None:
        """Close the file. Everything acknowledged is on the disk already."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Vault({str(self._path)!r})"

    def _columns(self, source: str) -> Columns:
        if source not in self._tables:
            raise DataError(
                f"the vault has no table {source!r}",
                code="T330",
                where=str(self._path),
                fix=f"declare it, or use one of: {', '.join(self._tables) or 'none yet'}",
            )
        return self._tables[source]

    def _clock(self, source: str) -> str:
        if source not in self._clocks:
            raise DataError(
                f"no column dates the rows of {source!r}, so none of them is before a moment",
                code="T331",
                where=f"{self._path.name}, table {source}",
                fix=f"name it when declaring the table: clocks={{{source!r}: …}}",
            )
        return self._clocks[source]

    def _declare(
        self,
        tables: Mapping[str, Columns],
        clocks: Mapping[str, str],
        first: Sequence[str] = (),
    ) -> None:
        merged = {name: {**columns} for name, columns in self._tables.items()}
        dated = {**self._clocks, **clocks}
        with self._transaction() as run:
            for statement in first:
                run.execute(statement)
            for name, columns in tables.items():
                for statement in self._additions(name, columns):
                    run.execute(statement)
                merged[name] = {**merged.get(name, {}), **columns}
            # Pairs, not objects: the order of columns is that of SQL, and JSON objects have none.
            self._put("tables", [[n, list(columns.items())] for n, columns in merged.items()])
            self._put("clocks", dated)
        self._tables, self._clocks = merged, dated

    def _additions(self, table: str, columns: Columns) -> Iterator[str]:
        held = self._tables.get(table)
        if held is None:
            typed = ", ".join(f'"{name}" {sql_type(kind)}' for name, kind in columns.items())
            yield f'CREATE TABLE "{table}" ({typed}) STRICT'
            return
        for name, kind in columns.items():
            if name not in held:
                yield f'ALTER TABLE "{table}" ADD COLUMN "{name}" {sql_type(kind)}'
            elif held[name] is not kind:
                raise VaultError(
                    f"the vault holds {table}.{name} as {held[name]}, not as {kind}",
                    code="T613",
                    where=str(self._path),
                    fix=f"declare it as {held[name]}, or give the new column another name",
                )

    def _load(self) -> None:
        with self._guarded() as run:
            version = int(run.execute("PRAGMA user_version").fetchone()[0])
        if version != FORMAT:
            raise VaultError(
                f"the vault is of format {version}; this release of Tacit reads format {FORMAT}",
                code="T613",
                where=str(self._path),
                fix="update the app" if version > FORMAT else "create the vault anew",
            )
        self._tables = {n: {c: Type(t) for c, t in columns} for n, columns in self.meta("tables")}
        self._clocks = dict(self.meta("clocks"))

    def _put(self, key: str, value: Any) -> None:
        self._connection.execute(
            "INSERT INTO tacit_meta VALUES (?, ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, canonical_json(value).decode()),
        )

    @contextmanager
    def _guarded(self) -> Iterator[sqlcipher3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlcipher3.Error as error:
                raise cipher.refused(error, self._path) from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlcipher3.Connection]:
        """All of the block or, whatever happens, nothing; durable at the end of the block."""
        with self._guarded() as run:
            run.execute("BEGIN IMMEDIATE")
            try:
                yield run
                run.execute("COMMIT")
            except BaseException:
                if run.in_transaction:  # a full disk has rolled back by itself
                    run.execute("ROLLBACK")
                raise
