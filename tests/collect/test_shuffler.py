"""The shuffler: whole batches, no order, no ids, no lengths, and each report once."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tacit.collect.round import Collection
from tacit.collect.shuffler import Batch, Shuffler, padded, unpadded
from tacit.errors import PrivacyError, StoreError
from tacit.govern.ledger import Budget, Ledger
from tacit.privacy.histogram import Histogram
from tacit.privacy.local.draws import Draws
from tacit.privacy.local.randomized_response import RandomizedResponse
from tacit.privacy.mechanism import Report
from tacit.privacy.randomness import system, unsafe_seeded
from tacit.privacy.shuffle import shuffled
from tacit.store.control import ControlStore


def name(number: int) -> bytes:
    return hashlib.blake2b(b"%d" % number, digest_size=16).digest()


def report(number: int, message: bytes | None = None) -> Report:
    text = b"%08d" % number if message is None else message
    return Report(name(number), (text,))


def make(folder: Path, minimum: int = 3) -> Shuffler:
    return Shuffler(folder / "spool.sqlite", size=8, minimum=minimum)


def texts(batch: Batch) -> list[bytes]:
    return [row.tobytes() for row in batch.rows]


# ---------------------------------------------------------------------- what comes out


def test_what_comes_out_is_what_went_in_and_nothing_else(tmp_path: Path) -> None:
    with make(tmp_path) as shuffler:
        assert shuffler.receive(report(n) for n in range(500)) == {}
        assert shuffler.waiting == 500
        batch = shuffler.seal()
        assert shuffler.waiting == 0
    assert sorted(texts(batch)) == [b"%08d" % n for n in range(500)]
    assert texts(batch) != sorted(texts(batch))
    out = list(batch.reports())
    assert [each.messages[0] for each in out] == texts(batch)
    assert not {each.id for each in out} & {report(n).id for n in range(500)}
    assert len({each.id for each in out}) == 500


def test_orders_cannot_be_told_apart(tmp_path: Path) -> None:
    """Whatever order reports come in, each order out is equally likely: 3! orders, many batches."""
    seen: dict[tuple[int, ...], dict[tuple[bytes, ...], int]] = {}
    orders = list(itertools.permutations(range(3)))
    with Shuffler(tmp_path / "spool", size=8, minimum=3, randomness=unsafe_seeded(3)) as shuffler:
        number = itertools.count(100)
        for arrival in ((0, 1, 2), (2, 0, 1)):
            counts: dict[tuple[bytes, ...], int] = {}
            for _ in range(90):
                shuffler.receive(
                    Report(next(number).to_bytes(16, "big"), (b"%08d" % n,)) for n in arrival
                )
                batch = shuffler.seal()
                counts[tuple(texts(batch))] = counts.get(tuple(texts(batch)), 0) + 1
            seen[arrival] = counts
            assert stats.chisquare(list(counts.values()) + [0] * (6 - len(counts))).pvalue > 1e-4
    names = [tuple(b"%08d" % n for n in order) for order in orders]
    table = [[counts.get(name, 0) for name in names] for counts in seen.values()]
    assert stats.chi2_contingency(table).pvalue > 1e-4


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_permutations_are_uniform(n: int) -> None:
    draws, trials = Draws(system()), 3000 if n < 5 else 12_000
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(trials):
        order = tuple(draws.permutation(n).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == math.factorial(n)
    assert n == 1 or stats.chisquare(list(counts.values())).pvalue > 1e-6


def test_every_place_of_a_long_permutation_is_uniform() -> None:
    draws = Draws(unsafe_seeded(9))
    firsts = np.array([draws.permutation(100)[[0, 50, 99]] for _ in range(3000)])
    for column in firsts.T:
        assert stats.chisquare(np.bincount(column, minlength=100)).pvalue > 1e-4


def test_ids_times_and_order_leave_no_trace_in_the_spool(tmp_path: Path) -> None:
    shuffler = make(tmp_path)
    shuffler.receive(report(n) for n in range(40))
    batch = shuffler.seal()
    raw = (tmp_path / "spool.sqlite").read_bytes()
    assert not any(report(n).id in raw for n in range(40))
    assert shuffler.forward(lambda _: None) == 1
    shuffler.close()
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not any(message in left for message in texts(batch))  # secure_delete
    assert (tmp_path / "spool.sqlite").stat().st_mode & 0o077 == 0
    tables = sqlite3.connect(tmp_path / "spool.sqlite").execute("SELECT sql FROM sqlite_master")
    assert all("WITHOUT ROWID" in sql for (sql,) in tables if sql)


# ---------------------------------------------------------------------- what is refused


def test_below_the_minimum_nothing_goes(tmp_path: Path) -> None:
    with make(tmp_path, 5) as shuffler:
        shuffler.receive(report(n) for n in range(4))
        with pytest.raises(PrivacyError, match="T581"):
            shuffler.seal()
        sent: list[Batch] = []
        assert shuffler.forward(sent.append) == 0
        shuffler.receive([report(4)])
        assert shuffler.forward(sent.append) == 1
        assert sorted(texts(sent[0])) == [b"%08d" % n for n in range(5)]
        assert shuffler.forward(sent.append) == 0


def test_other_lengths_are_refused_and_stop_nobody(tmp_path: Path) -> None:
    bad = [
        report(50, b""),
        report(51, b"1234567"),
        report(52, b"123456789"),
        report(53, "12345678"),  # type: ignore[arg-type]
        Report((54).to_bytes(16, "big"), (b"12345678", b"12345678")),
        Report((55).to_bytes(16, "big"), ()),
        Report(b"short", (b"12345678",)),
    ]
    with make(tmp_path) as shuffler:
        refused = shuffler.receive([*bad, *(report(n) for n in range(3))])
        assert {each.id: "T582" for each in bad} == {k: e.code for k, e in refused.items()}
        assert sorted(texts(shuffler.seal())) == [b"%08d" % n for n in range(3)]


def test_replays_are_refused_in_the_same_batch_and_later(tmp_path: Path) -> None:
    with make(tmp_path) as shuffler:
        assert shuffler.receive(
            [report(1), report(2), report(1, b"otherwis"), report(3)]
        ).keys() == {report(1).id}
        assert sorted(texts(shuffler.seal())) == [b"00000001", b"00000002", b"00000003"]
    with make(tmp_path) as again:
        refused = again.receive([report(2), report(4)])
        assert [error.code for error in refused.values()] == ["T535"]
        assert again.waiting == 1


@pytest.mark.parametrize(("size", "minimum"), [(0, 3), (8, 1), (8, 0), (8.0, 3), (8, True)])
def test_a_shuffler_that_hides_nothing_is_refused(tmp_path: Path, size: int, minimum: int) -> None:
    with pytest.raises(PrivacyError, match="T583"):
        Shuffler(tmp_path / "spool", size=size, minimum=minimum)


def test_a_damaged_spool_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool.sqlite").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match="T702"):
        make(tmp_path)


def test_a_spool_of_other_messages_is_not_mixed_with_these(tmp_path: Path) -> None:
    """Somebody changed the size; or cut a message short."""
    with make(tmp_path) as shuffler:
        shuffler.receive(report(n) for n in range(3))
    with Shuffler(tmp_path / "spool.sqlite", size=9, minimum=3) as other:
        other.receive(report(n, b"%09d" % n) for n in range(3, 6))
        for forward in (other.seal, lambda: other.forward(lambda _: None)):
            with pytest.raises(StoreError, match="T702"):
                forward()
        assert other.waiting == 6  # what waits is not lost


@pytest.mark.parametrize(
    "change",
    ["size = 7", "size = 0", "size = -8", "size = 'x'", "messages = x''", "messages = 'text'",
     "messages = x'00'", "name = x'00'", "size = 8.5"],
)  # fmt: skip
def test_a_damaged_batch_is_not_sent(tmp_path: Path, change: str) -> None:
    with make(tmp_path) as shuffler:
        shuffler.receive(report(n) for n in range(4))
        shuffler.seal()
    with sqlite3.connect(tmp_path / "spool.sqlite") as raw:
        raw.execute(f"UPDATE batches SET {change}")
    sent: list[Batch] = []
    with make(tmp_path) as again, pytest.raises(StoreError, match="T702"):
        again.forward(sent.append)
    assert sent == []


@given(st.binary(max_size=60), st.integers(0, 80))
def test_padding_hides_lengths_and_comes_off(message: bytes, size: int) -> None:
    if len(message) + 4 > size:
        with pytest.raises(PrivacyError, match="T582"):
            padded(message, size)
        return
    raw = padded(message, size)
    assert len(raw) == size
    assert unpadded(raw) == message


@given(st.binary(max_size=40))
def test_any_bytes_are_unpadded_or_refused(raw: bytes) -> None:
    try:
        message = unpadded(raw)
    except PrivacyError:
        return
    assert padded(message, len(raw)) == raw


# ---------------------------------------------------------------------- once, whatever breaks off


def test_a_batch_that_may_have_arrived_is_sent_again_as_it_was(tmp_path: Path) -> None:
    shuffler = make(tmp_path)
    shuffler.receive(report(n) for n in range(30))
    sent: list[Batch] = []

    def lost(batch: Batch) -> None:
        sent.append(batch)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        shuffler.forward(lost)
    shuffler.close()
    with make(tmp_path) as again:
        again.receive([report(99)])  # too few for another batch
        assert again.forward(sent.append) == 1
        assert again.waiting == 1
    first, second = sent
    assert first.name == second.name
    assert (first.rows == second.rows).all()
    assert [r.id for r in first.reports()] == [r.id for r in second.reports()]


KILLED = """
import os, sys
from pathlib import Path
from tacit.collect.shuffler import Shuffler
from tacit.privacy.mechanism import Report
shuffler = Shuffler(Path(sys.argv[1]), size=8, minimum=50)
shuffler.receive(Report(n.to_bytes(16, "big"), (b"%08d" % n,)) for n in range(200))
print("received", flush=True)
while True:
    try:
        shuffler.seal()
    except Exception:
        pass
    shuffler.receive([])
