"""A contribution that a crash cannot turn into two: what a device needs to send the same again.

Before a report leaves, the vault keeps the answer it was made of and a fresh seed; the report is
`encode` of that answer with randomness expanded from that seed. So a device that is asked again,
because the collection broke off, sends the same bytes under the same id, and an aggregator that has
them already refuses them as a repetition. A report drawn anew would be a second contribution, and
one of changed data under the same seed would show the change: hence the answer is kept, and the
report's digest too, which a newer version of the encoder might not meet.

The seed is as secret as the history that lies in the same vault.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.privacy.histogram import Histogram
from tacit.privacy.mechanism import Mechanism, Report
from tacit.privacy.randomness import SEED_BYTES, Randomness, expand, system
from tacit.values import canonical_json, fingerprint


@dataclass(frozen=True, slots=True)
class Contribution:
    """A device's answer, the seed of its encoding, and the digest of the report they give.

    `until` is when the task expires (µs): nobody asks for it later, and it is to be erased.
    """

    answer: Histogram
    seed: bytes
    digest: str
    until: int

    def report(self, mechanism: Mechanism[Any]) -> Report | None:
        """The report, the same each time; None where this mechanism would make it another."""
        report = _encode(mechanism, self.answer, self.seed)
        return report if _digest(report) == self.digest else None

    def to_bytes(self) -> bytes:
        """For the vault. Amounts stand in hex, which loses nothing."""
        return canonical_json(
            {
                "codes": self.answer.codes.tolist(),
                "amounts": [float(amount).hex() for amount in self.answer.amounts],
                "seed": base64.b64encode(self.seed).decode(),
                "digest": self.digest,
                "until": self.until,
            }
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> Contribution:
        """What `to_bytes` wrote."""
        held = json.loads(raw)
        amounts = np.array([float.fromhex(amount) for amount in held["amounts"]], np.float64)
        answer = Histogram(np.array(held["codes"], np.int64), amounts)
        return cls(answer, base64.b64decode(held["seed"]), held["digest"], held["until"])


def contribute(
    mechanism: Mechanism[Any], answer: Histogram, until: int, randomness: Randomness | None = None
) -> tuple[Report, Contribution]:
    """A new report of an answer, and what makes the same again."""
    seed = (randomness or system()).bytes(SEED_BYTES)
    report = _encode(mechanism, answer, seed)
    return report, Contribution(answer, seed, _digest(report), until)


def _encode(mechanism: Mechanism[Any], answer: Histogram, seed: bytes) -> Report:
    return mechanism.encode(answer, Randomness("of a contribution", _stream(seed)))


def _stream(seed: bytes) -> Callable[[int], npt.NDArray[np.uint8]]:
    """The n-th call reads the n-th stream of the seed; streams are independent (`expand`)."""
    calls = count()

    def draw(size: int) -> npt.NDArray[np.uint8]:
        words = expand(seed, -(-size // 4), domain=b"tacit contribution %d" % next(calls))
        return words.astype("<u4").view(np.uint8)[:size]

    return draw


def _digest(report: Report) -> str:
    return fingerprint(report.id, *report.messages)
