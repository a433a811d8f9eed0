"""What must go is gone: from the rows, from history, from quarantine, and from the disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_cases import COLUMNS, LAYOUT, NOW, everything, ingest, lake, numbers, rows

from examples import examples
from tacit.errors import StoreError
from tacit.store.lake import table as tables
from tacit.store.lake.compact import summed
from tacit.store.lake.layout import ARRIVED, Layout
from tacit.store.lake.locks import shared
from tacit.values import DAY, HOUR, Type


def test_one_person_leaves_no_byte(tmp_path: Path) -> None:
    there = lake(tmp_path)

    def some(start: int) -> pa.Table:
        table = rows(200, start=start)
        who = ["Quetzal" if name == "person-7" else name for name in table["who"].to_pylist()]
        return table.set_column(0, "who", pa.array(who))

    for n in range(4):
        ingest(there, some(200 * n))
    there.compact(LAYOUT)
    ingest(there, some(800))
    (tmp_path / "bad.jsonl").write_text(
        json.dumps({"who": "Quetzal", "what": 1, "at": "never", "amount": 1}) + "\n"
        + json.dumps({"who": "another", "what": 1, "at": "never", "amount": 1}) + "\n"
        + '{"who": "Quetzal", broken\n{"who": "a different", broken\n'
    )  # fmt: skip
    assert ingest(there, tmp_path / "bad.jsonl").quarantined == 4
    before = there.read(LAYOUT, NOW)
    found = everything(there.folder)
    assert found.count(b"'who': 'Quetzal'") == 45, "the scan finds what is there, history included"
    assert b'"Quetzal"' in found
    done = there.delete_subject(LAYOUT, "person", "Quetzal")
    assert done.rows == 25
    left = everything(there.folder)
    assert b"Quetzal" not in left
    assert b"Quetzal" not in (tmp_path / "control.sqlite").read_bytes()
    assert left.count(b"'who': 'person-8'") == 25
    assert len(list(there.quarantine(LAYOUT).lines())) == 2, "the others' rows are there still"
    others = before.filter([who != "Quetzal" for who in before["who"].to_pylist()])
    assert there.read(LAYOUT, NOW).sort_by("amount").equals(others.sort_by("amount"))
    again = there.delete_subject(LAYOUT, "person", "Quetzal")
    assert (again.rows, again.files) == (0, 0)
    for n in range(4):
        assert ingest(there, some(200 * n)).again, "a re-run does not bring them back"
    assert there.delete_subject(LAYOUT, "film", "person-8").rows == 0
    assert there.delete_subject(LAYOUT, "person", "nobody").rows == 0
    bodies = [record.body for record in there.control.read("receipt", "lake:orders:delete")]
    assert [body["rows"] for body in bodies] == [25, 0, 0, 0]
    assert bodies[0]["quarantined"] == 2


def test_no_bounds_of_anybody_are_kept(tmp_path: Path) -> None:
    """Manifests hold bounds of time, and of nothing else."""
    there = lake(tmp_path)
    ingest(there, rows(100))
    table = there.table(LAYOUT)
    assert table is not None
    dated = {table.table.schema().find_field(name).field_id for name in ("at", ARRIVED)}
    for file in table.files(table.table.current_snapshot()):
        assert set(file.lower_bounds) == set(file.upper_bounds) == dated
        assert set(file.null_value_counts or {}) <= dated


def test_a_person_in_two_columns(tmp_path: Path) -> None:
    """Rows lie by the sender's bucket; a receiver is found in all of them."""
    layout = Layout(
        "letters", {"sender": Type.TEXT, "receiver": Type.TEXT, "at": Type.TIME}, ("at",), "at",
        {"sender": "person", "receiver": "person"},
    )  # fmt: skip
    there = lake(tmp_path)
    names = [f"p{n}" for n in range(30)]
    ingest(there, pa.table({"sender": [*names, None], "receiver": [*names[1:], "p0", "p9"],
                            "at": pa.array([NOW] * 31)}), layout)  # fmt: skip
    assert there.delete_subject(layout, "person", "p9").rows == 3
    found = there.read(layout, NOW)
    assert "p9" not in found["sender"].to_pylist() + found["receiver"].to_pylist()
    assert found.num_rows == 28


def test_a_key_that_is_declared_no_more(tmp_path: Path) -> None:
    there = lake(tmp_path)
    ingest(there, rows(40))
    layout = replace(LAYOUT, columns={n: k for n, k in COLUMNS.items() if n != "who"},
                     required=("at",), subjects={})  # fmt: skip
    ingest(there, rows(5, start=100), layout)
    assert there.delete_subject(layout, "person", "person-3").rows == 1
    assert b"person-3'" not in everything(there.folder)
    assert len(numbers(there, layout)) == 44


