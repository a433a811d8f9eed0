from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.errors import DeclarationError, PrivacyError
from tacit.learn.content import nearest_pairs, similarity, text_features
from tacit.learn.design import DESIGNS, MANY, PAIR_OPTIONS, design, pair_layout
from tacit.privacy.mechanism import MECHANISMS

WORDS = ["red", "blue", "mug", "lamp", "set", "of", "two"]
TEXTS = st.lists(
    st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join), min_size=2, max_size=30
)


def keys_of(texts: list[str]) -> list[str]:
    return [f"{code * 7919 % 1000:03}" for code in range(len(texts))]


@given(TEXTS)
def test_features_are_of_unit_length_or_nothing(texts: list[str]) -> None:
    features = text_features(keys_of(texts), texts)
    norms = np.sqrt(np.asarray(features.multiply(features).sum(axis=1))).ravel()
    assert all(norm == pytest.approx(1.0) or norm == 0.0 for norm in norms)


@given(TEXTS)
def test_similarity_is_the_cosine_of_the_features(texts: list[str]) -> None:
    features = text_features(keys_of(texts), texts).toarray()
    expected = features @ features.T
    np.fill_diagonal(expected, 0.0)
    found = similarity(keys_of(texts), texts)
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert similarity(keys_of(texts), None) is None


@given(TEXTS, st.integers(1, 200))
def test_nearest_pairs_are_the_widest_union_that_fits(texts: list[str], most: int) -> None:
    n = len(texts)
    features = text_features(keys_of(texts), texts)
    keys = nearest_pairs(features, most)
    assert (np.diff(keys) > 0).all()
    first, second = np.divmod(keys, n)
    assert (first < second).all()
    if n * (n - 1) // 2 <= most:
        assert len(keys) == n * (n - 1) // 2
        return
    assert len(keys) <= most
    similar = similarity(keys_of(texts), texts)
    assert similar is not None
    assert (similar[first, second] > 0).all()
    # An item's k best by similarity are all there, for some k; ties may fall either way.
    for item in range(n):
        mine = {*first[second == item], *second[first == item]}
        others = [j for j in range(n) if j != item and j not in mine]
        own = sorted((similar[item, j] for j in mine), reverse=True)
        top = sum(1 for j in others if similar[item, j] > (own[0] if own else 0.0))
        assert not own or top == 0


def test_prefixes_of_keys_relate_items_without_a_word_in_common() -> None:
    found = similarity(["22720A", "22720B", "99999Z"], ["red", "blue", "green"])
    assert found is not None
    assert found[0, 1] == pytest.approx(1.0)
    assert found[0, 2] == found[1, 2] == 0.0


# ---------------------------------------------------------------------- design


def words(n: int) -> tuple[list[str], list[str]]:
    return [f"{i * 7919 % 100_000:05}" for i in range(n)], [
        f"w{i % 40} v{i % 31}" for i in range(n)
    ]


def call(
    key: str, n: int = 300, *, text: bool = True, devices: int = 100, **options: object
) -> object:
    items, texts = words(n)
    return design(
        key,
        name="r",
        items=items,
        texts=texts if text else None,
        devices_max=devices,
        epsilon=2.0,
        delta=1e-6,
        options=options,
    )


def test_everything_registered_has_a_design() -> None:
    assert set(DESIGNS) == set(MECHANISMS)
    for key in DESIGNS:
        assert call(key).key == key


def test_defaults_are_the_documented_ones() -> None:
    layout = call("pairs").layout
    assert (layout.buckets, layout.popularity_share, layout.lag, layout.decay) == (0, 0.2, 10, 0.8)
    assert 0 < layout.pairs <= PAIR_OPTIONS["max_pairs"].default
    many = call("pairs", devices=MANY).layout
    assert (many.buckets, many.pairs <= 20_000) == (30_000, True)
    blind = call("pairs", text=False).layout
    assert (blind.pairs, blind.buckets, blind.lag) == (0, 45_000, 1)
    small = call("pairs", n=50, text=False).layout
    assert (small.pairs, small.buckets) == (50 * 49 // 2, 0)
    assert call("sum").bound == 1.0
    assert call("sum").size == 300


def test_options_are_taken() -> None:
    layout = call("pairs", max_pairs=700, buckets=5, lag=2, decay=1.0, popularity_share=0.5).layout
    assert 0 < layout.pairs <= 700
    assert (layout.buckets, layout.lag, layout.decay) == (5, 2, 1.0)
    assert call("sum", bound=3).bound == 3.0


def test_texts_without_a_word_in_common_are_as_none() -> None:
    items = [chr(0x4E00 + i) for i in range(400)]
    layout = pair_layout(items, [f"word{i}" for i in range(400)], {"lag": 4})
    assert (layout.pairs, layout.buckets, layout.lag) == (0, 45_000, 4)


def test_a_catalogue_of_one_item_has_a_layout() -> None:
    assert pair_layout(["a"], ["x"]).length == 2


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"max_pair": 3}, "T117"),
        ({"max_pairs": -1}, "T118"),
        ({"max_pairs": 2.5}, "T118"),
        ({"lag": True}, "T118"),
        ({"decay": "fast"}, "T118"),
        ({"popularity_share": float("nan")}, "T118"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], code: str) -> None:
    with pytest.raises(DeclarationError, match=code):
        call("pairs", **options)


def test_unknown_mechanisms_and_impossible_budgets_are_refused() -> None:
    with pytest.raises(DeclarationError, match="T117"):
        call("pears")
    with pytest.raises(PrivacyError, match="T534"):
        call("sum", devices=0)
