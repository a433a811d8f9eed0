"""What holds for all measurements, elements and streams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from Crypto.Hash import TurboSHAKE128
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from examples import examples
from tacit.errors import PrivacyError
from tacit.privacy import prio3
from tacit.privacy.prio3 import keccak, limbs
from tacit.privacy.prio3.batch import Batch
from tacit.privacy.prio3.circuit import bit_weights, encode_bits
from tacit.privacy.prio3.circuits import best_chunk_length
from tacit.privacy.prio3.encode import encode_rows
from tacit.privacy.prio3.field import FIELD64, FIELD128, Field
from tacit.privacy.prio3.layout import Layout
from tacit.privacy.prio3.ntt import evaluate, inverse_ntt, lagrange_weights, ntt
from tacit.privacy.prio3.prio3 import Prio3
from tacit.privacy.prio3.profile import Usage
from tacit.privacy.prio3.streams import Streams
from tacit.privacy.prio3.xof import expand_into_vec
from tacit.privacy.randomness import unsafe_seeded

FIELDS = [FIELD64, FIELD128]


@st.composite
def populations(draw: st.DrawFn) -> tuple[Prio3[Any, Any], list[Any], Any]:
    """A variant, measurements for it, and their plain sum."""
    chosen: dict[str, Any] = {"shares": draw(st.integers(2, 4))}
    n = draw(st.integers(1, 10))

    def some(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=n, max_size=n))

    kind = draw(st.sampled_from(["count", "sum", "sum_vec", "histogram", "multihot"]))
    length, chunk = draw(st.integers(1, 12)), draw(st.integers(1, 14))
    greatest = draw(st.integers(1, 2**40))
    if kind == "count":
        bits = some(st.integers(0, 1))
        return prio3.count(**chosen), bits, sum(bits)
    if kind == "sum":
        numbers = some(st.integers(0, greatest))
        return prio3.sum_(greatest, **chosen), numbers, sum(numbers)
    if kind == "histogram":
        buckets = some(st.integers(0, length - 1))
        one: Prio3[Any, Any] = prio3.histogram(length, chunk, **chosen)
        return one, buckets, [buckets.count(i) for i in range(length)]
    if kind == "sum_vec":
        one = prio3.sum_vec(length, greatest, chunk, **chosen)
        top = greatest
    else:
        one = prio3.multihot_count_vec(length, length, chunk, **chosen)
        top = 1
    vectors = some(st.lists(st.integers(0, top), min_size=length, max_size=length))
    return one, vectors, [sum(column) for column in zip(*vectors, strict=True)]


@settings(max_examples=examples(60))
@given(populations(), st.integers())
def test_the_result_is_the_plain_sum(
    population: tuple[Prio3[Any, Any], list[Any], Any], seed: int
) -> None:
    one, measurements, expected = population
    batch, randomness, n = Batch(one), unsafe_seeded(seed), len(population[1])
    key, nonces = randomness.bytes(32), [randomness.bytes(16) for _ in range(n)]
    rands = [randomness.bytes(one.rand_bytes) for _ in range(n)]
    reports = batch.shard(b"", measurements, nonces, rands)
    opened = [
        batch.verify_init(key, b"", i, nonces, [r[0] for r in reports], [r[1][i] for r in reports])
        for i in range(one.layout.shares)
    ]
    rows = [[part.accepted[i][1] for part in opened] for i in range(n)]
    messages = batch.verifier_shares_to_message(b"", rows).accepted
    aggregates = [
        batch.aggregate(
            batch.verify_next(
                [part.accepted[i][0] for i in range(n)], [messages[i] for i in range(n)]
            ).accepted.values()
        )
        for part in opened
    ]
    assert one.unshard(aggregates, n) == expected


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
@given(st.data())
def test_compiled_arithmetic_is_the_integers(field: Field, data: st.DataObject) -> None:
    p, m = field.modulus, limbs.modulus_of(field)
    edges = st.sampled_from(
        [0, 1, 2, p - 1, p - 2, p >> 1, 2**32, 2**64 % p, p - (1 << 33), p - 2**32]
    )
    a, b = (data.draw(edges | st.integers(0, p - 1)) for _ in range(2))
    inverse = pow(limbs.montgomery_radix(field), -1, p)
    x, y = limbs.limbs(a), limbs.limbs(b)
    product, total, difference = _compiled(x, y, m)
    assert _whole(product) == a * b * inverse % p
    assert _whole(total) == (a + b) % p
    assert _whole(difference) == (a - b) % p


@njit(cache=True)
def _compiled(x: Any, y: Any, m: Any) -> Any:
    return limbs.multiply(x, y, m), limbs.add(x, y, m), limbs.subtract(x, y, m)


def _whole(pair: tuple[Any, Any]) -> int:
    return int(pair[0]) | int(pair[1]) << 64


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
@given(st.data())
def test_polynomials_agree(field: Field, data: st.DataObject) -> None:
    """Values at roots, coefficients and Lagrange weights all describe one polynomial."""
    n = 1 << data.draw(st.integers(0, 4))
    count = data.draw(st.integers(1, n))
    element = st.integers(0, field.modulus - 1)
    f = data.draw(st.lists(element, min_size=count, max_size=count))
    x = data.draw(element | st.sampled_from([1, field.root(n), field.modulus - 1]))
    values = ntt(field, f, n)
    root = field.root(n)
    assert values == [evaluate(field, f, pow(root, i, field.modulus)) for i in range(n)]
    assert inverse_ntt(field, values)[:count] == f
    weights = lagrange_weights(field, n, count, x)
    assert field.dot(weights, values[:count]) == evaluate(field, f, x)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_roots_of_unity_have_their_order(field: Field) -> None:
    for n in (1, 2, 8, 1 << 20):
        root = field.root(n)
        assert pow(root, n, field.modulus) == 1
        assert n == 1 or pow(root, n // 2, field.modulus) == field.modulus - 1


@pytest.mark.parametrize("size", [0, 1, 166, 167, 168, 169, 500])
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (8, 168), (19, 400)])
def test_compiled_turboshake_is_the_libraries(size: int, rows: int, length: int) -> None:
    stream = unsafe_seeded(size).bytes(rows * size)
    messages = np.frombuffer(stream, np.uint8).reshape(rows, size)
    got = keccak.turboshake128(messages, length)
    for message, row in zip(messages, got, strict=True):
        expected = TurboSHAKE128.new(domain=1, data=message.tobytes()).read(length)
        assert row.tobytes() == expected


def test_batched_streams_skip_words_past_the_modulus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The draft's own seed for this, beside others, in a batch; its tag and binder are empty."""
    seed = bytes.fromhex("44341dc52d71a2ff2e4c305e9335da9b19afc68e10b8b543690dad9d3bbb46ba")
    monkeypatch.setattr(Layout, "tag", lambda self, usage, context: b"")
    streams, length = Streams(prio3.count().layout, b""), 13883
    seeds = np.frombuffer(bytes(32) + seed + bytes(range(32)), np.uint8).reshape(3, 32)
    words = streams.expand(Usage.MEAS_SHARE, 3, seeds, [], length)
    assert int(words[1, -1]) == 4857131209231097247
    spoken = prio3.count().layout.profile
    for row, raw in zip(words, seeds, strict=True):
        plain = expand_into_vec(spoken, FIELD64, raw.tobytes(), b"", b"", length)
        assert row.tolist() == plain


