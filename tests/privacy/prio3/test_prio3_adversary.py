"""Reports that somebody tampered with: each is refused alone, by PrivacyError and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from tacit.errors import PrivacyError
from tacit.privacy import prio3
from tacit.privacy.prio3.batch import Batch, Outcomes
from tacit.privacy.prio3.prio3 import Prio3
from tacit.privacy.prio3.roles import VerifyState
from tacit.privacy.randomness import unsafe_seeded

CONTEXT, KEY = b"adversary", bytes(range(32))
Reports = list[list[bytes]]  # of each report: nonce, public share, leader's share, helper's share

ONES: dict[str, tuple[Prio3[Any, Any], list[Any]]] = {
    "count": (prio3.count(), [1] * 12),
    "sum": (prio3.sum_(100), list(range(12))),
    "sum_vec": (prio3.sum_vec(3, 6, 2), [[1, 2, 6]] * 12),
    "multiproof": (prio3.sum_vec_with_multiproof(3, 6, 2), [[1, 2, 6]] * 12),
    "histogram": (prio3.histogram(5, 2), [i % 5 for i in range(12)]),
    "multihot": (prio3.multihot_count_vec(5, 2, 2), [[0, 1, 0, 1, 0]] * 12),
    "version 8": (prio3.histogram(4, 2, version=8), [i % 4 for i in range(12)]),
}


def fresh(name: str) -> tuple[Prio3[Any, Any], Reports]:
    one, measurements = ONES[name]
    context = CONTEXT if one.layout.profile.has_context else b""
    randomness = unsafe_seeded(7)
    reports = []
    for measurement in measurements:
        nonce = randomness.bytes(16)
        public, shares = one.shard(context, measurement, nonce, randomness.bytes(one.rand_bytes))
        reports.append([nonce, public, *shares])
    return one, reports


def verify(one: Prio3[Any, Any], reports: Reports) -> Outcomes[list[bytes]]:
    """Runs the whole of it in batches, and checks that report by report gives the same."""
    batch = Batch(one)
    context = CONTEXT if one.layout.profile.has_context else b""
    key = KEY[: one.verify_key_bytes]
    columns = list(zip(*reports, strict=True))
    result: Outcomes[list[bytes]] = Outcomes()
    opened = [
        batch.verify_init(key, context, i, columns[0], columns[1], columns[2 + i]) for i in (0, 1)
    ]
    for part in opened:
        result.refused |= part.refused
    alive = [i for i in range(len(reports)) if i not in result.refused]
    decided = batch.verifier_shares_to_message(
        context, [[part.accepted[i][1] for part in opened] for i in alive]
    )
    result.refused |= {alive[k]: refusal for k, refusal in decided.refused.items()}
    alive = [i for k, i in enumerate(alive) if k in decided.accepted]
    messages = list(decided.accepted.values())
    outs = [batch.verify_next([part.accepted[i][0] for i in alive], messages) for part in opened]
    for k, i in enumerate(alive):
        for part in outs:
            result.refused |= {i: part.refused[k]} if k in part.refused else {}
        if i not in result.refused:
            result.accepted[i] = [part.accepted[k] for part in outs]
    for i, report in enumerate(reports):
        assert plainly(one, key, context, report) == (
            result.accepted[i] if i in result.accepted else result.refused[i].code
        )
    return result


def plainly(one: Prio3[Any, Any], key: bytes, context: bytes, report: list[bytes]) -> Any:
    try:
        opened = [
            one.verify_init(key, context, i, report[0], report[1], report[2 + i]) for i in (0, 1)
        ]
        message = one.verifier_shares_to_message(context, [share for _, share in opened])
        return [one.verify_next(state, message) for state, _ in opened]
    except PrivacyError as refusal:
        return refusal.code


def bump(share: bytes, at: int, one: Prio3[Any, Any]) -> bytes:
    """One added to element `at`."""
    size, modulus = one.field.size, one.field.modulus
    value = int.from_bytes(share[at * size : (at + 1) * size], "little")
    raised = ((value + 1) % modulus).to_bytes(size, "little")
    return share[: at * size] + raised + share[(at + 1) * size :]


def off_by_one(one: Prio3[Any, Any], reports: Reports) -> None:
    reports[3][2] = bump(reports[3][2], 0, one)


def off_in_the_proof(one: Prio3[Any, Any], reports: Reports) -> None:
    reports[3][2] = bump(reports[3][2], one.circuit.meas_len, one)


def last_point_of_the_proof(one: Prio3[Any, Any], reports: Reports) -> None:
    at = one.circuit.meas_len + one.circuit.proof_len - 1
    reports[3][2] = bump(reports[3][2], at, one)


def foreign_proof(one: Prio3[Any, Any], reports: Reports) -> None:
    cut, end = one.layout.meas_bytes, one.layout.meas_bytes + one.layout.proof_bytes
    mine, other = reports[3][2], reports[4][2]
    reports[3][2] = mine[:cut] + other[cut:end] + mine[end:]


def foreign_helper(one: Prio3[Any, Any], reports: Reports) -> None:
    reports[3][3] = reports[4][3]


def foreign_nonce(one: Prio3[Any, Any], reports: Reports) -> None:
    # Without joint randomness the nonce is bound to nothing that the client made.
    reports[3][0] = reports[4][0] if one.layout.has_joint else b""


def past_the_modulus(one: Prio3[Any, Any], reports: Reports) -> None:
    size = one.field.size
    reports[3][2] = one.field.modulus.to_bytes(size, "little") + reports[3][2][size:]


def proof_past_the_modulus(one: Prio3[Any, Any], reports: Reports) -> None:
    at, size = one.layout.meas_bytes, one.field.size
    share = reports[3][2]
    reports[3][2] = share[:at] + b"\xff" * size + share[at + size :]


def truncated(one: Prio3[Any, Any], reports: Reports) -> None:
    reports[3][2] = reports[3][2][:-1]


def too_long(one: Prio3[Any, Any], reports: Reports) -> None:
    reports[3][3] += b"\0"


def empty(one: Prio3[Any, Any], reports: Reports) -> None:
    reports[3][2] = reports[3][3] = b""


def wrong_public(one: Prio3[Any, Any], reports: Reports) -> None:
    public = reports[3][1]
    reports[3][1] = bytes(len(public)) if public else b"\0"


ATTACKS: list[Callable[[Prio3[Any, Any], Reports], None]] = [
    off_by_one, off_in_the_proof, last_point_of_the_proof, foreign_proof, foreign_helper,
    foreign_nonce, past_the_modulus, proof_past_the_modulus, truncated, too_long, empty,
    wrong_public,
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("name", ONES)
def test_a_bad_report_is_refused_alone(name: str, attack: Callable[..., None]) -> None:
    one, reports = fresh(name)
    attack(one, reports)
    result = verify(one, reports)
    assert set(result.refused) == {3}
    assert set(result.accepted) == set(range(12)) - {3}
    assert result.refused[3].code in ("T552", "T553", "T554")


@pytest.mark.parametrize("name", ["sum_vec", "histogram", "multihot", "count"])
def test_a_false_measurement_with_a_proof_of_its_own_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that proves what is not true: its circuit lies, its arithmetic is right."""
    one, reports = fresh(name)
    false = [2] + [0] * (one.circuit.meas_len - 1)
    monkeypatch.setattr(one.circuit, "encode", lambda measurement: false)
    public, shares = one.shard(CONTEXT, 0, bytes(16), bytes(one.rand_bytes))
    monkeypatch.undo()
    result = verify(one, [*reports, [bytes(16), public, *shares]])
    assert {i: refusal.code for i, refusal in result.refused.items()} == {12: "T553"}


