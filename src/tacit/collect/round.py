"""One collection: the parties between the devices and the learner, in one process.

The leader and the helper each hold only the messages meant for them. They agree on the reports that
reached both, each adds its own noise, and each hands one aggregate to the collector. Below a
minimum of reports nothing is combined at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tacit.errors import PrivacyError
from tacit.govern.reservation import Reservation
from tacit.privacy.mechanism import Mechanism, Report
from tacit.privacy.randomness import Randomness, system

TOGETHER = 1024
"""Reports that are looked at together: quicker than one by one, and little to hold."""


class Aggregator:
    """One of the parties that add up. It keeps messages for its own index and no other."""

    def __init__(self, mechanism: Mechanism[Any], index: int, randomness: Randomness) -> None:
        self._mechanism = mechanism
        self._index = index
        self._randomness = randomness
        self._admitted: dict[bytes, bytes] = {}
        self.refused: dict[bytes, PrivacyError] = {}

    def receive(self, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Takes (report id, message) pairs; a malformed or repeated one is refused, by id."""
        fresh = []
        for report, message in messages:
            if report in self._admitted or report in self.refused:
                error = _repeated(report)
                self.refused.setdefault(report, error)
            else:
                fresh.append((report, message))
        good, bad = self._mechanism.admit(self._index, fresh)
        self._admitted.update(good)
        self.refused.update(bad)

    @property
    def reports(self) -> frozenset[bytes]:
        """The ids of the reports it could combine."""
        return frozenset(self._admitted)

    def combine(self, agreed: frozenset[bytes], minimum: int) -> bytes:
        """Its noisy aggregate of the agreed reports; afterwards it holds no message any more.

        It counts what it holds itself: others may agree on anything. Raises PrivacyError T537 when
        it does not hold all that were agreed on, T541 when these are fewer than `minimum`.
        """
        missing = agreed - self._admitted.keys()
        if missing:
            raise PrivacyError(
                f"{len(missing)} reports were agreed on that it does not hold",
                code="T537",
                where=f"aggregator {self._index}",
                fix="combine only what every aggregator admitted; nothing was released",
            )
        if len(agreed) < minimum:
            raise PrivacyError(
                f"fewer reports arrived than the {minimum} that may be summed",
                code="T541",
                where=f"aggregator {self._index}",
                fix="wait for more devices; nothing was released",
            )
        messages = [(report, self._admitted[report]) for report in sorted(agreed)]
        self._admitted.clear()
        return self._mechanism.combine(self._index, messages, self._randomness)


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection gives: an aggregate of each party, and how many reports stand behind them.

    The aggregates carry their noise; `Mechanism.decode` makes the released value of them. `refused`
    counts the reports that did not reach every party in good form, and the repetitions.
    """

    aggregates: tuple[bytes, ...]
    reports: int
    refused: int


class Collection:
    """A collection with its parties; feed it reports as they come, then `close` it once.

    It cannot be made without a reservation in the privacy ledger, and nothing leaves it but what
    the reservation paid for.
    """

    def __init__(
        self,
        mechanism: Mechanism[Any],
        reservation: Reservation,
        *,
        minimum: int,
        randomness: Randomness | None = None,
    ) -> None:
        if reservation.state != "reserved":
            raise PrivacyError(
                f"the ledger has this release as {reservation.state}, not as reserved",
                code="T543",
                where=repr(reservation),
                fix="reserve a new epoch; a release is collected once",
            )
        self._minimum = minimum
        self._came = 0
        noise = randomness or system()
        self.aggregators: Sequence[Aggregator] = tuple(
            Aggregator(mechanism, index, noise) for index in range(mechanism.aggregators)
        )

    def receive(self, reports: Iterable[Report]) -> None:
        """Takes each report apart: every aggregator gets its own message, and only that.

        One that is malformed, foreign or a repetition is refused; the others are taken.
        """
        stream, parties = iter(reports), len(self.aggregators)
        while some := list(islice(stream, TOGETHER)):
            self._came += len(some)
            whole = [r for r in some if isinstance(r.id, bytes) and len(r.messages) == parties]
            for index, aggregator in enumerate(self.aggregators):
                aggregator.receive((report.id, report.messages[index]) for report in whole)

    def close(self) -> Collected:
        """Combines at every aggregator. Raises PrivacyError T541 below the minimum.

        The caller commits the reservation before it decodes or publishes anything.
        """
        agreed = frozenset.intersection(*(a.reports for a in self.aggregators))
        aggregates = tuple(a.combine(agreed, self._minimum) for a in self.aggregators)
        return Collected(aggregates, len(agreed), self._came - len(agreed))


def _repeated(report: bytes) -> PrivacyError:
    return PrivacyError(
        f"report {report.hex()} came twice",
        code="T535",
        fix="send each report once; the first one counts",
    )
