"""What count-mean sketches share: public hashes of any key, and estimates from a table.

Apple Differential Privacy Team 2017, "Learning with Privacy at Scale", section "System Algorithms"
(and the paper's appendix): a table of `hashes` rows and `width` columns, row j with a public hash
h_j from keys to columns. A device chooses a row j at random and sends a randomised report of column
h_j(key) of that row. The server adds debiased reports to a table M with E[M_j[c]] = the number of
devices that chose row j and whose key hashes to column c. For any key, one that nobody had listed
before included,

    estimate = m/(m - 1) · ( Σ_j M_j[h_j(key)] - n/m ),     m = width.

**Hashes.** A key is hashed to 64 bits by BLAKE2b (RFC 7693), keyed by the mechanism's name; then
h_j(x) = (a_j x_low + b_j x_high + c_j mod 2^64) div 2^(64 - log2 m), with x in two halves of 32
bits: strongly universal (Thorup 2015, "High Speed Hashing for Integers and Strings", section 3.5).
So two keys meet in a row with probability 1/m over the choice of a, b, c, which are expanded from
the same name: everybody has the same hashes.

**Error.** With V the variance of one report's debiased column, the mechanism's own, and n_j(w) the
devices that chose row j and have key w:

    Var = (m/(m - 1))² · ( n V + Σ_j Σ_w n_j(w)² · 1/m (1 - 1/m) ),

the second part being collisions, over the choice of the hashes: in all about F₂ / (hashes · m) with
F₂ = Σ_w n(w)². It is estimated from the table itself: Σ_c M_j[c]² less its noise, m n_j V. That
counts the key's own part too, so the standard error errs upward for frequent keys.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tacit.errors import PrivacyError
from tacit.privacy.histogram import wrong_parameters
from tacit.privacy.local.draws import Draws, Integers
from tacit.privacy.local.estimate import Floats, LocalEstimate
from tacit.privacy.local.messages import Bodies, check_whole
from tacit.privacy.local.oracle import LocalOracle
from tacit.privacy.mechanism import ID_BYTES, Report
from tacit.privacy.randomness import Randomness, expand64

LARGEST_TABLE = 1 << 24
LONGEST_KEY = 1 << 16
_NO_KEY = b""  # what "nothing" is hashed as


class Hashes:
    """Public hash functions of byte strings: `count` rows, to columns 0 to `width` - 1, 2^j."""

    def __init__(self, name: str, count: int, width: int) -> None:
        self._seed = hashlib.blake2b(name.encode(), digest_size=32, person=b"tacit sketch").digest()
        words = expand64(self._seed, 3 * count, domain=b"tacit sketch hashes")
        self._a, self._b, self._c = words.reshape(3, count)
        self._shift = np.uint64(64 - (width.bit_length() - 1))

    def digest(self, keys: Sequence[bytes]) -> npt.NDArray[np.uint64]:
        """64 bits for each key; shape (n,)."""
        raw = b"".join(hashlib.blake2b(key, key=self._seed, digest_size=8).digest() for key in keys)
        return np.frombuffer(raw, "<u8").astype(np.uint64)

    def columns(self, rows: Integers, digests: npt.NDArray[np.uint64]) -> Integers:
        """The column of each digest in the row that stands with it; any shapes that broadcast."""
        low, high = digests & np.uint64(0xFFFFFFFF), digests >> np.uint64(32)
        with np.errstate(over="ignore"):  # modulo 2^64 is meant; single numbers would warn
            mixed = self._a[rows] * low + self._b[rows] * high + self._c[rows]
        return (mixed >> self._shift).astype(np.int64)


class Sketch(LocalOracle):
    """A count-mean sketch. `hashes` rows and `width` columns, a power of two from 2 on.

    As a release it is of the codes of a public domain, of any size; `encode_key` and
    `estimate_keys` are for keys that nobody has listed. Raises PrivacyError T534 as `LocalOracle`.
    """

    parameters: ClassVar[tuple[str, ...]] = (*LocalOracle.parameters, "hashes", "width")

    def __init__(
        self, size: int, devices_max: int, epsilon: float, name: str, hashes: int, width: int
    ) -> None:
        check_whole("hashes", hashes, 1 << 16)
        check_whole("width", width, 1 << 20, 2)
        if width & (width - 1) or hashes * width > LARGEST_TABLE:
            raise wrong_parameters(
                f"a sketch of {hashes} rows and {width} columns: columns are a power of two, and a"
                f" table has at most {LARGEST_TABLE} cells"
            )
        self.hashes, self.width = hashes, width
        super().__init__(size, devices_max, epsilon, name)

    def prepare(self, epsilon: Fraction) -> None:
        """Makes the hashes; the tally is a table, and the reports of each row."""
        self.functions = Hashes(self.name, self.hashes, self.width)
        self._codes: npt.NDArray[np.uint64] | None = None
        self.cells = self.hashes * self.width + self.hashes
        self.unit = 0.0
        self.noise(epsilon)

    @abstractmethod
    def noise(self, epsilon: Fraction) -> None:
        """Sets the threshold, `body_bytes`, and `unit`: V of the module."""

    @abstractmethod
    def report(self, rows: Integers, columns: Integers, draws: Draws) -> Bodies:
        """Bodies of devices that chose these rows and have these columns there."""

    @abstractmethod
    def table(self, sums: Integers, counts: Integers) -> Floats:
        """M (hashes, width) of the tally's sums (hashes, width) and the reports of each row."""

    # ------------------------------------------------------------------ codes of a domain

    @property
    def digests(self) -> npt.NDArray[np.uint64]:
        """Of every code, and of nothing; made when first asked for."""
        if self._codes is None:
            keys = [b"code %d" % code for code in range(self.size)]
            self._codes = self.functions.digest([*keys, _NO_KEY])
        return self._codes

    def randomise(self, codes: Integers, draws: Draws) -> Bodies:
        """A random row, and the randomised column of the code in it."""
        if len(codes) == 1:  # a device does not hash the whole domain for one report
            code = int(codes[0])
            digests = self.functions.digest([_NO_KEY if code == self.size else b"code %d" % code])
        else:
            digests = self.digests[codes]
        return self._randomise(digests, draws)

    def _randomise(self, digests: npt.NDArray[np.uint64], draws: Draws) -> Bodies:
        rows = draws.below(self.hashes, len(digests))
        return self.report(rows, self.functions.columns(rows, digests), draws)

    def debias(self, tally: Integers, reports: int) -> tuple[Floats, Floats]:
        """See the module."""
        return self._estimate(tally, reports, self.digests)

    def variance(self, count: float, reports: float) -> float:
        """`Var` of the module without collisions, which are no matter of the reports' noise."""
        m = self.width
        return reports * self.unit * (m / (m - 1)) ** 2

    # ------------------------------------------------------------------ keys that nobody listed

    def encode_key(self, key: bytes, randomness: Randomness) -> Report:
        """The report of a device whose value is any byte string. Raises PrivacyError T533."""
        _check_key(key)
        body = self._randomise(self.functions.digest([b"key " + key]), Draws(randomness))
        return Report(randomness.bytes(ID_BYTES), (self.tag + body.tobytes(),))

    def encode_keys(self, keys: Sequence[bytes], randomness: Randomness) -> npt.NDArray[np.uint8]:
        """The messages (n, report_bytes) of many devices, for populations that are simulated."""
        for key in keys:
            _check_key(key)
        digests = self.functions.digest([b"key " + key for key in keys])
        return self.stamped(self._randomise(digests, Draws(randomness)))

    def estimate_keys(self, aggregates: Sequence[bytes], keys: Sequence[bytes]) -> LocalEstimate:
        """Estimates of any keys, in their order; `nothing` is that of devices without a value."""
        tally, reports = self.read(aggregates)
        for key in keys:
            _check_key(key)
        if reports == 0:
            zeros = np.zeros(len(keys))
            return LocalEstimate(zeros, zeros.copy(), 0, 0.0)
        digests = self.functions.digest([*(b"key " + key for key in keys), _NO_KEY])
        estimates, errors = self._estimate(tally, reports, digests)
        return LocalEstimate(estimates[:-1], errors[:-1], reports, float(estimates[-1]))

    # ------------------------------------------------------------------ inside

    def _estimate(
        self, tally: Integers, reports: int, digests: npt.NDArray[np.uint64]
    ) -> tuple[Floats, Floats]:
        h, m = self.hashes, self.width
        counts = tally[h * m :]
        table = self.table(tally[: h * m].reshape(h, m), counts)
        found = np.zeros(len(digests))
        for row in range(h):
            found += table[row][self.functions.columns(np.array(row), digests)]
        squares = (table**2).sum(axis=1) - m * counts * self.unit
        collisions = np.maximum(squares, 0.0).sum() / m
        error = m / (m - 1) * np.sqrt(reports * self.unit + collisions)
        return m / (m - 1) * (found - reports / m), np.full(len(digests), error)

    def possible(self, tally: Integers, reports: int) -> bool:
        """The rows hold all reports, and no cell has more than its row."""
        h, m = self.hashes, self.width
        sums, counts = tally[: h * m].reshape(h, m), tally[h * m :]
        if not ((counts >= 0) & (counts <= reports)).all() or int(counts.sum()) != reports:
            return False
        most = counts[:, None]  # not by abs: the least of 64 bits has none
        return bool(((sums >= -most) & (sums <= most)).all())


def _check_key(key: bytes) -> None:
    if not isinstance(key, bytes) or not 0 < len(key) <= LONGEST_KEY:
        raise PrivacyError(
            "a key is not bytes, is empty or is too long",
            code="T533",
            fix=f"pass 1 to {LONGEST_KEY} bytes",
        )
