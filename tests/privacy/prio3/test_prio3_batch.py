"""Batches give the bytes of the plain protocol, and refuse the same reports, each alone."""

from __future__ import annotations

from typing import Any

import pytest

from tacit.privacy import prio3
from tacit.privacy.prio3.batch import Batch, Outcomes
from tacit.privacy.prio3.prio3 import Prio3
from tacit.privacy.randomness import unsafe_seeded

CONTEXT = b"a batch"
KEY = bytes(range(32))

CASES: dict[str, tuple[Prio3[Any, Any], list[Any]]] = {
    "count": (prio3.count(), [0, 1, 1, 0, 1, 1, 1, 0, 0, 1, True]),
    "count of 3": (prio3.count(shares=3), [1, 0, 1]),
    "sum": (prio3.sum_(1337), [0, 1, 1337, 1336, 1024, 1023, 17, 313, 314]),
    "sum of one bit": (prio3.sum_(1), [0, 1]),
    "sum_vec": (prio3.sum_vec(5, 9, 3), [[0, 9, 8, 1, 7], [9, 9, 9, 9, 9], [0, 0, 0, 0, 0]]),
    "multiproof": (prio3.sum_vec_with_multiproof(4, 5, 3, shares=3), [[1, 2, 3, 5], [0, 0, 4, 4]]),
    "histogram": (prio3.histogram(11, 3, shares=3), [0, 10, 5, 5, 2, 1, 0, 0, 9]),
    "one bucket": (prio3.histogram(1), [0, 0]),
    "best chunk": (prio3.histogram(100), list(range(0, 100, 7))),
    "multihot": (
        prio3.multihot_count_vec(7, 3, 2),
        [[1, 0, 1, 0, 1, 0, 0], [0] * 7, [0] * 6 + [1]],
    ),
    "multihot, all": (prio3.multihot_count_vec(4, 4, 4), [[1, 1, 1, 1], [0, 1, 0, 1]]),
}


def sharded(one: Prio3[Any, Any], measurements: list[Any]) -> tuple[list[bytes], list[bytes]]:
    randomness = unsafe_seeded(len(measurements))
    nonces = [randomness.bytes(16) for _ in measurements]
    return nonces, [randomness.bytes(one.rand_bytes) for _ in measurements]


@pytest.mark.parametrize("name", CASES)
def test_a_batch_is_the_plain_protocol(name: str) -> None:
    one, measurements = CASES[name]
    batch = Batch(one)
    assert batch.compiled
    nonces, rands = sharded(one, measurements)
    reports = batch.shard(CONTEXT, measurements, nonces, rands)
    assert reports == [
        one.shard(CONTEXT, m, n, r) for m, n, r in zip(measurements, nonces, rands, strict=True)
    ]
    public = [report[0] for report in reports]
    opened: list[Outcomes[Any]] = []
    for index in range(one.layout.shares):
        shares = [report[1][index] for report in reports]
        opened.append(batch.verify_init(KEY, CONTEXT, index, nonces, public, shares))
        plain = [
            one.verify_init(KEY, CONTEXT, index, n, p, s)
            for n, p, s in zip(nonces, public, shares, strict=True)
        ]
        assert opened[-1].refused == {}
        assert [opened[-1].accepted[i] for i in range(len(reports))] == plain
    rows = [[part.accepted[i][1] for part in opened] for i in range(len(reports))]
    decided = batch.verifier_shares_to_message(CONTEXT, rows)
    assert decided.refused == {}
    messages = [decided.accepted[i] for i in range(len(reports))]
    assert messages == [one.verifier_shares_to_message(CONTEXT, row) for row in rows]
    aggregates = []
    for part in opened:
        states = [part.accepted[i][0] for i in range(len(reports))]
        outs = batch.verify_next(states, messages)
        assert outs.refused == {}
        aggregates.append(batch.aggregate(outs.accepted.values()))
        assert aggregates[-1] == one.aggregate(outs.accepted.values())
    assert batch.unshard(aggregates, len(reports)) == plain_sum(one, measurements)


def plain_sum(one: Prio3[Any, Any], measurements: list[Any]) -> Any:
    if one.circuit.key == "histogram":
        return [measurements.count(i) for i in range(one.circuit.output_len)]
    if isinstance(measurements[0], list):
        return [sum(column) for column in zip(*measurements, strict=True)]
    return sum(measurements)
