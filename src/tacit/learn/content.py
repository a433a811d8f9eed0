"""What public catalogue text says about items: features, similarity, pairs worth asking for.

Nothing here costs privacy: it reads what everybody can read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Floats32 = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

_WORD = re.compile(r"[^\W_]{2,}")
_PREFIXES = (3, 4, 5)
_CHUNK = 2048  # rows of a dense similarity that are held at a time


def text_features(items: Sequence[str], texts: Sequence[str]) -> sp.csr_matrix:
    """TF-IDF rows of l2 norm 1, or 0 for items without a term; shape (items, terms).

    Terms are the words and word bigrams of an item's text, and the prefixes of its key of 3 to 5
    characters: neighbouring catalogue numbers are often one range of products. (On Online Retail
    prefixes take content-only NDCG@10 from .043 to .053.) A term of one item only says nothing of
    pairs and is dropped.
    """
    vocabulary: dict[str, int] = {}
    rows: list[int] = []
    columns: list[int] = []
    for code, (item, text) in enumerate(zip(items, texts, strict=True)):
        words = _WORD.findall(text.lower())
        terms = set(words) | {f"{a} {b}" for a, b in pairwise(words)}
        terms |= {f"#{size}:{item[:size]}" for size in _PREFIXES}
        for term in sorted(terms):
            rows.append(code)
            columns.append(vocabulary.setdefault(term, len(vocabulary)))
    shape = (len(items), len(vocabulary))
    counts = sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
    frequency = np.asarray(counts.sum(axis=0)).ravel()
    shared = np.flatnonzero(frequency >= 2)
    weighted = counts[:, shared] @ sp.diags(np.log(shape[0] / frequency[shared]))
    return _unit_rows(sp.csr_matrix(weighted))


def similarity(items: Sequence[str], texts: Sequence[str] | None) -> Floats32 | None:
    """Cosine similarity (items, items) of the text features, zero diagonal; None without texts."""
    if texts is None:
        return None
    dense = np.zeros((len(items), len(items)), np.float32)
    for start, block in _blocks(text_features(items, texts)):
        dense[start : start + len(block)] = block
    return dense


def nearest_pairs(features: sp.csr_matrix, max_pairs: int) -> Integers:
    """Keys a·n + b (a < b), sorted, of the union of every item's k most similar items.

    k is the largest number whose union holds at most `max_pairs` pairs; only positive similarities
    count. All pairs are taken, whatever their similarity, if they fit. Rounding may differ between
    machines: make the keys once and send them to the devices.
    """
    n = features.shape[0]
    if n * (n - 1) // 2 <= max_pairs:
        first, second = np.triu_indices(n, 1)
        return np.asarray(first * n + second, np.int64)
    widest = min(n - 1, 2 * max_pairs // n + 1)
    keys, ranks = [], []
    for start, block in _blocks(features):
        key, rank = _nearest(block, start, n, widest)
        keys.append(key)
        ranks.append(rank)
    # The rank at which a pair first enters the union, for the pair's better-placed end.
    pairs, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    entry = np.full(len(pairs), widest)
    np.minimum.at(entry, inverse, np.concatenate(ranks))
    size_at = np.cumsum(np.bincount(entry, minlength=widest))
    fits = int(np.searchsorted(size_at, max_pairs, side="right"))
    return np.asarray(pairs[entry < fits], np.int64)


def _nearest(block: Floats32, start: int, n: int, widest: int) -> tuple[Integers, Integers]:
    """Pair keys, and each pair's place in its item's list, of a block of similarity rows."""
    near = np.argpartition(-block, widest - 1, axis=1)[:, :widest]
    order = np.argsort(-np.take_along_axis(block, near, axis=1), axis=1, kind="stable")
    near = np.take_along_axis(near, order, axis=1).astype(np.int64)
    positive = np.take_along_axis(block, near, axis=1) > 0.0
    item = np.arange(start, start + len(block))[:, None]
    key = np.minimum(item, near) * n + np.maximum(item, near)
    rank = np.broadcast_to(np.arange(widest), near.shape)
    return key[positive], rank[positive]


def _blocks(features: sp.csr_matrix) -> Iterator[tuple[int, Floats32]]:
    """Dense rows of the cosine similarity with a zero diagonal, some at a time."""
    for start in range(0, features.shape[0], _CHUNK):
        block = (features[start : start + _CHUNK] @ features.T).toarray().astype(np.float32)
        own = np.arange(len(block))
        block[own, start + own] = 0.0
        yield start, block


def _unit_rows(rows: sp.csr_matrix) -> sp.csr_matrix:
    norm = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    scale = np.divide(1.0, norm, out=np.zeros_like(norm), where=norm > 0.0)
    return sp.csr_matrix(sp.diags(scale) @ rows)
