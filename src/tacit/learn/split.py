"""Histories with their last item held out, ours or others', and how learners do on them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from tacit.errors import DataError
from tacit.learn.comparators import (
    DenseWeights,
    NotPrivatePopularity,
    not_private_ease,
    not_private_popularity,
)
from tacit.learn.design import pair_layout
from tacit.learn.evaluation import candidate_ranking, full_ranking
from tacit.learn.learners import LEARNERS, Learned
from tacit.privacy.pairs import PairSum
from tacit.privacy.randomness import system

Integers = npt.NDArray[np.int64]


class Histories(NamedTuple):
    """Distinct items by user, in order of time: user u has `codes[indptr[u]:indptr[u + 1]]`."""

    indptr: Integers
    codes: Integers


class Split(NamedTuple):
    """Histories to learn from, of all users, and the held-out item of some of them.

    `evaluated` (m,) are rows of `histories`; `target` (m,) is what each of them did next.
    """

    histories: Histories
    evaluated: Integers
    target: Integers


def histories(user: Integers, item: Integers, time: Integers, users: int) -> Histories:
    """Each user's distinct items in order of their first time; ties by row order.

    `user` and `item` are codes from 0, `time` any integers, one of each for every event.
    """
    order = np.lexsort((np.arange(len(user)), time, user))
    user, item = user[order], item[order]
    # A stable sort by (user, item) puts the earliest event of each pair first.
    by_pair = np.lexsort((item, user))
    fresh = np.ones(len(user), bool)
    pairs = user[by_pair], item[by_pair]
    fresh[1:] = (np.diff(pairs[0]) != 0) | (np.diff(pairs[1]) != 0)
    keep = np.sort(by_pair[fresh])
    counts = np.bincount(user[keep], minlength=users)
    return Histories(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), item[keep])


def leave_last_out(found: Histories, *, earlier: int = 5, drop: int = 0) -> Split:
    """Holds out every user's last item; those with at least `earlier` items before are evaluated.

    `drop` = 1 first throws the last item away: the validation split of the same data, on which
    settings may be chosen without a look at the test items.
    """
    length = np.diff(found.indptr)
    kept = np.maximum(np.maximum(length - drop, 0) - 1, 0)
    user = np.repeat(np.arange(len(length)), length)
    place = np.arange(len(found.codes)) - found.indptr[user]
    evaluated = np.flatnonzero(kept >= max(earlier, 1)).astype(np.int64)
    target = found.codes[found.indptr[evaluated] + kept[evaluated]]
    bounds = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    return Split(Histories(bounds, found.codes[place < kept[user]]), evaluated, target)


def matrix(found: Histories, items: int, half_life: float | None = None) -> sp.csr_matrix:
    """Weights (users, items) float32 of histories: 1, or 2^(-age / half_life).

    `age` is 0 for a user's newest item, 1 for the one before, and so on.
    """
    length = np.diff(found.indptr)
    weight = np.ones(len(found.codes), np.float32)
    if half_life is not None:
        age = np.repeat(found.indptr[1:], length) - 1 - np.arange(len(found.codes))
        weight = (0.5 ** (age / half_life)).astype(np.float32)
    shape = (len(length), items)
    rows = sp.csr_matrix((weight, found.codes, found.indptr), shape=shape)
    rows.sort_indices()
    return rows


# ---------------------------------------------------------------------- splits of others


class ExternalSplit(NamedTuple):
    """A split as somebody else made it, in codes of users and items that it names anywhere.

    `users`, `items`: how many there are. `train` (rows,) and `test` (m,) are codes of users and
    items in file order. `candidates` (m, c) holds item codes; row i belongs to test row i.
    """

    users: int
    items: int
    train: tuple[Integers, Integers]
    test: tuple[Integers, Integers]
    candidates: Integers | None


def read_split(train: Path, test: Path, candidates: Path | None = None) -> ExternalSplit:
    """Reads a split: two CSV files of `user,item`, and a .npy of items (test rows, candidates).

    Ids are text, compared as written: 7 is not 007. A first row such as `user,item` or
    `user_id,item_id` is a header, and further columns are then left aside. Raises DataError T351
    for a file that cannot be read, T352 for a row that is none, T355 for wrong candidates.
    """
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    before = _coded(train, users, items)
    after = _coded(test, users, items)
    offered = None
    if candidates is not None:
        offered = _read_candidates(candidates, len(after[0]), items)
    return ExternalSplit(len(users), len(items), before, after, offered)


def evaluate_split(
    train: Path,
    test: Path,
    candidates: Path | None = None,
    *,
    regularisation: float = 1000.0,
    epsilon: float | None = None,
    delta: float = 1e-5,
    k: int = 10,
) -> dict[str, Any]:
    """Scores the learners on a split as `read_split` takes it, as one JSON-like dictionary.

    "popularity" and "ease" are not private. With `epsilon`, "private" is the item-item learner on
    one private release of the training rows, taken in file order, at (epsilon, delta) per user.
    Without candidates every item is ranked that the user has no training row of. The default
    `regularisation` suits tables of MovieLens-1M's size; smaller ones want less.
    """
    split = read_split(train, test, candidates)
    found = histories(*split.train, np.arange(len(split.train[0])), split.users)
    known = matrix(found, split.items)
    user, target = split.test
    rows = known[user]

    def score(learned: Learned | NotPrivatePopularity | DenseWeights) -> dict[str, float | int]:
        if split.candidates is None:
            return full_ranking(learned.scores, rows, target, k=k).to_json()
        return candidate_ranking(learned.scores, rows, target, split.candidates, k=k).to_json()

    results = {
        "popularity": score(not_private_popularity(known)),
        "ease": score(not_private_ease(known, regularisation)),
    }
    if epsilon is not None:
        results["private"] = score(_learn_private(found, split, epsilon, delta))
    return {
        "users": split.users,
        "items": split.items,
        "train_rows": len(split.train[0]),
        "test_rows": len(target),
        "test_rows_in_train": int(np.asarray(known[user, target]).astype(bool).sum()),
        "test_rows_without_history": int((np.diff(rows.indptr) == 0).sum()),
        "candidates": None if split.candidates is None else int(split.candidates.shape[1]),
        "regularisation": regularisation,
        "epsilon": epsilon,
        "learners": results,
    }


def _learn_private(found: Histories, split: ExternalSplit, epsilon: float, delta: float) -> Learned:
    layout = pair_layout([str(code) for code in range(split.items)], None)
    release = PairSum(layout, split.users, epsilon, delta, "evaluate")
    return LEARNERS["item_item"](release.simulate(*found, system()), None, {})


def _coded(path: Path, users: dict[str, int], items: dict[str, int]) -> tuple[Integers, Integers]:
    """User and item codes of a CSV's rows; new ids get the next code."""
    user, item = [], []
    for one, other in _rows(path):
        user.append(users.setdefault(one, len(users)))
        item.append(items.setdefault(other, len(items)))
    if not user:
        raise _malformed(path, None, "the file has no rows")
    return np.array(user, np.int64), np.array(item, np.int64)


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            at, width = (0, 1), 2
            for fields in reader:
                if reader.line_num == 1 and (header := _header(fields)) is not None:
                    at, width = header, len(fields)
                    continue
                if not fields:
                    continue
                if len(fields) != width or not fields[at[0]].strip() or not fields[at[1]].strip():
                    raise _malformed(path, reader.line_num, f"{','.join(fields):.80}")
                yield fields[at[0]].strip(), fields[at[1]].strip()
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror}",
            code="T351",
            where=str(path),
            fix="check the path and its permissions",
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise _malformed(path, None, f"it is no CSV in UTF-8 ({error})") from None


