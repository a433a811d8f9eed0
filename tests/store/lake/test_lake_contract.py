"""Rows that break their contract: each for its reason, in each kind of file, and none of them lost."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake_cases import NOW

from tacit.errors import DataError
from tacit.store.lake.contract import Breach, Terms
from tacit.store.lake.convert import convert
from tacit.store.lake.inputs import open_input
from tacit.store.lake.layout import Layout
from tacit.store.lake.moments import micros_of_text
from tacit.values import DAY, HOUR, MINUTE, Type, moment

LAYOUT = Layout(
    "visits",
    {"who": Type.TEXT, "n": Type.INT, "x": Type.FLOAT, "ok": Type.BOOL, "at": Type.TIME},
    ("who", "at"),
    "at",
    {"who": "person"},
    keep=400 * DAY,
)
AT = "2026-09-01T00:00:00Z"
MICROS = moment(datetime(2026, 9, 1))


def judged(
    given: Path | pa.Table, layout: Layout = LAYOUT, **how: Any
) -> tuple[pa.Table, list[Breach]]:
    breaches: list[Breach] = []
    tables = []
    for batch in open_input(given, layout, how.pop("renamed", {})).batches(breaches.append):
        kept, bad, places = Terms(layout, NOW, **how).judge(batch)
        assert kept.num_rows == len(places)
        breaches += bad
        tables.append(kept)
    whole = pa.concat_tables(tables) if tables else layout.schema().empty_table()
    return whole, sorted(breaches, key=lambda breach: breach.row)


def codes(breaches: list[Breach]) -> dict[int, tuple[str, str]]:
    return {breach.row: (breach.code, breach.column) for breach in breaches}


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_bytes(
        b"who,n,x,ok,at,undeclared\n"
        b"a,1,1.5,true,2026-09-01T00:00:00Z,secret\n"
        b",1,1.5,true,2026-09-01T00:00:00Z,\n"
        b'"",1,1.5,true,2026-09-01T00:00:00Z,\n'
        b"b,1,1.5\n"
        b"c,12.0,1e3,FALSE,2026-09-01T02:00:00+02:00,\n"
        b"d,1.5,1,0,2026-09-01,\n"
        b"e,x,1,0,2026-09-01,\n"
        b"f,1,twelve,0,2026-09-01,\n"
        b"g,1,1,maybe,2026-09-01,\n"
        b"h,1,1,0,2026-02-30,\n"
        b"i,1,1,0,2027-02-20,\n"
        b"j,1,1,0,2020-02-20,\n"
        b"\xff\xfe,1,1,0,2026-09-01,\n"
        b"k,1,1,0,2026-09-01,,7,8\n"
        b"l,,,,2026-09-01,\n"
        b"m,9223372036854775808,1,1,2026-09-01,\n"
        b"n,1,9007199254740993,1,2026-09-01,\n"
    )
    kept, breaches = judged(path)
    assert kept.to_pylist() == [
        {"who": "a", "n": 1, "x": 1.5, "ok": True, "at": MICROS},
        {"who": "c", "n": 12, "x": 1000.0, "ok": False, "at": MICROS},
        {"who": "l", "n": None, "x": None, "ok": None, "at": MICROS},
    ]
    assert codes(breaches) == {
        2: ("T361", "who"), 3: ("T361", "who"), 4: ("T366", ""), 6: ("T362", "n"),
        7: ("T362", "n"), 8: ("T362", "x"), 9: ("T362", "ok"), 10: ("T364", "at"),
        11: ("T365", "at"), 12: ("T367", "at"), 13: ("T366", "who"), 14: ("T366", ""),
        16: ("T363", "n"), 17: ("T363", "x"),
    }  # fmt: skip
    assert not any("secret" in str(breach) for breach in breaches)
    assert breaches[9].values == {}, "a row past its retention is not kept in quarantine either"


def test_json_lines(tmp_path: Path) -> None:
    good = {"who": "a", "n": 1, "x": 1.5, "ok": True, "at": AT}
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"who": 12}, "T362", "who"),
        ({"who": None}, "T361", "who"),
        ({"n": "1"}, "T362", "n"),
        ({"n": 1.5}, "T363", "n"),
        ({"n": 2**64}, "T363", "n"),
        ({"n": True}, "T362", "n"),
        ({"x": "1.5"}, "T362", "x"),
        ({"x": 2**53 + 1}, "T363", "x"),
        ({"ok": 1}, "T362", "ok"),
        ({"at": "yesterday"}, "T364", "at"),
        ({"at": 1.5}, "T364", "at"),
        ({"at": NOW + HOUR}, "T365", "at"),
        ({"at": 0}, "T348", "at"),
        ({"at": "1999-12-31T00:00:00Z"}, "T367", "at"),
        ({"who": "\ud800"}, "T366", "who"),
        ({"who": ["a"]}, "T362", "who"),
    ]
    lines = [json.dumps(good | change) for change, _, _ in wrong]
    lines += ["[1]", "{", "", '{"who": "a", "who": "b"}', "{}", json.dumps(good), '{"n": NaN}']
    lines += [json.dumps({"who": "b", "at": MICROS, "n": 2.0, "x": 3})]
    (tmp_path / "v.jsonl").write_text("\n".join(lines))
    kept, breaches = judged(tmp_path / "v.jsonl")
    size = len(wrong)
    assert codes(breaches) == {
        **{i: (code, column) for i, (_, code, column) in enumerate(wrong, 1)},
        size + 1: ("T366", ""), size + 2: ("T366", ""), size + 4: ("T366", ""),
        size + 5: ("T361", "who"), size + 7: ("T361", "who"),
    }  # fmt: skip
    assert kept.to_pylist() == [
        good | {"at": MICROS},
        {"who": "b", "n": 2, "x": 3.0, "ok": None, "at": MICROS},
    ]
    assert breaches[0].values["who"] == 12


@pytest.mark.parametrize(
    ("kind", "values", "expected", "code"),
    [
        (Type.INT, pa.array([1.0, 2.5, None, float("nan")]), [1, None, None, None], "T363"),
        (Type.INT, pa.array([1, 2**64 - 1], pa.uint64()), [1, None], "T363"),
        (Type.INT, pa.array([Decimal("3.00"), Decimal("3.50")]), [3, None], "T363"),
        (Type.INT, pa.array(["1", None]), [None, None], "T362"),
        (Type.FLOAT, pa.array([2**53, 2**53 + 1]), [2.0**53, None], "T363"),
        (Type.FLOAT, pa.array([Decimal("19.99"), None]), [19.99, None], None),
        (Type.FLOAT, pa.array([Decimal("0.12345678901234567891")]), [None], "T363"),
        (Type.FLOAT, pa.array(["1.5"]), [None], "T362"),
        (Type.TEXT, pa.array([1, None]), [None, None], "T362"),
        (Type.TEXT, pa.array([b"a"]), [None], "T362"),
        (Type.TEXT, pa.array(["a", None], pa.large_string()), ["a", None], None),
        (Type.BOOL, pa.array([1, 0]), [None, None], "T362"),
        (Type.TIME, pa.array([1, -1], pa.timestamp("s")), [1_000_000, -1_000_000], None),
        (Type.TIME, pa.array([1999, -1], pa.timestamp("ns", "UTC")), [1, -1], None),
        (Type.TIME, pa.array([5], pa.timestamp("us", "Asia/Tokyo")), [5], None),
        (Type.TIME, pa.array([2**60, 1], pa.timestamp("ms")), [None, 1000], "T364"),
        (Type.TIME, pa.array([date(1970, 1, 2)]), [DAY], None),
        (Type.TIME, pa.array([1.0]), [None], "T364"),
        (Type.TIME, pa.array([1], pa.int32()), [None], "T364"),
        (Type.TIME, pa.array(["1970-01-02", "x"]), [DAY, None], "T364"),
        (Type.TEXT, pa.nulls(2), [None, None], None),
    ],
)
def test_typed_columns(kind: Type, values: pa.Array, expected: list[Any], code: str | None) -> None:
    done = convert(values, kind, parsed=False)
    assert done.values.to_pylist() == expected
    assert list(done.breaches) == ([code] if code else [])
    there = values.is_valid()
    if pa.types.is_floating(values.type):
        there = pc.and_(there, pc.invert(pc.is_nan(values)))  # NaN means missing
    for mask in done.breaches.values():
        gone = [
            value is None and held for value, held in zip(expected, there.to_pylist(), strict=True)
        ]
        assert [bool(held) for held in mask.to_pylist()] == [bool(held) for held in gone]
    table = pa.table({"v": values})
    batch = next(open_input(table, Layout("v", {"v": kind}), {}).batches(lambda _: None))
    assert len(Terms(Layout("v", {"v": kind}), NOW).judge(batch)[1]) == sum(
        map(bool, gone if code else [])
    )


def test_moments_of_mixed_zones() -> None:
    """One column, five ways to write one moment, and one of a zone that is not said: UTC."""
    same = [
        "2026-03-29T01:30:00Z", "2026-03-29T03:30:00+02:00", "2026-03-28 20:30:00-0500",
        "2026-03-29T07:00:00+05:30", "2026-03-29 01:30:00", "1774747800000000",
    ]  # fmt: skip
    assert set(micros_of_text(pa.array(same)).to_pylist()) == {1774747800000000}
    none = ["2026-02-30", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00+25:00", "1/2/2026", "now",
            "2026-01-01T00:00:60", "99999999999999999999", "", "2026-1-1", "infinity"]  # fmt: skip
    assert micros_of_text(pa.array(none)).to_pylist() == [None] * len(none)


@given(
    st.datetimes(
        datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.timezones() | st.just(UTC)
    ),
    st.sampled_from(["T", " "]),
)
def test_moments_as_python_reads_them(at: datetime, between: str) -> None:
    offset = at.utcoffset()
    assert offset is not None
    text = at.isoformat(between)
    if offset.total_seconds() % 60:
        return  # an offset with seconds is no RFC 3339
    expected = moment(datetime.fromisoformat(text))
    assert micros_of_text(pa.array([text, None, "no"])).to_pylist() == [expected, None, None]
    assert micros_of_text(pa.array([text])).to_pylist() == [expected]


def test_how_far_ahead(tmp_path: Path) -> None:
    table = pa.table({"who": ["a"] * 3, "at": [NOW, NOW + 5 * MINUTE, NOW + 5 * MINUTE + 1]})
    kept, breaches = judged(
        table, Layout("v", {"who": Type.TEXT, "at": Type.TIME}, ("who", "at"), "at")
    )
    assert (kept.num_rows, codes(breaches)) == (2, {3: ("T365", "at")})
    late, none = judged(
        table, Layout("v", {"who": Type.TEXT, "at": Type.TIME}, ("who", "at"), "at"), ahead=HOUR
    )
    assert (late.num_rows, none) == (3, [])


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    def refused(names: list[str], layout: Layout = LAYOUT) -> DataError:
        (tmp_path / "v.csv").write_text(",".join(names) + "\n")
        with pytest.raises(DataError) as error:
            open_input(tmp_path / "v.csv", layout, {})
        assert error.value.code == "T360"
        return error.value

    assert "'whom'" in refused(["whom", "n", "x", "ok", "at"]).fix
    assert "'N'" in refused(["who", "N", "x", "ok", "at"]).fix, "it seems to be called otherwise"
    assert "several" in refused(["who", "who", "n", "x", "ok", "at"]).message
    assert "'at'" in refused(["who", "n", "x", "ok"]).message
    (tmp_path / "v.csv").write_text("who,at\na,2026-09-01\n")
    assert open_input(tmp_path / "v.csv", LAYOUT, {}).absent == ("n", "x", "ok")
    kept, _ = judged(tmp_path / "v.csv")
    assert kept.to_pylist() == [{"who": "a", "n": None, "x": None, "ok": None, "at": MICROS}]
    (tmp_path / "v.csv").write_text("person,at\na,2026-09-01\n")
    assert judged(tmp_path / "v.csv", renamed={"who": "person"})[0].num_rows == 1


def test_files_that_are_none(tmp_path: Path) -> None:
    whole = pa.table({"who": ["a"], "at": [MICROS]})
    pq.write_table(whole, tmp_path / "v.parquet")
    raw = (tmp_path / "v.parquet").read_bytes()
    for name, content, code in [
        ("v.parquet", raw[:-1], "T302"), ("v.parquet", b"", "T302"), ("v.csv", b"", "T302"),
        ("v.xlsx", b"x", "T369"), ("v", b"x", "T369"), ("v.csv.gz", b"who,at\n", "T302"),
    ]:  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as error:
            judged(tmp_path / name)
        assert error.value.code == code, name
    with pytest.raises(DataError) as error:
        judged(tmp_path / "none.csv")
    assert error.value.code == "T301"


def test_rows_are_numbered_across_batches(tmp_path: Path) -> None:
    """Past the block that CSV is read in, and past those that were skipped."""
    size = 400_000
    lines = [f"p{i},2026-09-01,{'x' * 20}" for i in range(size)]
    for place in (7, 250_000, size - 2):
        lines[place] = "only one"
    lines[300_000] = "p,never,x"
    (tmp_path / "v.csv").write_text("who,at,what\n" + "\n".join(lines))
    layout = Layout("v", {"who": Type.TEXT, "at": Type.TIME}, ("who", "at"), "at")
    kept, breaches = judged(tmp_path / "v.csv", layout)
    assert codes(breaches) == {
        8: ("T366", ""), 250_001: ("T366", ""), 300_001: ("T364", "at"), size - 1: ("T366", ""),
    }  # fmt: skip
    assert kept.num_rows == size - 4