@given(st.integers(1, 2**70), st.data())
def test_bits_never_leave_the_range(greatest: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, greatest))
    weights = bit_weights(greatest)
    bits = encode_bits(value, greatest)
    assert sum(weights) == greatest
    assert set(bits) <= {0, 1}
    assert sum(w * b for w, b in zip(weights, bits, strict=True)) == value


@pytest.mark.parametrize("elements", [1, 2, 5, 100, 1000, 4096])
def test_the_best_chunk_has_the_shortest_proof(elements: int) -> None:
    def proof(chunk: int) -> int:
        return prio3.histogram(elements, chunk).circuit.proof_len

    assert proof(best_chunk_length(elements)) == min(map(proof, range(1, elements + 1)))


@given(st.data())
def test_rows_of_bits_are_the_plain_encoding(data: st.DataObject) -> None:
    greatest = data.draw(st.integers(1, 2**62))
    one = data.draw(
        st.sampled_from(
            [prio3.sum_(greatest), prio3.sum_vec(3, greatest), prio3.multihot_count_vec(3, 2)]
        )
    )
    top = 1 if one.circuit.key == "multihot_count_vec" else greatest
    number = st.integers(0, top)
    value = data.draw(number) if one.circuit.key == "sum" else data.draw(st.tuples(*[number] * 3))
    try:
        expected = one.circuit.encode(value)
    except PrivacyError:
        with pytest.raises(PrivacyError):
            encode_rows(one.circuit, [value])
    else:
        assert encode_rows(one.circuit, [value]).tolist() == [expected]