def test_keys_that_are_numbers(tmp_path: Path) -> None:
    layout = replace(LAYOUT, columns={**COLUMNS, "who": Type.INT})
    there = lake(tmp_path)
    table = rows(40).set_column(0, "who", pa.array([n % 4 for n in range(40)]))
    ingest(there, table, layout)
    assert there.delete_subject(layout, "person", "3").rows == 0, "the text is nobody's key"
    assert there.delete_subject(layout, "person", 3).rows == 10
    assert set(there.read(layout, NOW)["who"].to_pylist()) == {0, 1, 2}


def test_retention_is_enforced_to_the_disk(tmp_path: Path) -> None:
    layout = replace(LAYOUT, keep=10 * DAY, kept={"what": 3 * DAY})
    there = lake(tmp_path)
    at = pa.array([NOW - n * DAY for n in range(10)], pa.int64())
    table = rows(10).set_column(2, "at", at)
    ingest(there, table, layout)
    (tmp_path / "bad.csv").write_text(
        "who,what,at,amount\nquarantined-old,x,2026-09-12,y\nquarantined-new,x,2026-09-20,y\n"
    )
    ingest(there, tmp_path / "bad.csv", layout)
    later = NOW + 4 * DAY
    # What is past its retention is not seen, even before it is deleted.
    seen = there.read(layout, later).sort_by("amount")
    assert seen["amount"].to_pylist() == [float(n) for n in range(7)]
    assert seen["what"].null_count == 7
    assert b"person-9'" in everything(there.folder)
    done = there.retain(layout, later)
    assert (done.rows, done.values) == (3, 7)
    left = everything(there.folder)
    for gone in (b"person-9'", b"person-7'", b"thing-", b"quarantined-old"):
        assert gone not in left, gone
    for kept in (b"person-6'", b"quarantined-new"):
        assert kept in left, kept
    assert there.read(layout, later).sort_by("amount").equals(seen)
    assert len(there.snapshots(layout)) == 1, "no snapshot leads to what is gone"
    again = there.retain(layout, later)
    assert (again.rows, again.values, again.files) == (0, 0, 0), "and nothing is written twice"
    assert there.retain(layout, NOW + 40 * DAY).rows == 7
    assert not list(there.folder.rglob("*.parquet"))
    assert not list(there.folder.rglob("*.jsonl"))


def test_content_about_people_is_kept_from_its_arrival_on(tmp_path: Path) -> None:
    layout = Layout("profiles", {"who": Type.TEXT, "bio": Type.TEXT}, ("who",), None,
                    {"who": "person"}, keep=DAY, key="who")  # fmt: skip
    there = lake(tmp_path)
    ingest(there, pa.table({"who": ["a", "b"], "bio": ["x", "y"]}), layout)
    assert there.read(layout, NOW + DAY).num_rows == 2
    assert there.read(layout, NOW + DAY + 1).num_rows == 0
    assert there.retain(layout, NOW + DAY + 1).rows == 2
    assert not list(there.folder.rglob("*.parquet"))


def test_many_files_become_few_with_the_same_rows(tmp_path: Path) -> None:
    there = lake(tmp_path)
    for n in range(6):
        ingest(there, rows(100, start=100 * n))
    table = there.table(LAYOUT)
    assert table is not None
    files = table.files(table.table.current_snapshot())
    before, proof = there.read(LAYOUT, NOW, arrived=True), summed(table, files)
    went, came = there.compact(LAYOUT)
    assert (went, came) == (len(files), 16)
    after = there.read(LAYOUT, NOW, arrived=True)
    assert after.sort_by("amount").equals(before.sort_by("amount"))
    first = there.snapshots(LAYOUT)[0]
    assert there.read(LAYOUT, NOW, snapshot=first.snapshot_id).num_rows == 100, "history is kept"
    assert there.compact(LAYOUT) == (0, 0)
    table = there.table(LAYOUT)
    assert table is not None
    assert summed(table, table.files(table.table.current_snapshot())) == proof
    there.expire(LAYOUT, 2**62)
    assert len(there.purge(LAYOUT)) > len(files)
    assert there.read(LAYOUT, NOW, arrived=True).equals(after)


def test_a_compaction_that_would_change_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = lake(tmp_path)
    for n in range(2):
        ingest(there, rows(100, start=100 * n))
    before = len(there.snapshots(LAYOUT))
    from tacit.store.lake.datafiles import DataFiles

    add = DataFiles.add
    monkeypatch.setattr(DataFiles, "add", lambda self, some: add(self, some.slice(1)))
    with pytest.raises(StoreError) as error:
        there.compact(LAYOUT)
    assert error.value.code == "T715"
    assert len(there.snapshots(LAYOUT)) == before
    assert len(numbers(there)) == 200


