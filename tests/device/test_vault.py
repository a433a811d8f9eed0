"""The device's vault: durable, whole, unreadable without its key, and honest when it is not."""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import sqlcipher3
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from tacit.device.rows import SKEW
from tacit.device.vault import Vault
from tacit.errors import DataError, PrivacyError, StoreError, TacitError, VaultError
from tacit.values import DAY, Secret, Type

NOW = 1_790_000_000_000_000
KEY = Secret(bytes(range(32)))
TABLES = {
    "plays": {"item": Type.TEXT, "at": Type.TIME, "seconds": Type.FLOAT, "skipped": Type.BOOL},
    "items": {"item": Type.TEXT, "year": Type.INT},
}
PLAY = {"item": "song", "at": NOW - 5, "seconds": 1.5, "skipped": False}


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    with Vault.create(tmp_path / "vault", KEY, TABLES) as opened:
        yield opened


def plays(count: int, at: int = NOW - DAY) -> list[dict[str, object]]:
    return [{"item": f"song-{i}", "at": at + i, "seconds": i / 2} for i in range(count)]


def test_rows_come_back_typed_and_in_order(vault: Vault) -> None:
    rows = [
        {"item": "é\U0001f3b5\0", "at": NOW, "seconds": math.inf, "skipped": True},
        {"item": "", "at": datetime(2026, 1, 2, tzinfo=UTC), "seconds": 2, "skipped": False},
        {"at": np.int64(7), "seconds": -0.0},
        {"item": None, "at": 8, "seconds": math.nan, "skipped": np.bool_(True)},
    ]
    assert vault.append("plays", rows, now=NOW) == 4
    table = vault.rows("plays")
    assert table.schema.types == [pa.string(), pa.int64(), pa.float64(), pa.bool_()]
    assert table.to_pydict() == {
        "item": ["é\U0001f3b5\0", "", None, None],
        "at": [NOW, 1_767_312_000_000_000, 7, 8],
        "seconds": [math.inf, 2.0, 0.0, None],
        "skipped": [True, False, None, True],
    }
    assert math.copysign(1, table["seconds"][2].as_py()) == 1
    assert vault.rows("items").num_rows == 0


@pytest.mark.parametrize(("unit", "factor"), [("s", 10**6), ("ms", 10**3), ("us", 1), ("ns", 1)])
def test_arrow_tables_in_every_unit_of_time(vault: Vault, unit: str, factor: int) -> None:
    stamps = pa.array([5, None, -7], pa.int64()).cast(pa.timestamp(unit, "UTC"))
    items = pa.array(["a", "b", "a"]).dictionary_encode()
    kept = vault.append("plays", pa.table({"at": stamps, "item": items}), now=NOW)
    assert kept == 2  # a row without a time belongs to no time
    expected = [0, -1] if unit == "ns" else [5 * factor, -7 * factor]  # floor, as engines do
    assert vault.rows("plays")["at"].to_pylist() == expected
    assert vault.rows("plays")["item"].to_pylist() == ["a", "a"]


@given(
    st.lists(
        st.tuples(
            st.none() | st.text(),
            st.integers(-(2**63), NOW),
            st.none() | st.floats(),
            st.none() | st.booleans(),
        ),
        max_size=8,
    )
)
@settings(max_examples=examples(40), deadline=None)
def test_round_trip_of_anything(rows: list[tuple[object, ...]]) -> None:
    with _scratch() as vault:
        given_rows = [dict(zip(TABLES["plays"], row, strict=True)) for row in rows]
        vault.append("plays", given_rows, now=NOW)
        once = vault.rows("plays")
        vault.append("plays", once, now=NOW)
        twice = vault.rows("plays").to_pylist()
        assert twice == once.to_pylist() * 2
        assert [(r["item"], r["at"], r["skipped"]) for r in once.to_pylist()] == [
            (item, at, skipped) for item, at, _, skipped in rows
        ]
        for row, (_, _, number, _) in zip(once.to_pylist(), rows, strict=True):
            assert row["seconds"] == (None if number is None or math.isnan(number) else number)


_COUNT = iter(range(10**9))


def _scratch() -> Vault:
    folder = Path("/dev/shm" if os.path.isdir("/dev/shm") else "/tmp")
    path = folder / f"tacit-vault-{os.getpid()}-{next(_COUNT)}"
    vault = Vault.create(path, KEY, TABLES, unsafe_not_durable=True)
    path.unlink()
    return vault


