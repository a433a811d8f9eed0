"""Heavy hitters of an open domain: the prefix extending method, over groups of devices.

Wang, Li, Jha 2021, "Locally Differentially Private Heavy Hitter Identification" (IEEE Transactions
on Dependable and Secure Computing 18; arXiv 1708.06674), PEM. The oracle within is Hadamard
response.

**Value.** Bytes, cut or filled up with zeros to `length`; no value is all zeros. Texts go as UTF-8.

**Client.** Choose one of `groups` groups uniformly. Group i is about the first ⌈8 length (i+1) /
(groups - 1)⌉ bits, the last two about the whole value: hash that prefix to one of `buckets`
buckets, by the group's own public hash (`sketch.Hashes`), and send the group and a Hadamard
response of the bucket.

**Privacy and the split of the budget.** Devices are split, not ε: each reports once, of one prefix,
with all of ε. The group is chosen whatever the value is; given it the report is Hadamard response.
So it is pure ε. (To split ε over the groups instead would cost a factor of `groups`² in variance at
small ε, against `groups` here; PEM, section 4.)

**Server.** Begin with all prefixes of the first group's length; keep those whose estimate stands
out of the noise, at most `keep`; extend each by all bits up to the next length, and so on. The last
group confirms the values that the one before it found, and gives their estimates: its devices had
no part in finding them. An estimate is that of the group, times groups: a prefix that several
values share stands out for all of them together, so it is not lost on the way.

**Variance** of a bucket of a group is that of Hadamard response (`hadamard_response`) with about
n / groups reports, times groups²; which devices are in a group adds n_v (groups - 1). Other values
in the same bucket add their number with probability 1/buckets each, in the mean
(n - n_v) / buckets, which is subtracted: estimate = D/(D - 1) · (found - n/D) for D buckets. A
collision in one group makes a false prefix; it must collide in every later group again to survive,
at the end in the group that confirms.

**False positives.** A candidate that nobody has passes the mark of z standard errors with chance
Φ(-z), below 4e-5 for z = 4; there are at most keep · 2^(bits a step) candidates a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from tacit.errors import PrivacyError
from tacit.privacy.histogram import wrong_parameters
from tacit.privacy.local.draws import Draws, Integers
from tacit.privacy.local.estimate import Floats
from tacit.privacy.local.hadamard_response import HadamardResponse
from tacit.privacy.local.messages import Bodies, LocalMechanism, check_whole
from tacit.privacy.local.sketch import Hashes
from tacit.privacy.mechanism import ID_BYTES, Report
from tacit.privacy.randomness import Randomness

MOST_BITS_A_STEP = 12


class HeavyHitter(NamedTuple):
    """A value that stands out, without its filling zeros, and about how many devices have it."""

    value: bytes
    estimate: float
    stderr: float


class HeavyHitters(LocalMechanism):
    """Which byte strings many devices have; see the module.

    `length` 1 to 64 bytes, `groups` 2 to 255 with at most 12 bits from one to the next, `buckets` a
    power of two from 256 to 2^20, `keep` 1 to 4096. Raises PrivacyError T534 for others.
    """

    key: ClassVar[str] = "heavy_hitters"
    answers: ClassVar[str] = "values"
    parameters: ClassVar[tuple[str, ...]] = (
        *LocalMechanism.parameters,
        "length",
        "groups",
        "buckets",
        "keep",
    )

    def __init__(
        self,
        devices_max: int,
        epsilon: float,
        name: str,
        length: int = 8,
        groups: int = 9,
        buckets: int = 1 << 16,
        keep: int = 64,
    ) -> None:
        check_whole("length", length, 64)
        check_whole("groups", groups, 255, 2)
        check_whole("buckets", buckets, 1 << 20, 256)
        check_whole("keep", keep, 4096)
        self.length, self.groups, self.buckets, self.keep = length, groups, buckets, keep
        ends = [-(-8 * length * (i + 1) // (groups - 1)) for i in range(groups - 1)]
        self.bits = [*ends, 8 * length]
        steps = np.diff([0, *ends])
        if buckets & (buckets - 1) or steps.min() < 1 or steps.max() > MOST_BITS_A_STEP:
            raise wrong_parameters(
                f"{groups} groups for {8 * length} bits and {buckets} buckets: buckets are a power"
                f" of two, and a group goes on by 1 to {MOST_BITS_A_STEP} bits"
            )
        super().__init__(devices_max, epsilon, name)

    def prepare(self, epsilon: Fraction) -> None:
        """Makes the oracle within, and the hashes."""
        self.within = HadamardResponse(
            self.buckets - 1, self.devices_max, float(epsilon), f"{self.name} [buckets]"
        )
        self.functions = Hashes(self.name, self.groups, self.buckets)
        self.body_bytes = 1 + self.within.body_bytes
        self.cells = self.groups * self.within.cells

    # ------------------------------------------------------------------ on a device

    def filled(self, value: bytes) -> bytes:
        """Cut or filled up to `length`. Raises PrivacyError T533 for what is no bytes."""
        if not isinstance(value, bytes):
            raise PrivacyError(
                f"a value is {type(value).__name__}, not bytes",
                code="T533",
                fix="encode texts as UTF-8",
            )
        return value[: self.length].ljust(self.length, b"\0")

    def encode(self, value: bytes, randomness: Randomness) -> Report:
        """One device's report of a value; b"" for none."""
        body = self.randomise([value], Draws(randomness))
        return Report(randomness.bytes(ID_BYTES), (self.tag + body.tobytes(),))

    def encode_many(self, values: Sequence[bytes], randomness: Randomness) -> npt.NDArray[np.uint8]:
        """The messages (n, report_bytes) of many devices, for populations that are simulated."""
        return self.stamped(self.randomise(values, Draws(randomness)))

    def randomise(self, values: Sequence[bytes], draws: Draws) -> Bodies:
        """The group of each, and the randomised bucket of its prefix."""
        groups = draws.below(self.groups, len(values))
        prefixes = [
            self._key(int.from_bytes(self.filled(value), "big") >> self._dropped(group), group)
            for value, group in zip(values, groups.tolist(), strict=True)
        ]
        buckets = self.functions.columns(groups, self.functions.digest(prefixes))
        return np.hstack([groups.astype(np.uint8)[:, None], self.within.randomise(buckets, draws)])

    def _dropped(self, group: int) -> int:
        """The bits of a value that a group is not about."""
        return 8 * self.length - self.bits[group]

    def _key(self, prefix: int, group: int) -> bytes:
        """What is hashed for a prefix of a group."""
        return bytes([group]) + prefix.to_bytes(self.length, "big")

    # ------------------------------------------------------------------ on the collector

    def valid(self, bodies: Bodies) -> npt.NDArray[np.bool_]:
        """A group that there is, and an output of the oracle."""
        return (bodies[:, 0] < self.groups) & self.within.valid(bodies[:, 1:])

    def tally(self, bodies: Bodies) -> Integers:
        """The tallies of the groups, one after the other."""
        return np.concatenate(
            [self.within.tally(bodies[bodies[:, 0] == group, 1:]) for group in range(self.groups)]
        )

    def finish(self, tally: Integers) -> Integers:
        """Those of the oracle within, one after the other."""
        parts = tally.reshape(self.groups, -1)
        return np.concatenate([self.within.finish(part) for part in parts])

    @property
    def _raw_cells(self) -> int:
        return self.groups * self.within.outputs

    def _parts(self, tally: Integers) -> list[tuple[Integers, int]]:
        """The oracle's tally of each group, and its reports."""
        parts = tally.reshape(self.groups, self.within.cells)
        return [(part, int(part[self.buckets :].sum())) for part in parts]

    def possible(self, tally: Integers, reports: int) -> bool:
        """The groups hold all reports, each what the oracle within can have."""
        parts = self._parts(tally)
        if sum(count for _, count in parts) != reports:
            return False
        return all(count >= 0 and self.within.possible(part, count) for part, count in parts)

    def variance(self, count: float, reports: float) -> float:
        """See the module; without collisions."""
        groups, room = self.groups, self.buckets / (self.buckets - 1)
        noise = groups**2 * self.within.variance(count / groups, reports / groups)
        return (noise + count * (groups - 1)) * room**2

    def decode(self, aggregates: Sequence[bytes], deviations: float = 4.0) -> list[HeavyHitter]:
        """The values that stand out by so many standard errors, the most frequent first.

        Raises PrivacyError T531, T532, T537 as other local mechanisms do.
        """
        tally, reports = self.read(aggregates)
        found: Integers = np.zeros(1, np.object_)
        estimates = errors = np.zeros(0)
        for group, (part, count) in enumerate(self._parts(tally)):
            if count == 0 or len(found) == 0:
                return []
            step = self.bits[group] - (self.bits[group - 1] if group else 0)
            ends = range(1 << step)
            wider = [prefix << step | end for prefix in found.tolist() for end in ends]
            estimates, errors = self._estimate(part, count, wider, group, reports)
            best = np.argsort(-estimates, kind="stable")[: self.keep]
            best = best[estimates[best] > deviations * errors[best]]
            found = np.array([wider[place] for place in best], np.object_)
            estimates, errors = estimates[best], errors[best]
        values = [int(value).to_bytes(self.length, "big").rstrip(b"\0") for value in found]
        triples = zip(values, estimates.tolist(), errors.tolist(), strict=True)
        return [HeavyHitter(*each) for each in triples if each[0]]

    def _estimate(
        self, part: Integers, count: int, prefixes: Sequence[int], group: int, reports: int
    ) -> tuple[Floats, Floats]:
        """Estimates and standard errors of prefixes among all reports, from those of a group."""
        counts, errors = self.within.debias(part, count)
        digests = self.functions.digest([self._key(prefix, group) for prefix in prefixes])
        columns = self.functions.columns(np.array(group), digests)
        room, scale = self.buckets / (self.buckets - 1), reports / count
        found = scale * room * (counts[columns] - count / self.buckets)
        sampled = np.maximum(found, 0.0) * (scale - 1)
        return found, np.sqrt((scale * room * errors[columns]) ** 2 + sampled)