def test_two_buckets_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    one, reports = fresh("histogram")
    monkeypatch.setattr(one.circuit, "encode", lambda measurement: [1, 1, 0, 0, 0])
    public, shares = one.shard(CONTEXT, 0, bytes(16), bytes(one.rand_bytes))
    assert set(verify(one, [*reports, [bytes(16), public, *shares]]).refused) == {12}


def test_another_key_or_context_or_role_accepts_nothing() -> None:
    one, reports = fresh("histogram")
    columns = list(zip(*reports, strict=True))
    batch = Batch(one)
    good = batch.verify_init(KEY, CONTEXT, 0, columns[0], columns[1], columns[2]).accepted
    for key, context in ((bytes(32), CONTEXT), (KEY, b"another task")):
        other = batch.verify_init(key, context, 1, columns[0], columns[1], columns[3]).accepted
        rows = [[good[i][1], other[i][1]] for i in range(12)]
        assert set(batch.verifier_shares_to_message(CONTEXT, rows).refused) == set(range(12))
    swapped = batch.verify_init(KEY, CONTEXT, 0, columns[0], columns[1], columns[3])
    assert {refusal.code for refusal in swapped.refused.values()} == {"T552"}


def test_a_point_that_leaks_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hash can be steered to such a point, so the point itself is put in its place."""
    one, reports = fresh("count")
    monkeypatch.setattr(
        "tacit.privacy.prio3.prio3.expand_into_vec", lambda *arguments: [1] * arguments[-1]
    )
    with pytest.raises(PrivacyError, match="root of unity"):
        one.verify_init(KEY, CONTEXT, 0, reports[0][0], b"", reports[0][2])
    monkeypatch.undo()
    from tacit.privacy.prio3.streams import Streams

    monkeypatch.setattr(Streams, "expand", lambda self, usage, rows, *rest: _ones(rows))
    columns = list(zip(*reports, strict=True))
    result = Batch(one).verify_init(KEY, CONTEXT, 0, columns[0], columns[1], columns[2])
    assert {refusal.code for refusal in result.refused.values()} == {"T555"}


def _ones(rows: int) -> Any:
    import numpy as np

    return np.ones((rows, 1), np.uint64)


@settings(max_examples=examples(60))
@given(st.data())
def test_decoders_meet_any_bytes(data: st.DataObject) -> None:
    """Whatever comes in, out comes a result or PrivacyError; and batches agree on which."""
    name = data.draw(st.sampled_from(sorted(ONES)))
    one, reports = fresh(name)
    report = data.draw(st.integers(0, 11))
    part = data.draw(st.integers(0, 3))
    original = reports[report][part]
    mutated = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        if mutated and data.draw(st.booleans()):
            mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
        else:
            cut = data.draw(st.integers(0, len(mutated)))
            mutated = mutated[:cut] + bytearray(data.draw(st.binary(max_size=20)))
    reports[report][part] = bytes(mutated)
    result = verify(one, reports)
    assert set(result.refused) <= {report}


@pytest.mark.parametrize("name", ONES)
def test_malformed_verifier_messages(name: str) -> None:
    one, reports = fresh(name)
    batch = Batch(one)
    context = CONTEXT if one.layout.profile.has_context else b""
    key = KEY[: one.verify_key_bytes]
    opened = [one.verify_init(key, context, i, *reports[0][:2], reports[0][2 + i]) for i in (0, 1)]
    good = [share for _, share in opened]
    rows = [
        good, good[:1], [*good, good[0]], [], [good[0][:-1], good[1]], [b"", b""],
        [b"\xff" * len(good[0]), good[1]], [good[1], good[1]], good,
    ]  # fmt: skip
    outcomes = batch.verifier_shares_to_message(context, rows)
    assert set(outcomes.accepted) == {0, 8}
    codes = [outcomes.refused[i].code for i in range(1, 8)]
    assert codes[:6] == ["T552"] * 6
    assert codes[6] in ("T553", "T554")
    states = [opened[0][0]] * 3
    wrong = [outcomes.accepted[0], b"\1" * 32, outcomes.accepted[0] + b"\0"]
    assert set(batch.verify_next(states, wrong).refused) == {1, 2}
    for shares in ([b""], [b"\xff" * one.layout.out_share_bytes]):
        for aggregate in (one.aggregate, batch.aggregate):
            with pytest.raises(PrivacyError) as refusal:
                aggregate(shares)
            assert refusal.value.code == "T552"


def test_states_and_errors_show_no_share() -> None:
    state = VerifyState(b"secret out share", b"seed")
    assert "secret" not in repr(state)
    with pytest.raises(PrivacyError) as refusal:
        prio3.sum_(5).shard(CONTEXT, 123456, bytes(16), bytes(64))
    assert refusal.value.code == "T551"
    assert "123456" not in str(refusal.value)
