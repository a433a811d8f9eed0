from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.errors import DataError
from tacit.learn.split import (
    evaluate_split,
    histories,
    leave_last_out,
    matrix,
    read_split,
)

EVENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8), st.integers(-3, 3)), max_size=80)


@given(EVENTS)
def test_histories_are_distinct_items_by_first_time_then_row(
    events: list[tuple[int, int, int]],
) -> None:
    user, item, time = (np.array([e[i] for e in events], np.int64) for i in range(3))
    found = histories(user, item, time, 6)
    for u in range(6):
        rows = sorted((e[2], row, e[1]) for row, e in enumerate(events) if e[0] == u)
        expected = list(dict.fromkeys(item for _, _, item in rows))
        assert found.codes[found.indptr[u] : found.indptr[u + 1]].tolist() == expected


@given(EVENTS, st.integers(0, 2), st.integers(1, 6))
def test_the_last_item_is_held_out(
    events: list[tuple[int, int, int]], drop: int, earlier: int
) -> None:
    user, item, time = (np.array([e[i] for e in events], np.int64) for i in range(3))
    found = histories(user, item, time, 6)
    split = leave_last_out(found, earlier=earlier, drop=drop)
    evaluated = dict(zip(split.evaluated.tolist(), split.target.tolist(), strict=True))
    for u in range(6):
        whole = found.codes[found.indptr[u] : found.indptr[u + 1]].tolist()
        whole = whole[: max(len(whole) - drop, 0)]
        bounds = split.histories.indptr
        assert split.histories.codes[bounds[u] : bounds[u + 1]].tolist() == whole[:-1]
        assert evaluated.get(u) == (whole[-1] if len(whole) > earlier else None)


def test_newer_items_weigh_more_with_a_half_life() -> None:
    found = histories(np.array([0, 0, 0]), np.array([2, 0, 1]), np.array([1, 2, 3]), 2)
    assert matrix(found, 4, 1.0).toarray().tolist() == [[0.5, 1.0, 0.25, 0.0], [0, 0, 0, 0]]
    assert matrix(found, 4).toarray().tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]


# ---------------------------------------------------------------------- files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text("user,item\na,x\na,y\nb,x\nb,z\nc,y\n")
    (tmp_path / "test.csv").write_text("a,z\nb,y\n")
    np.save(tmp_path / "candidates.npy", np.array([["z", "x"], ["q", "x"]]))
    return tmp_path


def files(folder: Path) -> tuple[Path, Path, Path]:
    return folder / "train.csv", folder / "test.csv", folder / "candidates.npy"


def test_a_split_is_read_with_or_without_a_header(folder: Path) -> None:
    split = read_split(*files(folder))
    assert (split.users, split.items) == (3, 4)
    assert [part.tolist() for part in split.train] == [[0, 0, 1, 1, 2], [0, 1, 0, 2, 1]]
    assert [part.tolist() for part in split.test] == [[0, 1], [2, 1]]
    assert split.candidates is not None
    assert split.candidates.tolist() == [[2, 0], [3, 0]]


def test_headers_name_their_columns_in_any_order(folder: Path) -> None:
    train, test, _ = files(folder)
    train.write_bytes(b"\xef\xbb\xbfrating,Item_ID,UserId\r\n5,x,a\r\n\r\n3,y,a\r\n")
    assert [part.tolist() for part in read_split(train, test).train] == [[0, 0], [0, 1]]


def test_whole_numbers_match_the_text_of_ids(folder: Path) -> None:
    train, test, candidates = files(folder)
    train.write_text("0,31\n0,27\n1,31\n")
    test.write_text("1,27\n")
    np.save(candidates, np.array([[27, 99]]))
    split = read_split(train, test, candidates)
    assert split.candidates is not None
    assert split.candidates.tolist() == [[1, 2]]


def test_all_learners_are_scored(folder: Path) -> None:
    found = evaluate_split(*files(folder), regularisation=1.0, epsilon=4.0)
    assert found["test_rows"] == 2
    assert found["candidates"] == 2
    assert set(found["learners"]) == {"popularity", "ease", "private"}
    for scores in found["learners"].values():
        assert set(scores) == {"hr10", "ndcg10", "coverage", "users"}
        assert scores["hr10"] == 1.0  # two or three candidates
    whole = evaluate_split(*files(folder)[:2])
    assert whole["candidates"] is None
    assert set(whole["learners"]) == {"popularity", "ease"}


def test_what_a_split_leaks_is_counted(folder: Path) -> None:
    train, test, _ = files(folder)
    test.write_text("a,x\nnew,y\n")
    found = evaluate_split(train, test)
    assert (found["test_rows_in_train"], found["test_rows_without_history"]) == (1, 1)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("user,item\na,x\nb\n", ":3"),
        ("a,x\nb,y,z\n", ":2"),
        ("a,x\n,y\n", ":2"),
        ("a,x\nb, \n", ":2"),
        ("", ""),
        ("user,item\n", ""),
        ('a,"x\n', ""),
    ],
)
def test_malformed_rows_are_named(folder: Path, text: str, place: str) -> None:
    train, test, _ = files(folder)
    train.write_text(text)
    with pytest.raises(DataError, match="T352") as caught:
        read_split(train, test)
    assert caught.value.where == f"{train}{place}"


def test_what_is_no_text_is_refused(folder: Path) -> None:
    train, test, _ = files(folder)
    train.write_bytes(b"a,\xff\n")
    with pytest.raises(DataError, match="T352"):
        read_split(train, test)


def test_files_that_are_not_there(folder: Path) -> None:
    train, test, _ = files(folder)
    with pytest.raises(DataError, match="T351"):
        read_split(folder / "no.csv", test)
    with pytest.raises(DataError, match="T351"):
        read_split(train, folder)
    with pytest.raises(DataError, match="T351"):
        read_split(train, test, folder / "no.npy")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 2), np.int64),
        np.zeros(2, np.int64),
        np.zeros((2, 0), np.int64),
        np.zeros((2, 2)),
        np.array([["z", "x"], ["q", None]], object),
    ],
)
def test_wrong_candidates_are_refused(folder: Path, array: np.ndarray) -> None:
    np.save(folder / "candidates.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match="T355"):
        read_split(*files(folder))


def test_a_file_that_is_no_array_is_refused(folder: Path) -> None:
    for raw in (b"", b"\x93NUMPY", b"1,2\n"):
        (folder / "candidates.npy").write_bytes(raw)
        with pytest.raises(DataError, match="T355"):
            read_split(*files(folder))
