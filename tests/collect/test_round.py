"""A collection refuses what it should, goes on with the rest, and releases nothing by accident."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tacit.collect.round import Aggregator, Collection
from tacit.errors import PrivacyError
from tacit.govern.ledger import Budget, Ledger, Reservation
from tacit.privacy import vector_sum
from tacit.privacy.histogram import Histogram, HistogramSum
from tacit.privacy.mechanism import Report
from tacit.privacy.randomness import unsafe_seeded
from tacit.store.control import ControlStore

RANDOM = unsafe_seeded(1)
SUM = HistogramSum(8, 4.0, 64, 4.0, 1e-5, "demand")
OTHER = HistogramSum(8, 4.0, 64, 4.0, 1e-5, "another")


@pytest.fixture
def reservation(tmp_path: Path) -> Reservation:
    ledger = Ledger(ControlStore.create(tmp_path / "control"), [Budget("learn", 10.0, 1e-5)])
    return ledger.reserve("learn", "demand", SUM.claim(), 0)


def report(device: int, mechanism: HistogramSum = SUM) -> Report:
    codes = np.array([device % 8], np.int64)
    return mechanism.encode(Histogram(codes, np.array([2.0])), RANDOM)


def test_the_sum_is_of_every_report_once(
    reservation: Reservation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        vector_sum, "discrete_gaussian", lambda _, length, __: np.zeros(length, np.int64)
    )
    collection = Collection(SUM, reservation, minimum=20)
    reports = [report(device) for device in range(24)]
    collection.receive(reports)
    collection.receive(reports[:5])
    found = collection.close()
    assert (found.reports, found.refused) == (24, 5)
    assert SUM.decode(found.aggregates).estimates == pytest.approx([6.0] * 8, abs=1e-9)


def test_below_the_minimum_nothing_is_combined(reservation: Reservation) -> None:
    collection = Collection(SUM, reservation, minimum=20)
    collection.receive(report(device) for device in range(19))
    collection.receive([report(0, OTHER)])
    with pytest.raises(PrivacyError, match="fewer reports arrived than the 20") as refused:
        collection.close()
    assert "19" not in str(refused.value)  # how many there were is of people, too
    assert refused.value.code == "T541"
    assert reservation.state == "reserved"
    collection.receive([report(19)])  # the twentieth came late
    assert collection.close().reports == 20


def test_bad_reports_stop_nobody_else(reservation: Reservation) -> None:
    good = [report(device) for device in range(20)]
    fine = report(20)
    bad = [
        good[3],  # twice
        replace(good[0], messages=good[1].messages),  # another's messages
        report(0, OTHER),  # of another release
        Report(fine.id, fine.messages[:1]),  # to the leader only
        Report(fine.id, (*fine.messages, b"")),
        Report(bytes(16), (b"", b"")),
        Report(b"short", fine.messages),
        Report("text", fine.messages),  # type: ignore[arg-type]
        Report(bytes(15) + b"x", ("text", None)),  # type: ignore[arg-type]
        replace(report(1), messages=report(2).messages[::-1]),
    ]
    collection = Collection(SUM, reservation, minimum=20)
    for at, each in enumerate(good):
        collection.receive([each, *bad[at : at + 1]])
    found = collection.close()
    assert (found.reports, found.refused) == (20, len(bad))
    SUM.decode(found.aggregates)


def test_what_reached_one_party_only_is_left_out_by_both(reservation: Reservation) -> None:
    collection = Collection(SUM, reservation, minimum=20)
    collection.receive(report(device) for device in range(20))
    cut = report(20)
    collection.receive([replace(cut, messages=(cut.messages[0][:-1], cut.messages[1]))])
    leader, helper = collection.aggregators
    assert cut.id in helper.reports - leader.reports
    assert leader.refused[cut.id].code == "T531"
    assert collection.close().reports == 20


def test_parties_that_combine_different_reports_give_nothing() -> None:
    parties = [Aggregator(SUM, index, RANDOM) for index in range(2)]
    reports = [report(device) for device in range(21)]
    for index, party in enumerate(parties):
        party.receive((r.id, r.messages[index]) for r in reports)
    every = frozenset(r.id for r in reports)
    leader = parties[0].combine(every, 20)
    helper = parties[1].combine(every - {reports[0].id}, 20)
    with pytest.raises(PrivacyError) as refused:
        SUM.decode([leader, helper])
    assert refused.value.code == "T537"


def test_an_aggregator_counts_for_itself() -> None:
    """Told that twenty agreed, of which it holds one, it must not hand over that one."""
    party = Aggregator(SUM, 0, RANDOM)
    only = report(0)
    party.receive([(only.id, only.messages[0])])
    agreed = frozenset([only.id, *(bytes([i]) * 16 for i in range(19))])
    with pytest.raises(PrivacyError) as refused:
        party.combine(agreed, 20)
    assert refused.value.code == "T537"


def test_it_combines_once(reservation: Reservation) -> None:
    collection = Collection(SUM, reservation, minimum=20)
    collection.receive(report(device) for device in range(20))
    collection.close()
    with pytest.raises(PrivacyError) as refused:
        collection.close()
    assert refused.value.code == "T541"


@pytest.mark.parametrize("state", ["committed", "refunded"])
def test_only_a_reserved_release_is_collected(reservation: Reservation, state: str) -> None:
    if state == "committed":
        reservation.commit(b"aggregates")
    else:
        reservation.refund("nothing was published")
    with pytest.raises(PrivacyError, match=state) as refused:
        Collection(SUM, reservation, minimum=20)
    assert refused.value.code == "T543"
