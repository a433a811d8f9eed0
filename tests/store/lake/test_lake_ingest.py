"""What is ingested is there once, with its receipt; what is not is in quarantine."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from lake_cases import COLUMNS, LAYOUT, NOW, ingest, lake, numbers, rows, write

from tacit.errors import DataError, StoreError
from tacit.store.lake import files, inputs
from tacit.store.lake.layout import ARRIVED, Layout
from tacit.values import DAY, HOUR, Type


def test_every_kind_of_input_gives_the_same_rows(tmp_path: Path) -> None:
    table = rows(1000)
    pa.csv.write_csv(table, tmp_path / "r.csv")
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(r) + "\n" for r in table.to_pylist()))
    write(tmp_path, table, "r.parquet")
    for given in (tmp_path / "r.csv", tmp_path / "r.jsonl", tmp_path / "r.parquet", table):
        there = lake(tmp_path / f"of-{given.suffix if isinstance(given, Path) else 'table'}")
        done = ingest(there, given)
        assert (done.read, done.accepted, done.quarantined) == (1000, 1000, 0)
        found = there.read(LAYOUT, NOW).sort_by("amount")
        assert found.equals(table), given


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for name in ("of-.csv", "of-.jsonl", "of-.parquet", "of-table"):
        (tmp_path / name).mkdir()


def test_again_is_nothing_to_do(tmp_path: Path) -> None:
    there = lake(tmp_path)
    first = ingest(there, write(tmp_path, rows(50)))
    renamed = tmp_path / "renamed.parquet"
    os.rename(tmp_path / "rows.parquet", renamed)
    again = ingest(there, renamed, now=NOW + DAY)
    assert (first.again, again.again) == (False, True)
    assert replace(again, again=False) == first, "it is what the receipt says"
    assert set(numbers(there).values()) == {1}
    assert ingest(there, rows(50)).again is False, "a table is another input than a file of it"
    assert ingest(there, rows(50)).again is True
    assert ingest(there, rows(5, start=90), batch="2026-09").again is False
    assert ingest(there, rows(9, start=95), batch="2026-09").again is True


def test_receipts_outlive_snapshots_and_say_nothing_of_anybody(tmp_path: Path) -> None:
    there = lake(tmp_path)
    paths = [write(tmp_path, rows(20, start=n * 20), f"person-{n}.parquet") for n in range(3)]
    for path in paths:
        ingest(there, path)
    assert there.expire(LAYOUT, 2**62) == 2
    there.purge(LAYOUT)
    assert len(there.snapshots(LAYOUT)) == 1
    for path in paths:
        assert ingest(there, path).again
    assert len(numbers(there)) == 60
    assert b"person-" not in (tmp_path / "control.sqlite").read_bytes()
    assert b"thing-" not in (tmp_path / "control.sqlite").read_bytes()


def test_a_crash_between_commit_and_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = lake(tmp_path)
    path = write(tmp_path, rows(20))
    with monkeypatch.context() as patch:
        patch.setattr(type(there), "_settle", lambda *_: None)
        done = ingest(there, path)
    key = f"lake:orders:{done.id}"
    assert there.control.read("receipt", key) == ()
    assert ingest(there, path).again
    [receipt] = there.control.read("receipt", key)
    assert receipt.body["accepted"] == 20
    assert len(numbers(there)) == 20


def test_what_breaks_the_contract_is_quarantined(tmp_path: Path) -> None:
    there = lake(tmp_path)
    (tmp_path / "r.csv").write_text(
        "who,what,at,amount\nann,hat,2026-09-01,1\nbob,cap,2026-09-01,much\n,tie,2026-09-01,2\n"
    )
    done = ingest(there, tmp_path / "r.csv")
    assert (done.read, done.accepted, done.quarantined) == (3, 1, 2)
    assert done.reasons == {"T362": 1, "T361": 1}
    path = there.quarantine(LAYOUT).file(done.id)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(there.folder.stat().st_mode) == 0o700
    lines = list(there.quarantine(LAYOUT).lines())
    assert [(line["file"], line["row"], line["code"], line["column"]) for line in lines] == [
        ("r.csv", 2, "T362", "amount"), ("r.csv", 3, "T361", "who"),
    ]  # fmt: skip
    assert lines[0]["values"] == {"who": "bob", "what": "cap", "at": "2026-09-01", "amount": "much"}
    for path in there.folder.rglob("*"):
        if path.is_file() and path.suffix in (".parquet", ".avro"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_late_rows_keep_when_they_came(tmp_path: Path) -> None:
    there = lake(tmp_path)
    ingest(there, rows(10), now=NOW)
    ingest(there, rows(10, start=100), now=NOW + HOUR)  # dated a day before, and come after
    found = there.read(LAYOUT, NOW + HOUR, arrived=True)
    assert found.column_names[-1] == ARRIVED
    by_row = dict(zip(found["amount"].to_pylist(), found[ARRIVED].to_pylist(), strict=True))
    assert (by_row[3.0], by_row[103.0]) == (NOW, NOW + HOUR)
    known = there.read(LAYOUT, NOW + HOUR, known=NOW + HOUR - 1)
    assert sorted(known["amount"].to_pylist()) == [float(n) for n in range(10)]


def test_duplicates_by_an_id_of_their_own(tmp_path: Path) -> None:
    """Without such an id two like rows are two events; with one, they are one that came twice."""
    there = lake(tmp_path)
    twice = pa.concat_tables([rows(20), rows(5)])
    assert ingest(there, twice).accepted == 25
    other = lake(tmp_path / "of-table")
    first = ingest(other, write(tmp_path, twice, "a.parquet"), unique="amount")
    assert (first.accepted, first.reasons) == (20, {"T368": 5})
    assert [line["row"] for line in other.quarantine(LAYOUT).lines()] == [21, 22, 23, 24, 25]
    second = ingest(other, write(tmp_path, rows(20, start=10), "b.parquet"), unique="amount")
    assert (second.accepted, second.reasons) == (10, {"T368": 10})
    assert numbers(other) == {float(n): 1 for n in range(30)}
    with pytest.raises(DataError) as error:
        ingest(other, rows(1), unique="visit")
    assert error.value.code == "T369"


CONTENT = Layout("things", {"item": Type.TEXT, "title": Type.TEXT}, ("item",), key="item")


def test_content_is_replaced_as_a_whole(tmp_path: Path) -> None:
    there = lake(tmp_path)
    old = pa.table({"item": ["a", "b", "b"], "title": ["A", "B", "other"]})
    new = pa.table({"item": ["b", "c"], "title": ["B!", "C"]})
    assert ingest(there, old, CONTENT).reasons == {"T368": 1}
    assert ingest(there, new, CONTENT).accepted == 2
    assert there.read(CONTENT, NOW).sort_by("item").to_pylist() == new.to_pylist()
    assert ingest(there, new, CONTENT).again
    there.compact(CONTENT)
    assert ingest(there, new, CONTENT).again
    assert not ingest(there, old, CONTENT).again, "what was delivered before may be delivered again"
    assert there.read(CONTENT, NOW)["title"].to_pylist() == ["A", "B"]
    assert there.read(CONTENT, NOW, snapshot=there.snapshots(CONTENT)[1].snapshot_id).num_rows == 2


def test_a_schema_that_changes_half_way(tmp_path: Path) -> None:
    there = lake(tmp_path)
    ingest(there, rows(10))
    wider = replace(LAYOUT, columns={**COLUMNS, "shop": Type.TEXT})
    more = rows(10, start=10).append_column("shop", pa.array(["x"] * 10))
    assert ingest(there, more, wider).absent == ()
    old = ingest(there, rows(10, start=20), wider)
    assert old.absent == ("shop",)
    assert there.read(wider, NOW)["shop"].null_count == 20
    narrower = Layout("orders", {"who": Type.TEXT, "at": Type.TIME, "amount": Type.FLOAT},
                      ("who", "at"), "at", {"who": "person"})  # fmt: skip
    ingest(there, rows(10, start=30), narrower)
    assert there.read(narrower, NOW).column_names == ["who", "at", "amount"]
    kept = there.read(wider, NOW).sort_by("amount")
    assert kept["what"].null_count == 10, "what is declared no more is kept of rows of before"
    assert kept["what"][0].as_py() == "thing-0"
    assert numbers(there, narrower) == {float(n): 1 for n in range(40)}


@pytest.mark.parametrize(
    ("name", "kind"), [("amount", Type.TEXT), ("amount", Type.INT), ("what", Type.FLOAT)]
)
def test_a_type_that_cannot_change_is_refused(tmp_path: Path, name: str, kind: Type) -> None:
    there = lake(tmp_path)
    ingest(there, rows(10))
    with pytest.raises(DataError) as error:
        ingest(there, rows(10), replace(LAYOUT, columns={**COLUMNS, name: kind}))
    assert error.value.code == "T711"
    assert f"{name}_2" in error.value.fix
    with pytest.raises(DataError) as error:
        ingest(there, rows(10), replace(LAYOUT, columns={**COLUMNS, name.upper(): kind}))
    assert error.value.code == "T711"
    assert len(numbers(there)) == 10


def test_a_column_of_our_name() -> None:
    with pytest.raises(DataError) as error:
        Layout("orders", {"_Arrived": Type.TIME})
    assert error.value.code == "T369"


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    there = lake(tmp_path)
    path = write(tmp_path, rows(100))

    def grow(_: int) -> None:
        write(tmp_path, rows(200))

    with pytest.raises(DataError) as error:
        ingest(there, path, progress=grow)
    assert error.value.code == "T369"
    assert numbers(there) == {}
    assert not list(there.folder.rglob("*.parquet"))


def test_a_damaged_file_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "ROWS", 50)
    there = lake(tmp_path)
    path = tmp_path / "rows.parquet"
    pq.write_table(rows(400), path, row_group_size=100, compression="none")
    raw = bytearray(path.read_bytes())
    place = raw.find(b"person-", len(raw) // 2)
    raw[place - 60 : place + 400] = b"\xff" * 460
    path.write_bytes(raw)
    with pytest.raises(DataError) as error:
        ingest(there, path)
    assert error.value.code == "T302"
    assert numbers(there) == {}
    assert not list(there.folder.rglob("*.parquet"))
    assert not list(there.folder.rglob("*.partial"))


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = lake(tmp_path)
    ingest(there, rows(50))
    before = set(there.folder.rglob("*.parquet"))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files._Synced, "write", full)
    with pytest.raises(StoreError) as error:
        ingest(there, rows(50, start=50))
    assert error.value.code == "T701"
    monkeypatch.undo()
    assert set(there.folder.rglob("*.parquet")) == before
    assert ingest(there, rows(50, start=50)).again is False
    assert len(numbers(there)) == 100


def test_nothing_to_accept_is_ingested_too(tmp_path: Path) -> None:
    there = lake(tmp_path)
    (tmp_path / "r.csv").write_text("who,what,at,amount\n,x,y,z\n")
    assert ingest(there, tmp_path / "r.csv").accepted == 0
    assert ingest(there, tmp_path / "r.csv").again
    assert there.read(LAYOUT, NOW).schema == LAYOUT.schema()
    (tmp_path / "e.csv").write_text("who,what,at,amount\n")
    assert ingest(there, tmp_path / "e.csv").read == 0


def test_time_travel(tmp_path: Path) -> None:
    there = lake(tmp_path)
    for n in range(3):
        ingest(there, rows(10, start=10 * n))
    first, second, third = there.snapshots(LAYOUT)
    assert there.read(LAYOUT, NOW, snapshot=first.snapshot_id).num_rows == 10
    assert there.read(LAYOUT, NOW, at=second.timestamp_ms * 1000).num_rows in (20, 30)
    assert there.read(LAYOUT, NOW, at=third.timestamp_ms * 1000).num_rows == 30
    for how in ({"snapshot": 7}, {"at": first.timestamp_ms * 1000 - 1_000_000}):
        with pytest.raises(StoreError) as error:
            there.read(LAYOUT, NOW, **how)
        assert error.value.code == "T713"


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from lake_cases import ingest, lake
there = lake(Path({folder!r}))
sys.stdin.readline()
for name in {names!r}:
    print(ingest(there, Path({folder!r}) / name).again, flush=True)
"""


