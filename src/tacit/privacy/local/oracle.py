"""What frequency oracles share: which code a device speaks of, and estimates for all codes.

**Local differential privacy.** A device randomises its own value before anything leaves it: for all
values v, v' and every report y, P[y | v] <= exp(ε) P[y | v']. Nobody must be trusted for that, the
collector included, which sees each report (Kasiviswanathan et al. 2011; Duchi, Jordan, Wainwright
2013). The price is noise that grows with √n.

**Value.** A device has one code of the public domain 0 to `size` - 1, or nothing of it: that is a
code too, `size`, so that a device without an answer sends a report like any other. A device with
several codes speaks of one, drawn in proportion to the positive amounts; then the estimate of a
code is the sum over devices of its share. So what is bounded is that a device counts once, whatever
its amounts are; the draw happens before the randomiser and cannot weaken it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from tacit.errors import PrivacyError
from tacit.privacy.histogram import Histogram, checked
from tacit.privacy.local.draws import Draws, Integers
from tacit.privacy.local.estimate import Floats, LocalEstimate
from tacit.privacy.local.messages import CHUNK, Bodies, LocalMechanism, check_whole
from tacit.privacy.mechanism import ID_BYTES, Report
from tacit.privacy.randomness import Randomness

LARGEST_SIZE = (1 << 22) - 1
_MOST_DRAWS = 1 << 24  # of one pass of a simulated population


class LocalOracle(LocalMechanism):
    """A frequency oracle: how many devices have each code of a public domain.

    `size`: codes of the domain. The rest is as in `LocalMechanism`. Raises PrivacyError T534.
    """

    parameters: ClassVar[tuple[str, ...]] = ("size", *LocalMechanism.parameters)

    def __init__(self, size: int, devices_max: int, epsilon: float, name: str) -> None:
        check_whole("size", size, LARGEST_SIZE)
        self.size: Final = size
        self.symbols: Final = size + 1
        super().__init__(devices_max, epsilon, name)

    @abstractmethod
    def randomise(self, codes: Integers, draws: Draws) -> Bodies:
        """A body for each code (n,) from 0 to `symbols` - 1; shape (n, body_bytes)."""

    @abstractmethod
    def debias(self, tally: Integers, reports: int) -> tuple[Floats, Floats]:
        """Estimates and standard errors of all codes and of nothing; shapes (symbols,)."""

    def code(self, value: Histogram, draws: Draws) -> int:
        """The one code that a device speaks of; see the module. Raises PrivacyError T533."""
        codes, amounts = checked(value, self.size)
        kept = amounts > 0
        codes, amounts = codes[kept], amounts[kept]
        if len(codes) == 0:
            return self.size
        ends = np.cumsum(amounts / amounts.max())  # the greatest is 1: nothing overflows
        place = int(draws.below(1 << 53, 1)[0]) * 2.0**-53 * ends[-1]
        return int(codes[min(int(np.searchsorted(ends, place, side="right")), len(codes) - 1)])

    def encode(self, value: Histogram, randomness: Randomness) -> Report:
        """One device's report. Raises PrivacyError T533 for what is no histogram of the domain."""
        draws = Draws(randomness)
        code = self.code(value, draws)
        body = self.randomise(np.array([code], np.int64), draws)
        return Report(randomness.bytes(ID_BYTES), (self.tag + body.tobytes(),))

    def encode_many(self, codes: npt.ArrayLike, randomness: Randomness) -> npt.NDArray[np.uint8]:
        """The messages of devices with these codes (n,), 0 to `size`; (n, report_bytes).

        Raises PrivacyError T533 for a code outside. For populations that are simulated.
        """
        every = np.asarray(codes)
        if every.ndim != 1 or every.dtype.kind not in "iu":
            raise _no_codes(f"have shape {every.shape} and type {every.dtype}")
        if len(every) and not (every.min() >= 0 and every.max() <= self.size):
            raise _no_codes(f"lie outside 0 to {self.size}")
        bodies = np.empty((len(every), self.body_bytes), np.uint8)
        step = max(1, min(CHUNK, _MOST_DRAWS // self.symbols))
        for start in range(0, len(every), step):
            some = every[start : start + step].astype(np.int64)
            bodies[start : start + step] = self.randomise(some, Draws(randomness))
        return self.stamped(bodies)

    def decode(self, aggregates: Sequence[bytes]) -> LocalEstimate:
        """The unbiased estimates. Raises PrivacyError T531, T532 for a damaged or foreign
        aggregate, T537 for more or less than one, or for one that no reports add up to."""
        tally, reports = self.read(aggregates)
        if reports == 0:
            zeros = np.zeros(self.size)
            return LocalEstimate(zeros, zeros.copy(), 0, 0.0)
        estimates, errors = self.debias(tally, reports)
        return LocalEstimate(estimates[:-1], errors[:-1], reports, float(estimates[-1]))


def _no_codes(what: str) -> PrivacyError:
    return PrivacyError(
        f"the codes {what}",
        code="T533",
        fix="pass whole numbers of the domain, in one dimension",
    )