def test_rewrites_beside_an_ingestion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that come while a person's are deleted, or files compacted: none is lost, and those of
    the person among them go too."""
    there, other = lake(tmp_path), lake(tmp_path)
    ingest(there, rows(80))
    number = iter(range(1, 9))

    @contextmanager
    def beside() -> Iterator[None]:
        commit, left = tables.LakeTable.commit, [1]

        def late(self: tables.LakeTable, change: object) -> object:
            def slow(transaction: object) -> object:
                result = change(transaction)  # type: ignore[operator]
                if left[0]:
                    left[0] = 0
                    ingest(other, rows(80, start=80 * next(number)))
                return result

            return commit(self, slow)

        with monkeypatch.context() as patch:
            patch.setattr(tables.LakeTable, "commit", late)
            yield

    with beside():
        assert there.delete_subject(LAYOUT, "person", "person-5").rows == 4
    assert len(numbers(there)) == 156
    with beside():
        there.compact(LAYOUT)
    assert numbers(there).total() == 236
    assert len(numbers(there)) == 236
    with beside():
        ingest(there, rows(7, start=5000))
    assert len(numbers(there)) == 236 + 80 + 7


def test_files_are_not_taken_from_under_a_reader(tmp_path: Path) -> None:
    there = lake(tmp_path)
    ingest(there, rows(80))
    with there.reading(LAYOUT) as table:
        assert table is not None
        with pytest.raises(StoreError) as error:
            lake(tmp_path).delete_subject(LAYOUT, "person", "person-5", patience=0.05)
        assert error.value.code == "T703"
        assert all(path.exists() for path in there.paths(table) or ())
    assert b"person-5'" in everything(there.folder)
    with (
        shared(there.folder / "locks" / "orders.writing"),
        pytest.raises(StoreError),
    ):
        there.purge(LAYOUT, patience=0.05)
    there.purge(LAYOUT)
    assert b"person-5'" not in everything(there.folder)


def test_a_tag_of_another_engine_is_in_the_way(tmp_path: Path) -> None:
    there = lake(tmp_path)
    ingest(there, rows(80))
    table = there.table(LAYOUT)
    assert table is not None
    snapshot = table.table.current_snapshot()
    assert snapshot is not None
    table.table.manage_snapshots().create_tag(snapshot.snapshot_id, "audit").commit()
    with pytest.raises(StoreError) as error:
        there.delete_subject(LAYOUT, "person", "person-5")
    assert error.value.code == "T714"
    assert "'audit'" in error.value.message
    table.table.refresh()
    table.table.manage_snapshots().remove_tag("audit").commit()
    there.delete_subject(LAYOUT, "person", "person-5")
    assert b"person-5'" not in everything(there.folder)


def test_a_project_that_moved(tmp_path: Path) -> None:
    there = lake(tmp_path)
    ingest(there, rows(8))
    (tmp_path / "lake" / "warehouse").rename(tmp_path / "lake" / "elsewhere")
    with pytest.raises(StoreError) as error:
        there.read(LAYOUT, NOW)
    assert error.value.code == "T716"


@settings(max_examples=examples(8, 2))
@given(st.data())
def test_any_order_of_doings(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Against a plain list of rows: after ingesting, deleting, expiring rows and compacting in any
    order, the lake has what the list has."""
    folder = tmp_path_factory.mktemp("doings")
    there, model, now, size = lake(folder), [], NOW, 0
    layout = replace(LAYOUT, keep=2 * DAY)
    for _ in range(data.draw(st.integers(1, 6))):
        what = data.draw(st.sampled_from(["ingest", "again", "delete", "retain", "compact"]))
        if what == "ingest" or (what == "again" and not size):
            some = rows(12, people=5, start=size)
            size += 12
            ingest(there, some, layout, now=now)
            model += some.to_pylist()
        elif what == "again":
            assert ingest(there, rows(12, people=5, start=size - 12), layout, now=now).again
        elif what == "delete":
            who = data.draw(st.sampled_from([f"person-{n}" for n in range(6)]))
            there.delete_subject(layout, "person", who)
            model = [row for row in model if row["who"] != who]
        elif what == "retain":
            now += HOUR * data.draw(st.integers(0, 30))
            there.retain(layout, now)
        else:
            there.compact(layout)
        model = [row for row in model if row["at"] >= now - 2 * DAY]
        found = there.read(layout, now).sort_by("amount").to_pylist()
        assert found == sorted(model, key=lambda row: row["amount"])
    there.control.close()
