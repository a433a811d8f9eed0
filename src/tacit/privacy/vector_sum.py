"""The sum of one bounded vector per device, in the two-aggregator model, with discrete noise.

**Protocol.** A device bounds its vector v in R^d to ||v||_2 <= 1 and encodes it as integers w with
||w||_2 <= s (`encoding`). It draws a seed and sends the helper the seed, the leader w - PRG(seed)
modulo 2^32: each message alone is indistinguishable from random words. Each aggregator adds up
its shares, adds an independent discrete Gaussian N_Z(0, V) to every coordinate, and hands over
the total. The collector adds both: the PRG terms cancel, and Σ w + noise remains, exact as long
as it does not wrap. It is read as signed and divided by s.

**Sensitivity.** Adding or removing one device changes Σ w by its own w, an integer vector with
||w||_2 <= s. Replacing one device's vector by another would change it by up to 2s; that relation
is not the one claimed. In units of the result (divided by s) the sensitivity is 1.

**Loss toward the collector.** It sees Σ w plus two independent N_Z(0, V) per coordinate:
`loss.sum_rho`, which is s²/4V with a correction that vanishes below the last digit. V is the least
integer from σ²s²/2 on for which this costs at most (ε, δ). Checksums and headers tell it nothing:
a checksum is a sum of hashes of random ids it does not know, so it has the same distribution with
and without any one device, as long as one other report is in the batch. (An aggregator may add
`encode` of a zero vector to make sure of that; it costs neither accuracy nor privacy.)

**Loss toward one curious aggregator.** It knows its own noise and subtracts it, so only the
other's N_Z(0, V) is left: ρ = s²/2V, twice as much (CKS 2020, theorem 14). It also sees which
report ids arrived; toward it, the neighbour of a population is the one where the device sends a
zero vector, not the one where it is silent.

**No wrapping.** s is the greatest power of two up to 2^16 for which devices_max devices and 64
standard deviations of noise stay below 2^31. With |noise| a sum of two discrete Gaussians, which
are subgaussian (CKS 2020, proposition 17), the chance to pass 64σ is below 2 exp(-2048) per
coordinate. If that leaves s < 2^8, words have 64 bits. A wrap would be an error of the result,
never of privacy: it happens after the noise.

**Not promised.** That a device kept its bound: a manipulated device may send any share and so
shift the sum at will. Only a proof on shares (Prio3, RFC draft VDAF) excludes that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from tacit.errors import PrivacyError
from tacit.privacy import encoding, wire
from tacit.privacy.loss import (
    Loss,
    gaussian_rho,
    sigma_for,
    sum_rho,
    variance_rho,
    zcdp,
    zcdp_epsilon,
)
from tacit.privacy.mechanism import ID_BYTES, Claim, Report
from tacit.privacy.noise import discrete_gaussian
from tacit.privacy.randomness import SEED_BYTES, Randomness, expand, expand64
from tacit.values import fingerprint

_MODULUS = 1 << (8 * wire.CHECKSUM_BYTES)
_DEVIATIONS = 64
_SMALLEST_SCALE = 1 << 8

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32] | npt.NDArray[np.uint64]
Messages = Iterable[tuple[bytes, bytes]]


class VectorSum:
    """A release of Σ v over devices, each v of `length` reals with ||v||_2 <= 1.

    `devices_max`: the most reports a batch may hold. `epsilon`, `delta`: toward the collector.
    `name` separates releases: messages of another name are foreign. Raises PrivacyError T534 for
    parameters outside 1 <= length <= 2^28 and 1 <= devices_max <= 2^40, T520 for a budget no
    noise can meet.
    """

    key: ClassVar[str] = "vector_sum"
    aggregators: ClassVar[int] = 2
    shows: ClassVar[str] = "an aggregate of all devices, none alone"
    trust: ClassVar[tuple[str, ...]] = (
        "At least one of leader and helper keeps its shares to itself; together they see values.",
        "Both aggregators add noise; if one does not, the collector's loss is the aggregator's.",
        "Both aggregators combine the same reports, each once; a mismatch is refused.",
        "A single aggregator sees which reports arrive and how many, and one random share of each.",
        "Devices bound their own vectors: no proof stops a manipulated one from shifting the sum.",
    )

    def __init__(
        self, length: int, devices_max: int, epsilon: float, delta: float, name: str
    ) -> None:
        _check_range("length", length, encoding.LARGEST_LENGTH)
        _check_range("devices_max", devices_max, 1 << 40)
        self.length: Final = length
        self.devices_max: Final = devices_max
        self.epsilon: Final = epsilon
        self.delta: Final = delta
        self.name: Final = name
        sigma = sigma_for(epsilon, delta)
        self.bits, self.scale = _words_and_scale(devices_max, sigma)
        self.variance = _party_variance(sigma, self.scale, length, epsilon, delta)
        tag = fingerprint(self.key, name, [length, devices_max, self.scale, self.variance])
        self._frame = wire.Frame(length, self.bits, bytes.fromhex(tag))

    @classmethod
    def price(cls, epsilon: float, delta: float) -> Loss:
        """That of Gaussian noise made for this ε at this δ. Raises PrivacyError T520."""
        return zcdp(gaussian_rho(sigma_for(epsilon, delta)))

    def claim(self) -> Claim:
        """What it promises; see the module for the derivation."""
        loss, aggregator = self._losses()
        return Claim(
            mechanism=self.key,
            name=self.name,
            adjacency="add or remove one device",
            units="sum of vectors of l2 norm at most 1",
            sensitivity=1.0,
            sigma=(2 * self.variance) ** 0.5 / self.scale,
            delta=self.delta,
            loss=loss,
            epsilon=loss.epsilon(self.delta),
            aggregator_loss=aggregator,
            aggregator_epsilon=aggregator.epsilon(self.delta),
            trust=self.trust,
        )

    @property
    def report_bytes(self) -> int:
        """The bytes of one device's messages to leader and helper together."""
        return 2 * wire.HEADER_BYTES + self.length * self.bits // 8 + SEED_BYTES

    def quantise(self, value: npt.ArrayLike, randomness: Randomness) -> Integers:
        """The integers (length,) a device would share: l2 norm at most `scale`, whatever comes."""
        return encoding.quantise(value, self.length, self.scale, randomness)

    def encode(self, value: npt.ArrayLike, randomness: Randomness) -> Report:
        """One device's report of its vector (length,). Raises PrivacyError T533; see `quantise`."""
        return self.share(self.quantise(value, randomness), randomness)

    def encode_many(self, values: npt.ArrayLike, randomness: Randomness) -> Iterator[Report]:
        """The reports of many devices, of the rows of `values` (n, length), one at a time."""
        for row in np.asarray(values):
            yield self.encode(row, randomness)

    def share(self, integers: Integers, randomness: Randomness) -> Report:
        """The report of integers that `quantise` gave."""
        fresh = randomness.bytes(ID_BYTES + SEED_BYTES)
        report_id, seed = fresh[:ID_BYTES], fresh[ID_BYTES:]
        masked = self._to_words(integers) - self._expand(seed, report_id)
        leader = self._frame.report(wire.LEADER, report_id) + self._to_bytes(masked)
        return Report(report_id, (leader, self._frame.report(wire.HELPER, report_id) + seed))

    def admit(
        self, index: int, messages: Messages
    ) -> tuple[dict[bytes, bytes], dict[bytes, PrivacyError]]:
        """Sort out what `combine` would refuse: (good messages by id, refusals by id).

        The first message of an id counts. Leader and helper then combine the ids both have.
        """
        self._check_index(index)
        good: dict[bytes, bytes] = {}
        refused: dict[bytes, PrivacyError] = {}
        for report_id, message in messages:
            try:
                if report_id in good:
                    raise _duplicate(report_id)
                self._frame.check_report(index, report_id, message)
                good[report_id] = message
            except PrivacyError as error:
                refused[report_id] = error
        return good, refused

    def combine(self, index: int, messages: Messages, randomness: Randomness) -> bytes:
        """Aggregator `index`'s (0 leader, 1 helper) noisy total of (id, message) pairs.

        Raises PrivacyError T531 (malformed), T532 (foreign), T535 (duplicate), T536 (too many),
        T537 (no such aggregator).
        """
        self._check_index(index)
        seen: set[bytes] = set()
        checksum = 0
        total = self._to_words(discrete_gaussian(self.variance, self.length, randomness))
        for report_id, message in messages:
            body = self._frame.check_report(index, report_id, message)
            if report_id in seen:
                raise _duplicate(report_id)
            if len(seen) == self.devices_max:
                raise _too_many(self.devices_max)
            seen.add(report_id)
            checksum = (checksum + self._digest(report_id)) % _MODULUS
            part = (
                self._from_bytes(body)
                if index == wire.LEADER
                else self._expand(bytes(body), report_id)
            )
            np.add(total, part, out=total)
        digest = checksum.to_bytes(wire.CHECKSUM_BYTES, "little")
        return self._frame.aggregate(index) + digest + self._to_bytes(total)

    def decode(self, aggregates: Sequence[bytes]) -> Floats:
        """The noisy sum (length,) from the leader's and the helper's aggregate, in that order.

        Raises PrivacyError T531, T532, and T537 when they are of different sets of reports.
        """
        return self.decode_integers(aggregates) / self.scale

    def decode_integers(self, aggregates: Sequence[bytes]) -> Integers:
        """`decode` before the division by `scale`."""
        if len(aggregates) != self.aggregators:
            raise _mismatch(f"{len(aggregates)} aggregates were given, not {self.aggregators}")
        bodies = [self._frame.check_aggregate(i, raw) for i, raw in enumerate(aggregates)]
        sums, parts = zip(
            *((body[: wire.CHECKSUM_BYTES], body[wire.CHECKSUM_BYTES :]) for body in bodies),
            strict=True,
        )
        if sums[0] != sums[1]:
            raise _mismatch("leader and helper combined different sets of reports")
        return self._signed(self._from_bytes(parts[0]) + self._from_bytes(parts[1]))

    def sum_exactly(self, integers: Iterable[Integers]) -> Integers:
        """Σ w without shares and noise: the integers the protocol carries, wrapping included.

        For simulating large populations, where `release` adds the noise. Rows as from `quantise`.
        """
        total = self._to_words(np.zeros(self.length, np.int64))
        for row in integers:
            np.add(total, self._to_words(np.asarray(row, np.int64)), out=total)
        return self._signed(total)

    def release(self, exact: Integers, randomness: Randomness) -> Floats:
        """`exact` with the noise of both aggregators, divided by `scale`: what `decode` gives."""
        noise = [discrete_gaussian(self.variance, self.length, randomness) for _ in range(2)]
        words = sum((self._to_words(part) for part in noise), self._to_words(exact))
        return self._signed(words) / self.scale

    def _losses(self) -> tuple[Loss, Loss]:
        toward_collector = zcdp(sum_rho(self.variance, self.length, self.scale))
        return toward_collector, zcdp(variance_rho(self.variance, self.scale))

    def _digest(self, report_id: bytes) -> int:
        digest = hashlib.blake2b(self._frame.tag + report_id, digest_size=32, person=b"tacit ids")
        return int.from_bytes(digest.digest(), "little")

    def _check_index(self, index: int) -> None:
        if index not in (wire.LEADER, wire.HELPER):
            raise _mismatch(f"there is no aggregator {index}")

    def _expand(self, seed: bytes, report_id: bytes) -> Words:
        domain = b"vector_sum share" + self._frame.tag + report_id
        stretch = expand if self.bits == 32 else expand64
        return stretch(seed, self.length, domain=domain)

    def _to_words(self, integers: Integers) -> Words:
        return integers.astype(np.uint32) if self.bits == 32 else integers.astype(np.uint64)

    def _signed(self, words: Words) -> Integers:
        return words.view(np.int32 if self.bits == 32 else np.int64).astype(np.int64)

    def _to_bytes(self, words: Words) -> bytes:
        return words.astype(f"<u{self.bits // 8}", copy=False).tobytes()

    def _from_bytes(self, body: memoryview) -> Words:
        if self.bits == 32:
            return np.frombuffer(body, "<u4").astype(np.uint32, copy=False)
        return np.frombuffer(body, "<u8").astype(np.uint64, copy=False)