@pytest.mark.parametrize(
    ("source", "row", "code", "place"),
    [
        ("plays", {**PLAY, "item": 5}, "T333", "table plays, column item, row 1"),
        ("plays", {**PLAY, "item": "\ud800"}, "T333", "table plays, column item, row 1"),
        ("plays", {**PLAY, "at": 1.5}, "T333", "table plays, column at, row 1"),
        ("plays", {**PLAY, "at": "2026-01-01"}, "T333", "table plays, column at, row 1"),
        ("plays", {**PLAY, "seconds": "1"}, "T333", "table plays, column seconds, row 1"),
        ("plays", {**PLAY, "seconds": 2**53 + 1}, "T333", "table plays, column seconds, row 1"),
        ("plays", {**PLAY, "seconds": 10**400}, "T333", "table plays, column seconds, row 1"),
        ("plays", {**PLAY, "skipped": 1}, "T333", "table plays, column skipped, row 1"),
        ("plays", {**PLAY, "album": "x"}, "T332", "table plays, column album, row 1"),
        ("items", {"year": True}, "T333", "table items, column year, row 1"),
        ("items", {"year": 2**63}, "T333", "table items, column year, row 1"),
    ],
)
def test_a_misfit_names_its_place_and_leaves_nothing(
    vault: Vault, source: str, row: dict[str, object], code: str, place: str
) -> None:
    first = PLAY if source == "plays" else {"year": 1}
    with pytest.raises(DataError) as caught:
        vault.append(source, [first, row], now=NOW)
    assert (caught.value.code, caught.value.where) == (code, place)
    assert vault.rows(source).num_rows == 0


def test_a_misfit_does_not_print_the_value(vault: Vault) -> None:
    with pytest.raises(DataError) as caught:
        vault.append("plays", [{**PLAY, "seconds": "my diagnosis"}], now=NOW)
    assert "diagnosis" not in str(caught.value)


def test_unknown_tables_and_names(vault: Vault, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="T330"):
        vault.append("nothing", [])
    bad = [
        {"a b": {"x": Type.INT}},
        {'a"b': {"x": Type.INT}},
        {"t": {}},
        {"t": {"x": Type.INT, "X": Type.INT}},
        {"tacit_meta": {"x": Type.INT}},
        {"sqlite_x": {"x": Type.INT}},
        {"t": {"rowid": Type.INT}},
    ]
    for tables in bad:
        with pytest.raises(DataError, match="T335"):
            Vault.create(tmp_path / "bad", KEY, tables)
        assert not (tmp_path / "bad").exists()