"""


def test_killed_at_any_time_no_report_is_lost_or_there_twice(tmp_path: Path) -> None:
    for round_ in range(4):
        path = tmp_path / f"spool{round_}"
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "received\n"
        time.sleep(0.003 * round_)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        sent: list[Batch] = []
        with Shuffler(path, size=8, minimum=50) as shuffler:
            shuffler.forward(sent.append)
            assert shuffler.waiting == 0
        assert sorted(text for batch in sent for text in texts(batch)) == [
            b"%08d" % n for n in range(200)
        ]


# ---------------------------------------------------------------------- with a collector


def test_shuffled_reports_are_collected_at_the_price_of_shuffled_ones(tmp_path: Path) -> None:
    devices = 3000
    mechanism = RandomizedResponse(4, 1 << 14, 2.0, "demand")
    claim = shuffled(mechanism.claim(), devices, 1e-6, response=True)
    ledger = Ledger(ControlStore.create(tmp_path / "control.db"), [Budget("learn", 1.0, 1e-6)])
    reservation = ledger.reserve("learn", "demand", claim, 0)
    with pytest.raises(PrivacyError, match="T501"):
        ledger.reserve("learn", "unshuffled", mechanism.claim(), 0)
    collection = Collection(mechanism, reservation, minimum=devices)
    values = np.arange(devices) % 3
    source = unsafe_seeded(6)
    with Shuffler(tmp_path / "spool", size=mechanism.report_bytes, minimum=devices) as shuffler:
        shuffler.receive(
            mechanism.encode(Histogram(np.array([code]), np.array([1.0])), source)
            for code in values
        )
        [batch] = [shuffler.seal()]
        for _ in range(2):  # the second time it is refused, report by report
            collection.receive(batch.reports())
    found = collection.close()
    assert (found.reports, found.refused) == (devices, devices)
    reservation.commit(found.aggregates[0])
    estimate = mechanism.decode(found.aggregates)
    z = (estimate.estimates - np.array([1000, 1000, 1000, 0])) / estimate.stderr
    assert np.abs(z).max() < 5
    assert ledger.spent("learn") < 0.6
