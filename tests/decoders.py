"""The decoders that no other file fuzzes: sealed boxes, shares, lines of the ledger, kept files.

What DAP's messages are is in `collect/test_dap_fuzz`, Prio3's in `privacy/prio3`, local reports' in
`privacy/local`. Each case has something right to begin with, its reader, and the refusals that it
may answer anything else with.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tacit.collect.dap.aggregator import read_ping_pong
from tacit.collect.dap.errors import from_problem
from tacit.collect.dap.messages import BatchMode, Interval
from tacit.collect.dap.peer import media_type
from tacit.collect.dap.task import Task, Vdaf
from tacit.collect.round import Collected
from tacit.collect.shuffler import padded, unpadded
from tacit.errors import TacitError
from tacit.govern.spends import folded
from tacit.privacy import hpke
from tacit.privacy.histogram import Histogram, HistogramSum
from tacit.privacy.hpke import PrivateKey, Suite
from tacit.privacy.loss import Loss, approximate_dp, zcdp
from tacit.privacy.mechanism import Mechanism
from tacit.privacy.randomness import unsafe_seeded
from tacit.privacy.sum_noise import SumNoise
from tacit.privacy.vector_sum import VectorSum
from tacit.project.release import Kept, read_kept
from tacit.store import witness
from tacit.store.control import Record

RANDOM = unsafe_seeded(5)
_KEPT = tempfile.TemporaryDirectory(prefix="tacit-decoders-")
FOLDER = Path(_KEPT.name)


@dataclass(frozen=True)
class Case:
    """`good` is read; anything else is read too, or refused by an error with one of `codes`."""

    good: bytes
    read: Callable[[bytes], object]
    codes: tuple[str, ...]

    def meets(self, raw: bytes) -> None:
        """Raises AssertionError, or what the reader raised, for any other answer."""
        try:
            self.read(raw)
        except TacitError as error:
            assert error.code in self.codes, error  # noqa: PT017 - most bytes are refused


def _json(read: Callable[[Any], object]) -> Callable[[bytes], object]:
    """A reader of values of JSON; what is no JSON never gets to it."""

    def reader(raw: bytes) -> object:
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            return None
        return read(value) if isinstance(value, dict) else None

    return reader


def _file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def reader(raw: bytes) -> object:
        path = FOLDER / name
        path.write_bytes(raw)
        return read(path)

    return reader


def _box(aead: int) -> Case:
    suite, key = Suite(aead=aead), PrivateKey.generate(RANDOM)
    enc, sealed = hpke.seal(suite, key.public, b"info", b"aad", b"a share", RANDOM)

    def reader(raw: bytes) -> object:
        return hpke.open_(suite, key, b"info", b"aad", raw[: len(enc)], raw[len(enc) :])

    return Case(enc + sealed, reader, ("T641", "T642"))


def _share(mechanism: Mechanism[Any], value: object, index: int) -> Case:
    """A message at its aggregator, beside one that is right: whatever it is, that one counts."""
    right, other = (mechanism.encode(value, RANDOM) for _ in range(2))

    def reader(raw: bytes) -> object:
        pairs = [(right.id, right.messages[index]), (other.id, raw)]
        good, refused = mechanism.admit(index, pairs)
        assert right.id in good
        assert len(good) + len(refused) == 2
        return mechanism.combine(index, good.items(), RANDOM)

    return Case(other.messages[index], reader, ())


def _aggregate(mechanism: Mechanism[Any], value: object) -> Case:
    reports = [mechanism.encode(value, RANDOM) for _ in range(3)]
    first, second = (
        mechanism.combine(index, [(r.id, r.messages[index]) for r in reports], RANDOM)
        for index in (0, 1)
    )
    codes = ("T531", "T532", "T533", "T536", "T537")
    return Case(first, lambda raw: mechanism.decode([raw, second]), codes)


VECTOR = VectorSum(6, 100, 2.0, 1e-6, "vector")
AMOUNTS = HistogramSum(6, 10.0, 100, 2.0, 1e-6, "amounts")
LINE: dict[str, Any] = {
    "event": "reserve",
    "epoch": "1",
    "purposes": ["measure"],
    "claim": {"mechanism": "sum", "loss": (zcdp(0.1) + approximate_dp(0.5, 1e-9)).to_json()},
    "touched": [["people", 0, 86_400_000_000]],
    "querier": "team",
    "filters": {"measure": zcdp(0.1).to_json()},
}
HELD = folded(Record(1, "spend", "top", 0, LINE, "", ""), {})
TASK = Task(
    id=bytes(32),
    leader="https://leader.test/",
    helper="https://helper.test/",
    time_precision=100,
    min_batch_size=10,
    mode=BatchMode.TIME_INTERVAL,
    vdaf=Vdaf("histogram", {"length": 8, "chunk_length": 3}),
    interval=Interval(1, 100),
    noise=SumNoise.from_json({"kind": "gaussian", "parameter": "9/2"}),
)


def _line(body: dict[str, Any]) -> object:
    return folded(Record(2, "spend", "top", 0, body, "", ""), {("top", "1"): HELD})


def _encoded(value: object) -> bytes:
    return json.dumps(value).encode()


WRITTEN: dict[str, Case] = {
    "ledger line": Case(_encoded(LINE | {"epoch": "2"}), _json(_line), ("T708",)),
    "commit": Case(
        _encoded({"event": "commit", "epoch": "1", "reserve": 1, "result": "00"}),
        _json(_line),
        ("T708",),
    ),
    "extension": Case(
        _encoded({"event": "extend", "epoch": "1", "reserve": 1, "touched": [["people", 0, None]]}),
        _json(_line),
        ("T708",),
    ),
    "loss": Case(_encoded(LINE["claim"]["loss"]), _json(Loss.from_json), ("T520",)),
    "noise": Case(
        _encoded({"kind": "laplace", "parameter": "7/3"}), _json(SumNoise.from_json), ("T534",)
    ),
    "task": Case(_encoded(TASK.to_json()), _json(Task.from_json), ("T822", "T534", "T510", "T520")),
    "problem document": Case(
        _encoded({"type": "urn:ietf:params:ppm:dap:error:invalidMessage", "detail": "it is cut"}),
        lambda raw: from_problem(400, raw, "here"),
        (),
    ),
}
"""Those that read JSON."""


def _kept() -> Case:
    raw = b"".join(Kept(Collected((b"one", b"two"), 12, 1), 5).parts())
    return Case(raw, _file("kept", read_kept), ("T702",))


def _witness() -> Case:
    path = FOLDER / "witness"
    for sequence in range(40):
        witness.tell(path, sequence, f"{sequence:064x}")
    return Case(path.read_bytes(), _file("witness", witness.last_seen), ("T718",))


def _ping_pong(kind: int) -> Case:
    good = bytes([kind]) + (4).to_bytes(4, "big") + b"part"
    return Case(good, lambda raw: read_ping_pong(kind, raw), ("T801",))


def _count(*codes: int) -> Histogram:
    return Histogram(np.array(codes), np.ones(len(codes)))


RAW: dict[str, Case] = {
    **{f"box of cipher {aead}": _box(aead) for aead in (1, 2, 3)},
    **{f"vector, party {index}": _share(VECTOR, np.ones(6), index) for index in (0, 1)},
    **{f"amounts, party {index}": _share(AMOUNTS, _count(1, 4), index) for index in (0, 1)},
    "vector's aggregate": _aggregate(VECTOR, np.ones(6)),
    "amounts' aggregate": _aggregate(AMOUNTS, _count(2)),
    **{f"verification message {kind}": _ping_pong(kind) for kind in range(3)},
    "media type": Case(
        b"application/ppm-dap; message=x", lambda raw: media_type(raw.decode("latin-1")), ()
    ),
    "padded message": Case(padded(b"message", 20), unpadded, ("T582",)),
    "kept release": _kept(),
    "witness": _witness(),
}
"""Those that read bytes."""

ALL = WRITTEN | RAW
