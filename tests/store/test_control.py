"""The control store: append-only, chained, durable, and honest about what it cannot see."""

from __future__ import annotations

import contextlib
import hashlib
import math
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tacit.errors import StoreError
from tacit.store import control, witness
from tacit.store.control import ControlStore, Head
from tacit.values import canonical_json


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control"


@pytest.fixture
def store(path: Path) -> Iterator[ControlStore]:
    with ControlStore.create(path) as opened:
        yield opened


def code(call: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as caught:
        call()
    assert caught.value.fix
    assert caught.value.where
    return caught.value.code


def test_append_read_latest(store: ControlStore, path: Path) -> None:
    assert store.head() == Head(0, "0" * 64)
    first = store.append("plan", "shop", {"hash": "a", "n": [1, 2.5, None, "é"]}, at=5)
    second = store.append("plan", "shop", {"hash": "b"})
    other = store.append("audit", "shop", {})
    third = store.append("plan", "home", {"hash": "c"})
    assert [r.sequence for r in (first, second, other, third)] == [1, 2, 3, 4]
    assert (first.at, first.previous) == (5, "0" * 64)
    assert second.previous == first.hash
    assert second.at > 1_700_000_000_000_000
    store.close()
    with ControlStore.open(path) as again:
        assert again.read("plan") == (first, second, third)
        assert again.read("plan", "shop") == (first, second)
        assert again.read("plan", after=1) == (second, third)
        assert again.read("plan", "shop", after=2) == ()
        assert again.latest("plan", "shop") == second
        assert again.latest("plan", "nowhere") is None
        assert again.head() == Head(4, third.hash)
        assert again.append("plan", "shop", {}).sequence == 5


def test_what_is_no_record(store: ControlStore) -> None:
    assert code(lambda: store.append("gossip", "k", {})) == "T709"
    for body in ({"x": math.nan}, {"x": b"bytes"}, {"x": {1}}, {"x": "\ud800"}):
        assert code(lambda body=body: store.append("audit", "k", body)) == "T709"
    assert store.head().sequence == 0


def test_records_are_never_changed_or_removed(store: ControlStore, path: Path) -> None:
    record = store.append("spend", "k", {"a": 1})
    with sqlite3.connect(path, isolation_level=None) as raw:
        for statement in (
            "UPDATE records SET body = '{}'",
            "DELETE FROM records",
            "INSERT OR REPLACE INTO records SELECT * FROM records",
            "INSERT INTO records SELECT sequence + 2, kind, key, at, body, previous, hash FROM records",
            "UPDATE head SET sequence = 0",
            "UPDATE head SET hash = ''",
            "DELETE FROM head",
        ):
            with pytest.raises(sqlite3.IntegrityError):
                raw.execute(statement)
    raw.close()
    store.verify()
    assert store.read("spend") == (record,)


def _edited(path: Path, *statements: str) -> None:
    """What somebody does who can write the file, triggers or not."""
    raw = sqlite3.connect(path)
    for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        raw.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        raw.execute(statement)
    raw.commit()
    raw.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET body = '{\"a\":2}' WHERE sequence = 2",
        "UPDATE records SET at = at + 1 WHERE sequence = 2",
        "UPDATE records SET key = 'other' WHERE sequence = 2",
        "UPDATE records SET kind = 'audit' WHERE sequence = 2",
        "UPDATE records SET body = x'ff' WHERE sequence = 2",
        "UPDATE records SET body = CAST(x'ff' AS TEXT) WHERE sequence = 2",
        "SELECT 1",  # the triggers alone are gone
        "UPDATE records SET hash = '00' WHERE sequence = 3",
        "DELETE FROM records WHERE sequence = 1",
        "DELETE FROM records WHERE sequence = 2",
        "DELETE FROM records WHERE sequence = 3",
        "DELETE FROM records",
        "DELETE FROM head",
        "UPDATE head SET sequence = 2",
        "INSERT INTO records SELECT 4, kind, key, at, body, hash, hash FROM records WHERE sequence = 3",
    ],
)
def test_edits_are_found(store: ControlStore, path: Path, statement: str) -> None:
    for i in range(3):
        store.append("spend", "k", {"a": i})
    store.close()
    _edited(path, statement)
    assert code(lambda: ControlStore.open(path)) == "T706"


def test_an_edit_is_found_when_read_too(store: ControlStore, path: Path) -> None:
    store.append("spend", "k", {"a": 1})
    _edited(path, "UPDATE records SET body = '{\"a\":0}'")
    assert code(lambda: store.read("spend")) == "T706"
    assert code(lambda: store.latest("spend", "k")) == "T706"