def _header(fields: list[str]) -> tuple[int, int] | None:
    """Where user and item are in a header, or None for a row that is no header."""
    names = [field.strip().lower().replace("_", "") for field in fields]
    places = [
        next((at for at, name in enumerate(names) if name in (what, f"{what}id")), None)
        for what in ("user", "item")
    ]
    one, other = places
    return None if one is None or other is None else (one, other)


def _read_candidates(path: Path, rows: int, items: dict[str, int]) -> Integers:
    try:
        raw = np.load(path, allow_pickle=False)
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror or error}",
            code="T351",
            where=str(path),
            fix="check the path and its permissions",
        ) from None
    except (ValueError, EOFError):
        raise _wrong_candidates(path, "it is no array of numbers or text") from None
    if not isinstance(raw, np.ndarray) or raw.dtype.kind not in "iuU":
        raise _wrong_candidates(path, "it is no array of whole numbers or text")
    if raw.ndim != 2 or raw.shape[0] != rows or raw.shape[1] == 0:
        raise _wrong_candidates(path, f"it has shape {raw.shape} for {rows} test rows")
    names, places = np.unique(raw, return_inverse=True)
    codes = np.array([items.setdefault(str(name), len(items)) for name in names], np.int64)
    return np.asarray(codes[places.reshape(raw.shape)], np.int64)


def _malformed(path: Path, row: int | None, what: str) -> DataError:
    return DataError(
        what if row is None else f"row {row} is no user and item: {what}",
        code="T352",
        where=str(path) if row is None else f"{path}:{row}",
        fix="write one user and one item a row, as CSV, with or without the header user,item",
    )


def _wrong_candidates(path: Path, what: str) -> DataError:
    return DataError(
        f"the candidates do not fit: {what}",
        code="T355",
        where=str(path),
        fix="save an array of shape (test rows, candidates) of item ids, with numpy.save",
    )
