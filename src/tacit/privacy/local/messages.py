"""The messages of local mechanisms: their form, what is refused of them, and how they add up.

**Message.** 8 bytes that name the mechanism with all its parameters, then a body of fixed length:
lengths say nothing. Bodies have one form each: what a device cannot have sent is refused (T570).
Anybody may send a well-formed report; no proof excludes a chosen one (Cheu, Smith, Ullman 2021,
"Manipulation Attacks in Local Differential Privacy").

**Aggregate.** The same 8 bytes, a version byte, the number of reports (8 bytes), and a tally of
64-bit whole numbers to which each report adds its part; all little-endian.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from tacit.errors import PrivacyError
from tacit.privacy.histogram import check_names, wrong_parameters
from tacit.privacy.local.draws import Integers
from tacit.privacy.loss import Loss, pure_dp
from tacit.privacy.mechanism import ID_BYTES, Claim
from tacit.privacy.randomness import Randomness
from tacit.values import Type, fingerprint

TAG_BYTES = 8
LEAST_EPSILON, GREATEST_EPSILON = 1e-3, 40.0
CHUNK = 1 << 16
"""Reports looked at together: bounds the memory, and fills the vector units."""

_VERSION = b"\x01"
_HEAD = TAG_BYTES + 1 + 8

Bodies = npt.NDArray[np.uint8]
Messages = Iterable[tuple[bytes, bytes]]


class LocalMechanism(ABC):
    """A mechanism whose reports are randomised on the device and counted by the collector itself.

    `devices_max`: the most reports of a batch. `epsilon`: pure, for each report. `name` separates
    releases. Raises PrivacyError T534 for parameters out of range.
    """

    key: ClassVar[str]
    aggregators: ClassVar[int] = 1
    answers: ClassVar[str] = "totals"
    shows: ClassVar[str] = "the report of each device, randomised on the device itself"
    takes: ClassVar[frozenset[Type]] = frozenset({Type.TEXT, Type.INT, Type.FLOAT})
    trust: ClassVar[tuple[str, ...]] = (
        "Nobody: each device randomises its value itself, and the collector sees every report.",
        "That a device reports, and when, is seen; what it holds is not, whatever it holds.",
        "No proof stops a manipulated device from sending a report of its choice.",
    )
    parameters: ClassVar[tuple[str, ...]] = ("devices_max", "epsilon", "name")
    """Its parameters: attributes, and arguments of the same name."""

    body_bytes: int
    """Bytes of the body of a report."""
    cells: int
    """Whole numbers of an aggregate."""

    def __init__(self, devices_max: int, epsilon: float, name: str) -> None:
        check_whole("devices_max", devices_max, 1 << 40)
        if not (number(epsilon) and LEAST_EPSILON <= epsilon <= GREATEST_EPSILON):
            raise wrong_parameters(f"an epsilon of {epsilon!r} for a local mechanism")
        if not isinstance(name, str):
            raise wrong_parameters(f"the name is {name!r}")
        self.devices_max: Final = devices_max
        self.epsilon: Final = float(epsilon)
        self.name: Final = name
        self.prepare(Fraction(self.epsilon))
        self.tag: Final = bytes.fromhex(fingerprint(self.key, self.files()[0]))[:TAG_BYTES]

    # ------------------------------------------------------------------ what each mechanism is

    @abstractmethod
    def prepare(self, epsilon: Fraction) -> None:
        """Sets the thresholds, `body_bytes` and `cells`."""

    @abstractmethod
    def valid(self, bodies: Bodies) -> npt.NDArray[np.bool_]:
        """Which of the bodies (n, body_bytes) a device may have sent; shape (n,)."""

    @abstractmethod
    def tally(self, bodies: Bodies) -> Integers:
        """What valid bodies add up to, in one dimension; of two batches it is the sum."""

    def finish(self, tally: Integers) -> Integers:
        """The tally as the aggregate carries it, (cells,); by default as it is."""
        return tally

    @abstractmethod
    def possible(self, tally: Integers, reports: int) -> bool:
        """Whether so many reports can add up to this, as far as bounds on each number tell."""

    @abstractmethod
    def variance(self, count: float, reports: float) -> float:
        """The variance of the estimate for what `count` of `reports` devices have."""

    # ------------------------------------------------------------------ the mechanism's interface

    @classmethod
    def price(cls, epsilon: float, delta: float) -> Loss:
        """Pure ε, whatever δ."""
        return pure_dp(epsilon)

    def claim(self) -> Claim:
        """Pure ε against everybody. `sigma` is of one report, see `Claim`."""
        loss = pure_dp(self.epsilon)
        return Claim(
            mechanism=self.key,
            name=self.name,
            adjacency="replace one device's value by any other, or by nothing",
            units="number of devices",
            sensitivity=1.0,
            sigma=math.sqrt(self.variance(0, 1)),
            delta=0.0,
            loss=loss,
            epsilon=self.epsilon,
            aggregator_loss=loss,
            aggregator_epsilon=self.epsilon,
            trust=self.trust,
        )

    @property
    def report_bytes(self) -> int:
        """The bytes of one device's message."""
        return TAG_BYTES + self.body_bytes

    def files(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Its parameters as JSON values, and its arrays (none): what `from_files` reads."""
        return {name: getattr(self, name) for name in self.parameters}, {}

    @classmethod
    def from_files(
        cls, parameters: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Self:
        """The mechanism that `files` wrote. Raises PrivacyError T534 for anything else."""
        check_names(parameters, set(cls.parameters), arrays, set())
        return cls(**parameters)

    def stamped(self, bodies: Bodies) -> npt.NDArray[np.uint8]:
        """The messages (n, report_bytes) of bodies (n, body_bytes)."""
        tags = np.broadcast_to(np.frombuffer(self.tag, np.uint8), (len(bodies), TAG_BYTES))
        return np.hstack([tags, bodies])

    def admit(
        self, index: int, messages: Messages
    ) -> tuple[dict[bytes, bytes], dict[bytes, PrivacyError]]:
        """Sort out what `combine` would refuse: (good messages by id, refusals by id).

        The first message of an id counts.
        """
        _check_index(index)
        good: dict[bytes, bytes] = {}
        refused: dict[bytes, PrivacyError] = {}
        for ids, some in _chunks(messages):
            _, wrong = self._bodies(ids, some)
            for place, (report_id, message) in enumerate(zip(ids, some, strict=True)):
                if place in wrong:
                    refused[report_id] = wrong[place]
                elif report_id in good:
                    refused[report_id] = _duplicate(report_id)
                else:
                    good[report_id] = message
        return good, refused

    def combine(
        self,
        index: int,
        messages: Messages,
        randomness: Randomness,
    ) -> bytes:
        """The aggregate of (id, message) pairs; no noise is added, the reports carry it.

        Raises PrivacyError T531 (malformed), T532 (foreign), T535 (duplicate), T536 (too many),
        T537 (no such aggregator), T570 (a body that no device can have sent).
        """
        _check_index(index)
        seen: set[bytes] = set()
        total = np.zeros(self._raw_cells, np.int64)
        for ids, some in _chunks(messages):
            bodies, wrong = self._bodies(ids, some)
            if wrong:
                raise wrong[min(wrong)]
            before = len(seen)
            seen.update(ids)
            if len(seen) < before + len(ids):
                raise _duplicate(None)
            self._check_count(len(seen))
            total += self.tally(bodies)
        return self._aggregate(total, len(seen))

    def combine_many(self, messages: npt.NDArray[np.uint8]) -> bytes:
        """`combine` of messages that stand in one array (n, report_bytes), without ids.

        Ids must have been checked, or there are none: what a shuffler forwards has none.
        """
        if messages.dtype != np.uint8 or messages.shape[1:] != (self.report_bytes,):
            raise _malformed(f"messages of shape {messages.shape}", f"{self.report_bytes} bytes")
        self._check_count(len(messages))
        total = np.zeros(self._raw_cells, np.int64)
        for start in range(0, len(messages), CHUNK):
            part = messages[start : start + CHUNK]
            bodies, wrong = self._checked_rows(part)
            if wrong:
                raise wrong[min(wrong)]
            total += self.tally(bodies)
        return self._aggregate(total, len(messages))

    def read(self, aggregates: Sequence[bytes]) -> tuple[Integers, int]:
        """The tally (cells,) and the number of reports of one aggregate. Raises as `decode`."""
        if len(aggregates) != 1:
            raise _mismatch(f"{len(aggregates)} aggregates were given, not one")
        raw = aggregates[0]
        size = _HEAD + 8 * self.cells
        if not isinstance(raw, bytes) or len(raw) != size:
            raise _malformed("an aggregate", f"{size} bytes")
        if raw[: TAG_BYTES + 1] != self.tag + _VERSION:
            raise _foreign("an aggregate")
        reports = int.from_bytes(raw[TAG_BYTES + 1 : _HEAD], "little")
        tally = np.frombuffer(raw, "<i8", offset=_HEAD).astype(np.int64)
        if reports > self.devices_max or not self.possible(tally, reports):
            raise _mismatch(f"no {reports} reports add up to this aggregate")
        return tally, reports

    # ------------------------------------------------------------------ inside

    @property
    def _raw_cells(self) -> int:
        """Numbers of what `tally` gives, where `finish` makes it another length."""
        return self.cells

    def _aggregate(self, total: Integers, reports: int) -> bytes:
        head = self.tag + _VERSION + reports.to_bytes(8, "little")
        return head + self.finish(total).astype("<i8", copy=False).tobytes()

    def _check_count(self, count: int) -> None:
        if count > self.devices_max:
            raise PrivacyError(
                f"there are more than devices_max = {self.devices_max} reports",
                code="T536",
                fix="declare a larger devices_max, or split the batch",
            )

    def _bodies(
        self, ids: Sequence[bytes], messages: Sequence[bytes]
    ) -> tuple[Bodies, dict[int, PrivacyError]]:
        """The bodies of the well-formed messages, and why others are not, by place."""
        wrong: dict[int, PrivacyError] = {}
        size = self.report_bytes
        fine = set(map(type, messages)) | set(map(type, ids)) <= {bytes}
        if not (fine and set(map(len, messages)) <= {size} and set(map(len, ids)) <= {ID_BYTES}):
            for place, (report_id, message) in enumerate(zip(ids, messages, strict=True)):
                if not isinstance(report_id, bytes) or len(report_id) != ID_BYTES:
                    wrong[place] = _malformed("a report's id", f"{ID_BYTES} bytes")
                elif not isinstance(message, bytes) or len(message) != size:
                    wrong[place] = _malformed("a message", f"{size} bytes")
        kept = [place for place in range(len(messages)) if place not in wrong] if wrong else None
        some = messages if kept is None else [messages[place] for place in kept]
        rows = np.frombuffer(b"".join(some), np.uint8).reshape(-1, size)
        bodies, refused = self._checked_rows(rows)
        wrong |= {place if kept is None else kept[place]: e for place, e in refused.items()}
        return bodies, wrong

    def _checked_rows(self, rows: npt.NDArray[np.uint8]) -> tuple[Bodies, dict[int, PrivacyError]]:
        """The bodies of messages (n, report_bytes) that are right, and why others are not."""
        bodies = rows[:, TAG_BYTES:]
        ours = (rows[:, :TAG_BYTES] == np.frombuffer(self.tag, np.uint8)).all(axis=1)
        right = ours & self.valid(bodies)
        if right.all():
            return bodies, {}
        wrong = {
            int(place): _out_of_range() if ours[place] else _foreign("a message")
            for place in np.flatnonzero(~right)
        }
        return bodies[right], wrong


def _chunks(messages: Messages) -> Iterator[tuple[list[bytes], list[bytes]]]:
    pairs = iter(messages)
    while some := list(islice(pairs, CHUNK)):
        yield [report_id for report_id, _ in some], [message for _, message in some]


# ---------------------------------------------------------------------- whole numbers in bytes


def width_of(count: int) -> int:
    """Bytes that hold every whole number below `count`."""
    return max(1, ((count - 1).bit_length() + 7) // 8)


def pack(numbers: Integers, width: int) -> Bodies:
    """Numbers (n,) as little-endian bytes (n, width)."""
    return np.ascontiguousarray(numbers.astype("<u8")[:, None].view(np.uint8)[:, :width])


def unpack(bodies: Bodies) -> Integers:
    """What `pack` wrote; at most 7 bytes wide."""
    out = np.zeros(len(bodies), np.int64)
    for column in range(bodies.shape[1]):
        out |= bodies[:, column].astype(np.int64) << (8 * column)
    return out


def number(value: object) -> bool:
    """A finite int or float that is no bool."""
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def check_whole(what: str, value: object, most: int, least: int = 1) -> None:
    """Raises PrivacyError T534 unless it is a whole number in the range."""
    if type(value) is not int or not least <= value <= most:
        raise wrong_parameters(f"{what} is {value!r}, not a whole number from {least} to {most}")


# ---------------------------------------------------------------------- refusals


def _check_index(index: int) -> None:
    if index != 0:
        raise _mismatch(f"there is no aggregator {index}")


def _malformed(what: str, wanted: str) -> PrivacyError:
    return PrivacyError(
        f"{what} of a local mechanism does not have {wanted} and cannot be read",
        code="T531",
        fix="drop it; the device may send a new report",
    )


def _foreign(what: str) -> PrivacyError:
    return PrivacyError(
        f"{what} is foreign: it was made by another mechanism, or with other parameters",
        code="T532",
        fix="send it to the release that it was made for",
    )


def _out_of_range() -> PrivacyError:
    return PrivacyError(
        "a report's body is one that no device can have sent: a number is out of its range",
        code="T570",
        fix="drop it; a device that keeps to the mechanism sends no such report",
    )


def _duplicate(report_id: bytes | None) -> PrivacyError:
    return PrivacyError(
        "a report is there twice",
        code="T535",
        where=None if report_id is None else f"report {report_id.hex()}",
        fix="combine each report once; keep the ids of earlier batches to refuse replays",
    )


def _mismatch(what: str) -> PrivacyError:
    return PrivacyError(
        what,
        code="T537",
        fix="a local mechanism has one aggregator, the collector: pass its one aggregate",
    )