@pytest.mark.parametrize("body", ["[" * 100_000, "[]", "null", "no JSON", "", "{", '"text"'])
def test_a_record_whose_hash_is_right_and_whose_body_is_none(
    store: ControlStore, path: Path, body: str
) -> None:
    """Somebody redid the hashes and no witness saw: still nothing reads it as a decision."""
    raw = sqlite3.connect(path)
    [previous] = raw.execute("SELECT hash FROM head").fetchone()
    fields = (1, "spend", "k", 0, body, previous)
    digest = hashlib.sha256(canonical_json(fields)).hexdigest()
    raw.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", (*fields, digest))
    raw.execute("UPDATE head SET sequence = 1, hash = ?", (digest,))
    raw.commit()
    raw.close()
    store.verify()
    assert code(lambda: store.read("spend")) == "T706"


def test_a_rollback_of_all_needs_an_anchor_to_be_found(store: ControlStore, path: Path) -> None:
    store.append("spend", "k", {"a": 1})
    early = store.head()
    store.close()
    shutil.copy(path, path.with_name("copy"))
    with ControlStore.open(path, anchor=early) as again:
        again.append("spend", "k", {"a": 2})
        late = again.head()
    with ControlStore.open(path, anchor=late) as again:
        again.verify(early)
    shutil.copy(path.with_name("copy"), path)
    assert code(lambda: ControlStore.open(path)) == "T706"  # the witness beside it
    witness.beside(path).unlink()
    assert code(lambda: ControlStore.open(path)) == "T719"
    ControlStore.open(path, accept=True).close()  # by itself it cannot be seen
    assert code(lambda: ControlStore.open(path, anchor=late)) == "T706"
    ControlStore.open(path, anchor=early).close()
    ControlStore.open(path, anchor=Head(0, "0" * 64)).close()


def test_a_rewritten_history_needs_an_anchor_to_be_found(path: Path) -> None:
    with ControlStore.create(path) as store:
        store.append("spend", "k", {"a": 1})
        honest = store.head()
    path.unlink()
    for again in (ControlStore.create, ControlStore.open):
        assert code(lambda again=again: again(path)) == "T718"
    witness.beside(path).unlink()
    with ControlStore.create(path) as store:
        store.append("spend", "k", {"a": 0})
    ControlStore.open(path).close()
    assert code(lambda: ControlStore.open(path, anchor=honest)) == "T706"


def test_a_witness_that_is_deleted_is_missed(path: Path, tmp_path: Path) -> None:
    """The attack: keep a copy, spend, delete the witness, and put the copy back."""
    far = tmp_path / "far.witness"
    ControlStore.create(path).close()
    assert witness.last_seen(witness.beside(path)) == (0, "0" * 64)
    with ControlStore.open(path, witnesses=[far]) as store:
        store.append("spend", "k", {"a": 1})
    shutil.copy(path, path.with_name("copy"))
    with ControlStore.open(path, witnesses=[far]) as store:
        store.append("spend", "k", {"a": 2})
    shutil.copy(path.with_name("copy"), path)
    for blank in (None, b"", b" " * 85 + b"\n"):
        if blank is None:
            witness.beside(path).unlink()
        else:
            witness.beside(path).write_bytes(blank)
        with pytest.raises(StoreError, match="tacit budget --new-witness") as caught:
            ControlStore.open(path)
        assert caught.value.code == "T719"
    # Whoever says that nothing was put back is believed, but not against another witness.
    assert code(lambda: ControlStore.open(path, witnesses=[far], accept=True)) == "T706"
    far.unlink()
    ControlStore.open(path, accept=True).close()
    ControlStore.open(path).close()
    assert code(lambda: ControlStore.open(path, witnesses=[far])) == "T719"
    ControlStore.open(path, witnesses=[far], accept=True).close()
    ControlStore.open(path, witnesses=[far]).close()


def test_a_store_from_before_witnesses_gets_one(path: Path) -> None:
    with ControlStore.create(path) as store:
        store.append("spend", "k", {"a": 1})
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA application_id = 0")
    witness.beside(path).unlink()
    ControlStore.open(path).close()
    witness.beside(path).unlink()
    assert code(lambda: ControlStore.open(path)) == "T719"


def test_a_crash_while_it_is_made_leaves_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(control.os, "link", crash)
        with pytest.raises(KeyboardInterrupt):
            ControlStore.create(path)
    assert [each.name for each in path.parent.iterdir()] == [witness.beside(path).name]
    assert code(lambda: ControlStore.open(path)) == "T707"
    with ControlStore.create(path) as store:  # a witness that was told of nothing is no obstacle
        store.append("spend", "k", {})
    ControlStore.open(path).close()