def _words_and_scale(devices_max: int, sigma: float) -> tuple[int, int]:
    """Bits of a word, and the encoding scale s; see "No wrapping" in the module."""
    reach = Fraction(devices_max) + (_DEVIATIONS + 1) * Fraction(sigma)
    for bits in (32, 64):
        room = int(((1 << (bits - 1)) - 1) / reach)
        if room >= _SMALLEST_SCALE:
            return bits, min(encoding.LARGEST_SCALE, 1 << (room.bit_length() - 1))
    raise _no_noise(sigma)


def _party_variance(sigma: float, scale: int, length: int, epsilon: float, delta: float) -> int:
    """V, each aggregator's: the least integer from σ²s²/2 on whose sum costs at most (ε, δ)."""
    variance = max(1, -int(-(Fraction(sigma) ** 2 * scale**2 / 2) // 1))
    while zcdp_epsilon(sum_rho(variance, length, scale), delta) > epsilon:
        variance += (variance >> 45) + 1
    if variance > 1 << 80:
        raise _no_noise(sigma)
    return variance


def _check_range(what: str, value: int, largest: int) -> None:
    if not (isinstance(value, int) and 1 <= value <= largest):
        raise PrivacyError(
            f"{what} = {value!r} is out of range",
            code="T534",
            fix=f"use a whole number from 1 to {largest}",
        )


def _no_noise(sigma: float) -> PrivacyError:
    return PrivacyError(
        f"noise of σ = {sigma:.3g} is more than a sum can carry",
        code="T534",
        fix="use a larger epsilon",
    )


def _duplicate(report_id: bytes) -> PrivacyError:
    return PrivacyError(
        "a report is there twice",
        code="T535",
        where=f"report {report_id.hex()}",
        fix="combine each report once; keep the ids of earlier batches to refuse replays",
    )


def _too_many(devices_max: int) -> PrivacyError:
    return PrivacyError(
        f"there are more than devices_max = {devices_max} reports",
        code="T536",
        fix="declare a larger devices_max, or split the batch",
    )


def _mismatch(what: str) -> PrivacyError:
    return PrivacyError(
        what,
        code="T537",
        fix="let both aggregators combine the report ids they both admitted, and pass leader first",
    )