@pytest.mark.parametrize(
    ("one", "value"),
    [
        (prio3.count(), 2), (prio3.count(), -1), (prio3.count(), "1"), (prio3.count(), 0.5),
        (prio3.sum_(5), 6), (prio3.sum_(5), None), (prio3.histogram(4), 4),
        (prio3.histogram(4), -1), (prio3.sum_vec(2, 5), [1]), (prio3.sum_vec(2, 5), [1, 6]),
        (prio3.sum_vec(2, 5), 7), (prio3.sum_vec(2, 5), [1.0, 2.0]),
        (prio3.sum_vec(2, 5), [2**200, 0]), (prio3.sum_vec(2, 5), [True, -1]),
        (prio3.multihot_count_vec(3, 1), [1, 1, 0]), (prio3.multihot_count_vec(3, 1), [2, 0, 0]),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_not_sharded(one: Prio3[Any, Any], value: Any) -> None:
    rand = bytes(one.rand_bytes)
    for shard in (
        lambda: one.shard(b"", value, bytes(16), rand),
        lambda: Batch(one).shard(b"", [value], [bytes(16)], [rand]),
    ):
        with pytest.raises(PrivacyError) as refusal:
            shard()
        assert refusal.value.code == "T551"


@pytest.mark.parametrize(
    "make",
    [
        lambda: prio3.count(shares=1), lambda: prio3.count(shares=256),
        lambda: prio3.count(version=7), lambda: prio3.sum_(0), lambda: prio3.sum_(-5),
        lambda: prio3.sum_(2**64), lambda: prio3.sum_(5, version=8),
        lambda: prio3.histogram(0), lambda: prio3.histogram(2**40),
        lambda: prio3.histogram(5, -1), lambda: prio3.sum_vec(0, 3),
        lambda: prio3.sum_vec(2, 2**128), lambda: prio3.multihot_count_vec(3, 4),
        lambda: prio3.multihot_count_vec(3, 0),
        lambda: prio3.sum_vec_with_multiproof(3, 3, 3, proofs=2),
        lambda: prio3.sum_vec_with_multiproof(3, 3, 3, proofs=256),
    ],
)  # fmt: skip
def test_impossible_parameters_are_refused(make: Any) -> None:
    with pytest.raises(PrivacyError) as refusal:
        make()
    assert refusal.value.code == "T550"


def test_misuse_is_refused() -> None:
    one, batch = prio3.count(), Batch(prio3.count())
    old = prio3.count(version=8)
    misuses = [
        lambda: one.shard(b"", 1, bytes(16), bytes(3)),
        lambda: one.verify_init(bytes(16), b"", 0, bytes(16), b"", bytes(48)),
        lambda: one.verify_init(bytes(32), b"", 2, bytes(16), b"", bytes(48)),
        lambda: one.verify_init(bytes(32), b"", -1, bytes(16), b"", bytes(48)),
        lambda: one.shard(bytes(70_000), 1, bytes(16), bytes(64)),
        lambda: old.shard(b"context", 1, bytes(16), bytes(old.rand_bytes)),
        lambda: batch.shard(b"", [1, 1], [bytes(16)], [bytes(64)]),
        lambda: batch.verify_init(bytes(16), b"", 0, [], [], []),
    ]
    for misuse in misuses:
        with pytest.raises(PrivacyError) as refusal:
            misuse()
        assert refusal.value.code == "T550"


def test_nothing_in_nothing_out() -> None:
    batch = Batch(prio3.histogram(3))
    assert batch.shard(b"", [], [], []) == []
    assert batch.verify_init(bytes(32), b"", 0, [], [], []).accepted == {}
    assert batch.verifier_shares_to_message(b"", []).accepted == {}
    assert batch.aggregate([]) == bytes(48)