def test_opening_never_creates_and_creating_never_opens(path: Path, tmp_path: Path) -> None:
    assert code(lambda: ControlStore.open(path)) == "T707"
    ControlStore.create(path).close()
    assert path.stat().st_mode & 0o077 == 0
    assert code(lambda: ControlStore.create(path)) == "T707"
    assert code(lambda: ControlStore.create(tmp_path / "no" / "folder")) == "T704"
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 9")
    raw.close()
    assert code(lambda: ControlStore.open(path)) == "T708"


def test_damage_is_refused_or_harms_no_record(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with ControlStore.create(path) as store, store.transaction():
        for i in range(60):
            store.append("audit", "k", {"text": "x" * 300, "i": i})
    with ControlStore.open(path) as store:
        records = store.read("audit")
    good = path.read_bytes()
    assert len(good) > 30_000
    chance = random.Random(5)
    for length in (0, 1, 100, 4096, 8192, len(good) // 2, len(good) - 4096):
        (tmp_path / "short").write_bytes(good[:length])
        assert code(lambda: ControlStore.open(tmp_path / "short")) == "T702", length
    outcomes: Counter[str] = Counter()
    damages = []
    for at in [*range(100), *chance.sample(range(100, len(good)), 150)]:
        damages.append(good[:at] + bytes([good[at] ^ chance.randrange(1, 256)]) + good[at + 1 :])
    for number, damaged in enumerate(damages):
        target = tmp_path / f"damaged-{number}"
        target.write_bytes(damaged)
        try:
            with ControlStore.open(target, accept=True) as store:
                assert store.read("audit") == records  # what was hit was free space
            outcomes["harmless"] += 1
        except StoreError as error:
            outcomes[error.code] += 1
    assert outcomes["T702"] > 20
    assert outcomes["T706"] > 20
    assert set(outcomes) <= {"T702", "T706", "T708", "harmless"}


def test_a_block_is_all_or_nothing(store: ControlStore, path: Path) -> None:
    with contextlib.suppress(ZeroDivisionError), store.transaction():
        store.append("audit", "k", {})
        with store.transaction():
            store.append("audit", "k", {})
        _ = 1 / 0
    assert store.head().sequence == 0
    with store.transaction():
        store.append("audit", "k", {"n": 1})
        with ControlStore.open(path) as other:
            assert other.read("audit") == ()  # readers are not blocked, and see what is committed
        store.append("audit", "k", {"n": 2})
    assert [r.body["n"] for r in store.read("audit")] == [1, 2]


def test_a_held_store_says_so(
    store: ControlStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_PATIENCE", 0.01)
    with ControlStore.open(path) as other, store.transaction():
        assert code(lambda: other.append("audit", "k", {})) == "T703"


def test_threads(store: ControlStore) -> None:
    def work() -> None:
        for _ in range(10):
            store.append("audit", "k", {})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.verify()
    assert store.head().sequence == 40


def _appender(path: str) -> None:
    with ControlStore.open(path) as store:
        for i in range(20):
            store.append("audit", str(os.getpid()), {"i": i})


def test_processes(store: ControlStore, path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_appender, args=(str(path),)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    store.verify()
    records = store.read("audit")
    assert len(records) == 60
    for key in {r.key for r in records}:
        assert [r.body["i"] for r in records if r.key == key] == list(range(20))


def test_full_disk(tmp_path: Path) -> None:
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", tmp_path], capture_output=True
    ).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        path = tmp_path / "control"
        filler = tmp_path / "filler"
        filler.write_bytes(bytes(100_000))
        done = 0
        with ControlStore.create(path) as store:
            refused = ""
            while not refused and done < 10_000:
                try:
                    store.append("audit", "k", {"text": "x" * 2000, "i": done})
                    done += 1
                except StoreError as error:
                    refused = error.code
            assert refused == "T701"
            assert code(lambda: store.append("audit", "k", {"text": "x" * 90_000})) == "T701"
            filler.unlink()
            store.append("audit", "k", {"text": "", "i": done})
        with ControlStore.open(path) as store:
            assert [r.body["i"] for r in store.read("audit")] == list(range(done + 1))
        assert done > 20
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


_WRITER = r"""
import os, sys
from tacit.store.control import ControlStore
with ControlStore.open(sys.argv[1]) as store:
    for i in range(10**9):
        with store.transaction():
            store.append("audit", "k", {"pair": 0})
            store.append("audit", "k", {"pair": 1})
        os.write(1, b"%d\n" % store.head().sequence)
"""


def test_kill_9(store: ControlStore, path: Path) -> None:
    store.close()
    acknowledged = 0
    for burst in (1, 2, 3, 7, 20):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        for _ in range(burst):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
        with ControlStore.open(path) as again:
            pairs = [r.body["pair"] for r in again.read("audit")]
            assert pairs == [0, 1] * (len(pairs) // 2)
            assert len(pairs) >= max([acknowledged + 2 * burst, *map(int, rest)])
            acknowledged = len(pairs)
