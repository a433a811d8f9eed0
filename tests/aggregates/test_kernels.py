"""The compiled loops one by one, against what numpy, Arrow and Python say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from tacit.aggregates import kernels, sorting
from tacit.aggregates.columns import Column
from tacit.aggregates.frequent import top_codes
from tacit.aggregates.keys import Keys
from tacit.aggregates.rows import Rows
from tacit.aggregates.text import TextCodes
from tacit.engines.local import Local
from tacit.engines.reference import Reference
from tacit.operations import Computed, View, Window
from tacit.values import Type


def test_galloping_finds_what_a_search_finds() -> None:
    r = np.random.default_rng(0)
    at = np.sort(r.integers(-50, 50, 300))
    for low, high, time in r.integers(0, 301, (2000, 3)):
        if low <= high:
            wanted = low + np.searchsorted(at[low:high], time - 150)
            assert kernels.gallop(at, low, high, time - 150) == wanted


@pytest.mark.parametrize("late", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("keys", [1, 40])
def test_rows_are_sorted_by_key_and_time_and_ties_stay_in_order(late: float, keys: int) -> None:
    r = np.random.default_rng(1)
    at = np.sort(r.integers(0, 3000, 20_000))
    moved = r.random(at.size) < late
    at[moved] = r.integers(-(2**62), 2**62, moved.sum())
    ids = r.integers(7, 7 + keys, at.size).astype(np.int32)
    order, times, offsets = sorting.sort_rows(ids, at, 7, keys)
    wanted = np.lexsort((np.arange(at.size), at, ids))
    assert (times == at[wanted]).all()
    assert (offsets == np.searchsorted(ids[wanted], np.arange(7, 8 + keys))).all()
    # Rows of one moment may come in any order, each once.
    assert (np.sort(order) == np.arange(at.size)).all()
    assert (at[order] == times).all()
    assert (ids[order] == ids[wanted]).all()


@pytest.mark.parametrize("k", [1, 3, 10_000])
@pytest.mark.parametrize("distinct", [1, 2, 37, 1000])
def test_the_most_frequent_codes_of_sliding_ranges(k: int, distinct: int) -> None:
    r = np.random.default_rng(k + distinct)
    codes = np.minimum(r.zipf(1.3, 3000) - 1, distinct - 1)
    mask = r.random(codes.size) < 0.9
    a = np.sort(r.integers(0, codes.size, 200))
    b = np.maximum.accumulate(np.minimum(a + r.integers(0, 400, a.size), codes.size))
    offsets, found = top_codes(codes, mask, distinct, k, a, b)
    for q in range(a.size):
        inside = codes[a[q] : b[q]][mask[a[q] : b[q]]].tolist()
        wanted = sorted(Counter(inside).items(), key=lambda pair: (-pair[1], pair[0]))[:k]
        assert found[offsets[q] : offsets[q + 1]].tolist() == [code for code, _ in wanted]


def test_texts_of_every_length_keep_their_codes_while_the_table_grows() -> None:
    r = np.random.default_rng(2)
    texts = ["x" * (n % 40) + str(n) for n in range(30_000)] + ["", "é", "\0", "\0\0"]
    drawn = [texts[i] for i in r.integers(0, len(texts), 90_000)]
    codes, found = TextCodes(), []
    for start in range(0, len(drawn), 7001):
        batch = pa.array(drawn[start : start + 7001])
        kinds = pa.string(), pa.large_string(), pa.string_view()
        found.append(codes.encode(batch.cast(kinds[start % 3])))
    dictionary = codes.dictionary.to_pylist()
    assert [dictionary[code] for code in np.concatenate(found)] == drawn
    assert len(set(dictionary)) == len(dictionary) == len(set(drawn))


def test_a_key_that_the_spine_lacks_and_a_null_in_a_dictionary_have_no_number() -> None:
    column = Column(np.array([0, 1, 2, 1], np.int32), None, pa.array(["a", "b", "c"]))
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None]), pa.array(["c", None, "b"]))
    for spine in (coded, coded.dictionary_decode()):
        found = Keys().numbering([column], [pa.chunked_array([spine])])
        assert found.wanted.tolist() == [0, -1, 1, -1]
        assert found.find(slice(0, 4)).tolist() == [-1, 1, 0, 1]
        assert found.count == 2


def test_a_null_in_a_dictionary_is_a_null() -> None:
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1, None]), pa.array(["x", None]))
    rows = Rows(4, {"a": Type.TEXT})
    rows.writer().put(0, {"a": coded})
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        column = rows.finish(frozenset(), pool)["a"]
    assert column.valid is not None
    assert column.valid.tolist() == [True, False, False, False]


def test_nan_infinity_nulls_and_ties_on_one_heavy_key_beside_many_light_ones() -> None:
    """A hundred keys, of which one holds most rows, few moments, and every kind of float."""
    r = np.random.default_rng(5)
    size = 1500
    odd = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e300, 5e-324, 1.5, -2.5])
    keys = np.where(r.random(size) < 0.7, 0, r.integers(1, 100, size))
    events = pa.table(
        {
            "user": keys,
            "at": pa.array(r.integers(-6, 20, size), mask=r.random(size) < 0.03),
            "price": pa.array(odd[r.integers(0, 9, size)], mask=r.random(size) < 0.1),
            "item": pa.array(r.integers(0, 9, size).astype(str), mask=r.random(size) < 0.1),
        }
    )
    spine = pa.table({"user": r.integers(0, 40, 60) // 3, "at": r.integers(-8, 24, 60)})
    columns = (Computed("p", "price", Type.FLOAT), Computed("i", "item", Type.TEXT))
    exact = ("count", "min", "max", "first", "last", "distinct", "last_k(3)", "top_k(3)")
    windows = tuple(
        Window(f"{key} {value} {length} {hop}", key, value, None, None, length, hop)
        for key in exact
        for value in ("p", "i")
        for length, hop in ((1, None), (7, None), (7, 3), (None, None))
    )
    view = View("v", "events", (("user", "user"),), "at", (), columns, windows)
    wanted = Reference().features([view], {"events": events}, spine)
    for budget in (None, 1):
        found = Local(budget).features([view], {"events": events}, spine)
        for name in found.column_names:
            assert found[name].to_pylist() == wanted[name].to_pylist(), name