@pytest.mark.slow
def test_several_processes_at_once(tmp_path: Path) -> None:
    """Two ingest files of their own and one that both have: conflicts are tried again, and what
    both of them bring is there once."""
    lake(tmp_path).control.close()
    write(tmp_path, rows(30), "all.parquet")
    children = []
    for who in range(2):
        names = [f"{who}-{n}.parquet" for n in range(3)]
        for n, name in enumerate(names):
            write(tmp_path, rows(20, start=1000 * (who + 1) + 20 * n), name)
        code = CHILD.format(
            tests=str(Path(__file__).parent), folder=str(tmp_path), names=["all.parquet", *names]
        )
        children.append(
            subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    said = [child.communicate("go\n", timeout=120)[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sorted(lines[0] for lines in said) == ["False", "True"]
    there = lake(tmp_path)
    found = numbers(there)
    assert len(found) == 30 + 6 * 20
    assert set(found.values()) == {1}
    there.purge(LAYOUT)
    assert numbers(there) == found


def test_other_engines_read_the_files(tmp_path: Path) -> None:
    """DuckDB reads the Parquet as it is; pyiceberg's own scan reads the table. Nothing is in a form
    that Spark refuses: no INT96, no codes taken for a type, field ids in every file."""
    there = lake(tmp_path)
    ingest(there, rows(500))
    ingest(there, rows(500, start=500).append_column("who2", pa.array(["x"] * 500)))
    table = there.table(LAYOUT)
    assert table is not None
    paths = there.paths(table)
    assert paths is not None
    for path in paths:
        schema = pq.ParquetFile(path).schema
        assert {schema.column(i).physical_type for i in range(5)} == {
            "BYTE_ARRAY",
            "INT64",
            "DOUBLE",
        }
        arrow = pq.read_schema(path)
        assert arrow.types == [pa.string(), pa.string(), pa.int64(), pa.float64(), pa.int64()]
        assert [arrow.field(i).metadata[b"PARQUET:field_id"] for i in range(5)] == [
            b"1", b"2", b"3", b"4", b"5"
        ]  # fmt: skip
    found = duckdb.sql(
        f'SELECT who, what, "at", amount FROM read_parquet({[str(p) for p in paths]!r}) ORDER BY amount'
    ).to_arrow_table()
    assert found.to_pylist() == rows(1000).to_pylist()
    theirs = table.table.scan().to_arrow().sort_by("amount").drop_columns([ARRIVED])
    assert theirs.to_pylist() == rows(1000).to_pylist()
    one = table.table.scan(row_filter="who == 'person-7'").to_arrow()
    assert one.num_rows == 25, "their bucket is the one that the specification gives"


@pytest.mark.parametrize("size", [60_000, pytest.param(541_909, marks=pytest.mark.slow)])
def test_online_retail(size: int, tmp_path: Path, online_retail: Path) -> None:
    layout = Layout(
        "retail",
        {
            "customer": Type.TEXT, "item": Type.TEXT, "quantity": Type.INT, "price": Type.FLOAT,
            "at": Type.TIME,
        },
        ("customer", "at"), "at", {"customer": "person"},
    )  # fmt: skip
    there = lake(tmp_path)
    held = pq.read_schema(online_retail).field("customer").type
    if not pa.types.is_string(held):
        layout = replace(layout, columns={**layout.columns, "customer": Type.INT})
    some = pq.read_table(online_retail).slice(0, size)
    nobody = some["customer"].null_count
    assert nobody == 135_080 or size < 541_909
    assert nobody > 10_000
    pq.write_table(some, tmp_path / "some.parquet")
    done = ingest(there, tmp_path / "some.parquet", layout)
    assert (done.read, done.quarantined, done.reasons) == (size, nobody, {"T361": nobody})
    assert there.read(layout, NOW).num_rows == size - nobody
    assert sum(1 for _ in there.quarantine(layout).lines()) == nobody