def test_clocks_a_little_ahead_are_clamped_and_far_ahead_refused(vault: Vault) -> None:
    ahead = [{"at": NOW + 1}, {"at": NOW + SKEW}]
    assert vault.append("plays", ahead, now=NOW) == 2
    assert vault.rows("plays")["at"].to_pylist() == [NOW, NOW]
    for at in (NOW + SKEW + 1, NOW * 1000):  # the second: nanoseconds
        with pytest.raises(DataError, match="ahead of the device's clock") as caught:
            vault.append("plays", [{"at": at}], now=NOW)
        assert caught.value.code == "T334"
        assert caught.value.where == "table plays, column at, row 0"
    with pytest.raises(DataError, match="T334"):  # without `now`, the system's clock
        vault.append("plays", [{"at": time.time_ns() // 1000 + DAY}])


def test_a_table_with_two_times_has_no_clock_until_it_is_named(tmp_path: Path) -> None:
    tables = {"shows": {"aired": Type.TIME, "at": Type.TIME}}
    with Vault.create(tmp_path / "a", KEY, tables) as vault:
        vault.append("shows", [{"aired": NOW + 9 * DAY, "at": None}], now=NOW)
        with pytest.raises(DataError, match="T331"):
            vault.forget("shows", before=NOW)
        vault.declare(tables, clocks={"shows": "at"})
        assert (
            vault.append("shows", [{"aired": NOW + 9 * DAY, "at": 5}, {"aired": 1}], now=NOW) == 1
        )
        assert vault.forget("shows", before=6) == 1
    with Vault.open(tmp_path / "a", KEY) as vault:
        assert vault.clocks == {"shows": "at"}
    with pytest.raises(DataError, match="T331"):
        Vault.create(tmp_path / "b", KEY, tables, clocks={"shows": "nowhere"})


def test_forget_by_age_by_value_and_entirely(vault: Vault) -> None:
    vault.append("plays", plays(10, at=100), now=NOW)
    assert vault.forget("plays", before=103) == 3  # strictly before
    assert vault.forget("plays", matching={"item": "song-5"}) == 1
    assert vault.forget("plays", before=105, matching={"item": "song-9"}) == 0
    assert vault.rows("plays")["at"].to_pylist() == [103, 104, 106, 107, 108, 109]
    vault.append("plays", [{"at": 1, "item": None}], now=NOW)
    assert vault.forget("plays", matching={"item": None}) == 1
    with pytest.raises(DataError, match="T332"):
        vault.forget("plays", matching={"itm": "song-6"})
    assert vault.forget("plays") == 6
    assert vault.rows("plays").num_rows == 0


def _decrypted(path: Path) -> bytes:
    """Every page, free ones too, as SQLCipher 4 keeps them: AES-256-CBC, the IV in the reserve."""
    raw, clear = path.read_bytes(), b""
    for start in range(0, len(raw), 4096):
        page = raw[start : start + 4096]
        decryptor = Cipher(algorithms.AES(KEY.reveal()), modes.CBC(page[-80:-64])).decryptor()
        clear += decryptor.update(page[16 if start == 0 else 0 : -80])
    return clear


def test_what_is_forgotten_is_overwritten(vault: Vault, tmp_path: Path) -> None:
    rows = [{"at": i, "item": f"needle-{i}" * 50} for i in range(200)]
    vault.append("plays", [*rows, {"at": 999, "item": "kept"}], now=NOW)
    assert b"needle-77" in _decrypted(tmp_path / "vault")
    assert vault.forget("plays", before=999) == 200
    clear = _decrypted(tmp_path / "vault")
    assert b"kept" in clear
    assert b"needle" not in clear
    assert len(clear) > 80_000  # the pages are there still, and empty
    assert (tmp_path / "vault-journal").stat().st_size == 0


def test_no_plaintext_reaches_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "vault"
    needles = [b"song-one", b"plays", b"seconds", b"CREATE TABLE", b"SQLite format", b"my-release"]
    with Vault.create(path, KEY, TABLES) as vault:
        vault.spend("my-release", 1)
        vault.append("plays", [{"at": 5, "item": "song-one" * 100}] * 200, now=NOW)
        vault.connection.execute("PRAGMA cache_size = 2")  # spill dirty pages to the journal
        vault.connection.execute("BEGIN")
        vault.connection.execute("UPDATE plays SET seconds = 1.0")
        vault.connection.execute("CREATE TEMP TABLE t AS SELECT * FROM plays ORDER BY item")
        journal = tmp_path / "vault-journal"
        assert journal.stat().st_size > 100_000
        seen = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        vault.connection.execute("ROLLBACK")
    for name, raw in seen.items():
        for needle in needles:
            assert needle not in raw, (name, needle)
    assert os.stat(path).st_mode & 0o077 == 0


def test_the_key_is_in_no_error_and_no_repr(tmp_path: Path) -> None:
    path = tmp_path / "vault"
    secrets = [KEY.reveal().hex(), repr(KEY.reveal()), str(KEY.reveal())]
    texts = []
    with Vault.create(path, KEY, TABLES) as vault:
        texts += [repr(vault), str(vault)]
        statements: list[str] = []
        vault.connection.set_trace_callback(statements.append)
        vault.append("plays", [PLAY])
        texts += statements
    damaged = bytearray(path.read_bytes())
    damaged[40] ^= 1
    path.write_bytes(damaged)
    for key in (KEY, Secret(bytes(32)), Secret(b"short")):
        with pytest.raises(VaultError) as caught:
            Vault.open(path, key)
        texts += [str(caught.value), repr(caught.value), repr(caught.value.__dict__)]
        texts += [repr(caught.value.__cause__), repr(caught.value.__context__)]
    assert statements
    for text in texts:
        assert not any(secret in text for secret in secrets)


def test_a_wrong_key_is_told_from_damage(vault: Vault, tmp_path: Path) -> None:
    vault.close()
    for key in (Secret(os.urandom(32)), Secret(b"0" * 16), Secret(b"")):
        with pytest.raises(VaultError) as caught:
            Vault.open(tmp_path / "vault", key)
        assert caught.value.code == "T611"
    with pytest.raises(VaultError) as caught:
        Vault.open(tmp_path / "nowhere", KEY)
    assert caught.value.code == "T615"
    with pytest.raises(VaultError) as caught:
        Vault.create(tmp_path / "vault", KEY, TABLES)
    assert caught.value.code == "T614"
    with pytest.raises(StoreError) as refused:
        Vault.create(tmp_path / "no" / "folder", KEY, TABLES)
    assert refused.value.code == "T704"


def test_damage_and_truncation(
    vault: Vault, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "vault"
    vault.append("plays", plays(2000), now=NOW)
    vault.close()
    good = path.read_bytes()
    assert len(good) > 80_000

    def outcome(raw: bytes) -> str:
        path.write_bytes(raw)
        try:
            with Vault.open(path, KEY) as opened:
                opened.verify()
        except VaultError as error:
            return error.code
        return "fine"

    assert outcome(good) == "fine"
    for length in [0, 1, 15, 16, 17, 100, 4095, 4096, 4097, 8192, len(good) // 2, len(good) - 1]:
        assert outcome(good[:length]) == "T612", length
    for at in [16, 100, 4000, 4096, 5000, len(good) // 2, len(good) - 1]:
        assert outcome(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]) == "T612", at
    assert outcome(b"SQLite format 3\0" + good[16:]) == "T612"
    assert outcome(good[:16] + os.urandom(len(good) - 16)) == "T612"
    swapped = good[:8192] + good[12288:16384] + good[8192:12288] + good[16384:]
    assert outcome(swapped) == "T612"  # whole, authentic pages, in another order
    assert outcome(b"\0" * 16 + good[16:]) == "T611"  # the check of the key itself
    assert capfd.readouterr() == ("", "")  # SQLCipher would log each page to stderr

    half = len(good) // 2  # among the rows: the file opens, and reading them is refused
    path.write_bytes(good[:half] + bytes([good[half] ^ 1]) + good[half + 1 :])
    with pytest.raises(VaultError, match="T612"), Vault.open(path, KEY) as opened:
        opened.rows("plays")


def test_another_format_is_refused_with_the_way_out(vault: Vault, tmp_path: Path) -> None:
    vault.connection.execute("PRAGMA user_version = 2")
    vault.close()
    with pytest.raises(VaultError, match="format 2") as caught:
        Vault.open(tmp_path / "vault", KEY)
    assert (caught.value.code, caught.value.fix) == ("T613", "update the app")


def test_newer_declarations_add_and_never_remove(vault: Vault, tmp_path: Path) -> None:
    vault.append("items", [{"item": "a", "year": 1}])
    newer = {"items": {"year": Type.INT, "genre": Type.TEXT}, "likes": {"at": Type.TIME}}
    vault.declare(newer)
    vault.declare(newer)
    vault.append("items", [{"genre": "jazz", "item": "b"}])
    with pytest.raises(VaultError) as caught:
        vault.declare({"more": {"x": Type.INT}, "items": {"year": Type.TEXT}})
    assert caught.value.code == "T613"
    vault.close()
    with Vault.open(tmp_path / "vault", KEY) as again:
        assert list(again.tables) == ["plays", "items", "likes"]
        assert list(again.tables["items"]) == ["item", "year", "genre"]
        assert again.clocks == {"plays": "at", "likes": "at"}
        assert again.rows("items").to_pylist() == [
            {"item": "a", "year": 1, "genre": None},
            {"item": "b", "year": None, "genre": "jazz"},
        ]


def test_meta_and_spends(vault: Vault, tmp_path: Path) -> None:
    assert vault.meta("bundle") is None
    assert vault.meta("bundle", 0) == 0
    vault.set_meta("bundle", {"version": 3})
    vault.set_meta("bundle", {"version": 4})
    vault.spend("top", 7, b"encoded")
    vault.spend("top", 8)
    vault.close()
    with Vault.open(tmp_path / "vault", KEY) as again:
        assert again.meta("bundle") == {"version": 4}
        assert again.has_spent("top", 7)
        assert not again.has_spent("top", 9)
        assert not again.has_spent("pot", 7)
        for contribution in (None, b"encoded", b"drawn anew"):
            with pytest.raises(PrivacyError) as caught:
                again.spend("top", 7, contribution)
            assert caught.value.code == "T540"
        assert again.unsent() == (("top", 7, b"encoded"),)
        again.sent("top", 7)
        assert again.unsent() == ()
        assert again.has_spent("top", 7)


def test_one_vault_from_many_threads(vault: Vault) -> None:
    won: list[int] = []

    def work(worker: int) -> None:
        for epoch in range(5):
            vault.append("plays", plays(3), now=NOW)
            try:
                vault.spend("top", epoch)
                won.append(epoch)
            except PrivacyError:
                pass

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [0, 1, 2, 3, 4]
    assert vault.rows("plays").num_rows == 60


def test_a_held_vault_says_so(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.device.cipher._BUSY", 10)
    with Vault.open(tmp_path / "vault", KEY) as other:
        vault.connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            other.append("plays", [PLAY])
        assert caught.value.code == "T703"
        vault.connection.execute("ROLLBACK")
        assert other.append("plays", [PLAY]) == 1


# ---------------------------------------------------------------------- full disks and crashes


def _fill(vault: Vault) -> tuple[int, str]:
    """Append until it fails: how many appends were acknowledged, and the code of the refusal."""
    for done in range(10_000):
        try:
            vault.append("plays", [{"item": "x" * 900, "at": done}] * 20, now=NOW)
        except TacitError as error:
            return done, error.code
    raise AssertionError("the disk never filled up")


def _check_whole(path: Path, appends: int) -> None:
    with Vault.open(path, KEY) as vault:
        vault.verify()
        assert vault.rows("plays")["at"].to_pylist() == [
            i for i in range(appends) for _ in range(20)
        ]
        assert vault.forget("plays") == appends * 20  # and it is usable: space comes back
        assert vault.append("plays", [PLAY]) == 1


def test_full_disk(tmp_path: Path) -> None:
    """A real one: a file system of two megabytes, half of them taken."""
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path], capture_output=True
    ).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        (tmp_path / "filler").write_bytes(bytes(1 << 20))
        with Vault.create(tmp_path / "vault", KEY, TABLES) as vault:
            done, code = _fill(vault)
            assert done > 10
            assert code == "T701"
            with pytest.raises(StoreError, match="T701"):
                vault.append("plays", [{"item": "x" * 9000, "at": 1}] * 9, now=NOW)
            assert vault.rows("plays").num_rows == done * 20
            _stuff(tmp_path / "rest")
            with pytest.raises(StoreError, match="T701"):
                vault.spend("top", 1)
            with pytest.raises(StoreError, match="T701"):
                vault.forget("plays")
            assert not vault.has_spent("top", 1)
        with pytest.raises(StoreError, match="T701"):
            Vault.create(tmp_path / "second", KEY, TABLES)
        assert not list(tmp_path.glob("second*"))
        (tmp_path / "filler").unlink()
        _check_whole(tmp_path / "vault", done)
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def _stuff(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_limit_on_pages_is_a_full_disk(vault: Vault, tmp_path: Path) -> None:
    vault.connection.execute("PRAGMA max_page_count = 60")
    done, code = _fill(vault)
    assert (code, done > 3) == ("T701", True)
    vault.close()
    _check_whole(tmp_path / "vault", done)


_APPENDER = r"""
import os, sys
from tacit.device.vault import Vault
from tacit.values import Secret, Type
with Vault.open(sys.argv[1], Secret(bytes(range(32)))) as vault:
    n = int(sys.argv[2])
    while True:
        rows = [{"item": "x" * 300, "at": n}] * 7
        vault.append("plays", rows)
        vault.spend("release", n)
        os.write(1, b"%d\n" % n)  # in one piece, or not at all
        n += 1
"""


def test_kill_9_loses_nothing_acknowledged_and_halves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "vault"
    Vault.create(path, KEY, TABLES).close()
    chance = random.Random(7)
    start, acknowledged = 0, -1
    with _Herd(path) as herd:
        for _ in range(24):
            acknowledged = herd.run(start, chance.uniform(0.0, 0.03))
            assert acknowledged >= start
            with Vault.open(path, KEY) as vault:
                rows = vault.rows("plays")["at"].to_pylist()
                assert rows == sorted(rows)
                written = len(rows) // 7
                assert rows == [i for i in range(written) for _ in range(7)]
                assert written >= acknowledged + 1
                spent = vault.has_spent("release", written - 1)
                assert spent or acknowledged < written - 1
                if not spent and written:
                    vault.spend("release", written - 1)
                start = written
    with Vault.open(path, KEY) as vault:
        vault.verify()


_TRACED = """
import os, sys
from pathlib import Path
from tacit.device.vault import Vault
from tacit.store.control import ControlStore
from tacit.values import Secret, Type
vault = Vault.create(sys.argv[1] + "/vault", Secret(bytes(32)), {"plays": {"at": Type.TIME}})
store = ControlStore.create(sys.argv[1] + "/control")
for step in ("append", "spend", "forget", "record"):
    os.write(1, b"before " + step.encode())
    if step == "append":
        vault.append("plays", [{"at": 1}])
    elif step == "spend":
        vault.spend("top", 1)
    elif step == "forget":
        vault.forget("plays")
    else:
        store.append("audit", "k", {})
    os.write(1, b"acknowledged")
"""


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_the_last_thing_before_an_acknowledgement_is_a_sync(tmp_path: Path) -> None:
    """A kill loses no page cache and so proves nothing about power cuts. The system calls do."""
    calls = "trace=write,pwrite64,ftruncate,fsync,fdatasync,unlink"
    traced = subprocess.run(
        ["strace", "-y", "-e", calls, sys.executable, "-c", _TRACED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in traced.stderr.splitlines() if str(tmp_path) in line or "(1<" in line]
    steps = [i for i, line in enumerate(lines) if "before " in line]
    assert len(steps) == 4
    for start in steps:
        end = next(i for i in range(start, len(lines)) if "acknowledged" in lines[i])
        done = [line.split("(")[0] for line in lines[start + 1 : end]]
        assert "pwrite64" in done
        assert done[-1] in ("fsync", "fdatasync"), (lines[start], done)
        if "record" not in lines[start]:  # the emptied journal must not come back
            assert done[-2:] == ["ftruncate", "fsync"]


class _Herd:
    """Appending processes, killed at chosen moments. Each forks from one that has imported all."""

    _ZYGOTE = (
        "import os, sys, contextlib\n"
        "import tacit.device.vault\n"
        f"CODE = {_APPENDER!r}\n"
        "for line in sys.stdin:\n"
        "    sys.argv = ['appender', *line.split()]\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        exec(CODE, {})\n"
        "    print('child', child, flush=True)\n"
        "    os.waitpid(child, 0)\n"
        "    print('dead', flush=True)\n"
    )

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Herd:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._ZYGOTE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(5)
        self._process.stdout.close()

    def run(self, start: int, after: float) -> int:
        """Let one append from `start` on, kill it so many seconds `after` its first
        acknowledgement, and return its last."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{self._path} {start}\n")
        self._process.stdin.flush()
        child, last = 0, -1
        timer: threading.Timer | None = None
        for line in self._process.stdout:
            if line.startswith("child"):
                child = int(line.split()[1])
            elif line == "dead\n":
                break
            else:
                last = int(line)
            if child and last >= 0 and timer is None:
                timer = threading.Timer(after, os.kill, (child, signal.SIGKILL))
                timer.start()
        assert timer
        timer.join()
        return last


def test_simulated_populations_are_fast_and_say_what_they_lose(tmp_path: Path) -> None:
    path = tmp_path / "vault"
    with Vault.create(path, KEY, TABLES, unsafe_not_durable=True) as vault:
        assert vault.connection.execute("PRAGMA synchronous").fetchone()[0] == 0
        vault.append("plays", plays(100), now=NOW)
    with Vault.open(path, KEY) as vault:
        assert vault.connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert vault.connection.execute("PRAGMA journal_mode").fetchone()[0] == "truncate"
        assert vault.rows("plays").num_rows == 100
    assert Vault.create.__doc__ is not None
    assert "can be lost" in Vault.create.__doc__


def test_thousands_can_be_driven(tmp_path: Path) -> None:
    """Create, insert 100 rows, one query, close: 1.2 ms of a processor. Syncs not counted."""
    took = []
    for i in range(30):
        began = time.process_time()
        with Vault.create(tmp_path / str(i), KEY, TABLES, unsafe_not_durable=True) as vault:
            vault.append("plays", plays(100), now=NOW)
            vault.connection.execute("SELECT item, count(*) FROM plays GROUP BY item").fetchall()
        took.append(time.process_time() - began)
    assert sorted(took)[15] < 0.02


def test_the_connection_is_sqlcipher(vault: Vault) -> None:
    assert isinstance(vault.connection, sqlcipher3.Connection)
    assert vault.connection.execute("PRAGMA temp_store").fetchone()[0] == 2
