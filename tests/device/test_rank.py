"""What a device makes of a model's arrays is what the model was evaluated on, and no less."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import small_project as small
from tacit.device.bundle import Bundle, Manifest, SigningKey, open_bundle, write
from tacit.device.program import Program
from tacit.device.rank import Ranker, load_ranker
from tacit.errors import BundleError
from tacit.learn.content import similarity
from tacit.learn.design import pair_layout
from tacit.learn.learners import LEARNERS, Learned
from tacit.privacy.pairs import PairSum
from tacit.privacy.randomness import unsafe_seeded

ITEMS = list(small.CATALOGUE.ids)
TITLES = [f"title of {item}" for item in ITEMS]
KEY = SigningKey.generate()
NOW = small.NOW


@cache
def learned(key: str) -> Learned:
    texts = small.CATALOGUE.texts
    layout = pair_layout(ITEMS, texts, {"max_pairs": 400, "buckets": 50})
    release = PairSum(layout, small.PEOPLE, 8.0, 1e-5, "rank")
    statistics = release.simulate(*small.enjoyed(), unsafe_seeded(5))
    return LEARNERS[key](statistics, similarity(ITEMS, texts), {})


def bundle(
    folder: Path,
    key: str,
    arrays: Mapping[str, Any] | None = None,
    catalogue: Any = None,
    contents: Mapping[str, Any] | None = None,
) -> Bundle:
    held = dict(learned(key).arrays if arrays is None else arrays)
    files = {f"{name}.npy": array for name, array in held.items()}
    files["program.json"] = Program((), {}, {}).to_json()
    files["catalogue.json"] = catalogue or {"items": ITEMS, "titles": TITLES}
    said = {
        "kind": "model",
        "learner": key,
        "signal": "first",
        "purposes": ["discover"],
        "arrays": sorted(held),
        "releases": [],
    }
    manifest = Manifest("shop", "model", 1, NOW - 1, NOW + 1, "plan", said | dict(contents or {}))
    write(folder / "model.bundle", manifest, files, KEY)
    return open_bundle(
        folder / "model.bundle", KEY.public, project="shop", now=NOW, at_least_version=0
    )


def histories() -> list[list[int]]:
    indptr, codes = small.enjoyed()
    return [*(codes[a:b].tolist() for a, b in pairwise(indptr[:31])), []]


@pytest.fixture(params=sorted(LEARNERS))
def ranker(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Ranker, Learned]:
    return load_ranker(bundle(tmp_path, request.param)), learned(request.param)


def row(codes: list[int]) -> sp.csr_matrix:
    ordered = sorted(codes)
    return sp.csr_matrix(
        (np.ones(len(ordered), np.float32), ordered, [0, len(ordered)]), (1, len(ITEMS))
    )


def test_scores_are_the_learners_own(ranker: tuple[Ranker, Learned]) -> None:
    device, model = ranker
    for codes in histories():
        expected = model.scores(row(codes))[0]
        ranked = device.rank({ITEMS[code]: 1 for code in codes}, len(ITEMS))
        found = {each.item: each.score for each in ranked}
        assert set(found) == set(ITEMS) - {ITEMS[code] for code in codes}
        scale = max(1.0, float(np.abs(expected).max()))
        for code, item in enumerate(ITEMS):
            if item in found:
                assert found[item] == pytest.approx(expected[code], abs=1e-5 * scale)
        scores = [each.score for each in ranked]
        assert scores == sorted(scores, reverse=True)


def test_the_reason_is_the_largest_share(ranker: tuple[Ranker, Learned]) -> None:
    device, model = ranker
    codes = histories()[0]
    alone = {code: model.scores(row([code]))[0] for code in codes}
    for found in device.rank({ITEMS[code]: 1 for code in codes}, 10):
        shares = {TITLES[code]: float(alone[code][ITEMS.index(found.item)]) for code in codes}
        if found.because is None:
            assert max(shares.values()) <= 0
        else:
            assert shares[found.because] == max(shares.values()) > 0


def test_unknown_items_change_nothing(ranker: tuple[Ranker, Learned]) -> None:
    device, _ = ranker
    known: dict[str, int] = {ITEMS[code]: 1 for code in histories()[1]}
    assert device.rank({**known, "discontinued": 5}, 10) == device.rank(known, 10)


def test_without_a_history_popularity_ranks(ranker: tuple[Ranker, Learned]) -> None:
    device, model = ranker
    order = np.argsort(-model.arrays["popularity"], kind="stable")[:5]
    for empty in ({}, {"discontinued": 1}):
        found = device.rank(empty, 5)
        assert [each.item for each in found] == [ITEMS[code] for code in order]
        assert all(each.because is None for each in found)


def test_it_ranks_no_more_than_there_is(ranker: tuple[Ranker, Learned]) -> None:
    device, _ = ranker
    assert device.rank(dict.fromkeys(ITEMS, 1), 10) == []
    assert len(device.rank(dict.fromkeys(ITEMS[1:], 1), 10)) == 1


n = len(ITEMS)
WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "too few rows": ("item_item", {"neighbours": lambda of: of[:-1]}),
    "a neighbour beyond the items": ("item_item", {"neighbours": np.full((n, 2), n, np.int32)}),
    "a neighbour before the first": ("item_item", {"neighbours": np.full((n, 2), -2, np.int32)}),
    "neighbours that are no numbers": ("item_item", {"neighbours": np.full((n, 2), "a")}),
    "neighbours that are not whole": ("item_item", {"neighbours": np.zeros((n, 2))}),
    "weights of another shape": ("item_item", {"weights": np.zeros((n, 1), np.float32)}),
    "flat weights": ("item_item", {"weights": np.zeros(n, np.float32)}),
    "weights that are no numbers": (
        "item_item",
        {"weights": lambda of: np.full_like(of, np.nan)},
    ),
    "popularity of too many": ("item_item", {"popularity": np.zeros(n + 1, np.float32)}),
    "popularity of one number": ("item_item", {"popularity": np.array(1.0, np.float32)}),
    "infinite popularity": ("spectral", {"popularity": np.full(n, np.inf, np.float32)}),
    "queries unlike targets": ("spectral", {"query": np.zeros((n, 3), np.float16)}),
    "vectors of fewer items": ("spectral", {"query": np.zeros((3, 3)), "target": np.zeros((3, 3))}),
    "flat vectors": ("spectral", {"query": np.zeros(n), "target": np.zeros(n)}),
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, what: str) -> None:
    key, wrong = WRONG[what]
    arrays = learned(key).arrays
    changed = {name: new(arrays[name]) if callable(new) else new for name, new in wrong.items()}
    with pytest.raises(BundleError) as refused:
        load_ranker(bundle(tmp_path, key, {**arrays, **changed}))
    assert refused.value.code == "T629"


@pytest.mark.parametrize(
    "contents",
    [
        {"kind": "task"},
        {"learner": "oracle"},
        {"arrays": ["neighbours"]},
        {"arrays": 7},
        {"purposes": []},
    ],
)
def test_contents_that_make_no_model_are_refused(tmp_path: Path, contents: Any) -> None:
    with pytest.raises(BundleError) as refused:
        load_ranker(bundle(tmp_path, "item_item", contents=contents))
    assert refused.value.code == "T629"


@pytest.mark.parametrize(
    "catalogue",
    [
        {"items": ITEMS[1:], "titles": TITLES},
        {"items": [ITEMS[0]] * n, "titles": TITLES},
        {"titles": TITLES},
        [1],
    ],
)
def test_a_catalogue_of_other_items_is_refused(tmp_path: Path, catalogue: Any) -> None:
    with pytest.raises(BundleError) as refused:
        load_ranker(bundle(tmp_path, "item_item", catalogue=catalogue))
    assert refused.value.code == "T629"
