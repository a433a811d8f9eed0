"""A file is there whole, or it is not there; whatever stood before still stands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tacit.errors import StoreError
from tacit.store import atomic
from tacit.store.atomic import alone, create_file, make_folder, replace_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_parts_are_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    replace_file(path, [b"one", b"", memoryview(b"two")])
    assert path.read_bytes() == b"onetwo"
    assert path.stat().st_mode & 0o777 == 0o600
    replace_file(path, [b"three"], mode=0o644)
    assert path.read_bytes() == b"three"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(path.parent) == ["file"]


def test_what_fails_half_way_leaves_what_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, [b"before"])

    def parts() -> Iterator[bytes]:
        yield b"half"
        raise ValueError("the other half")

    with pytest.raises(ValueError, match="other half"):
        replace_file(path, parts())
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["file"]


def test_a_file_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert create_file(path, [b"first"])
    assert not create_file(path, [b"second"])
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["key"]


def test_of_two_at_once_one_creates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    link = os.link

    def slower(aside: str, place: Path) -> None:
        path.write_bytes(b"other")  # another process was first, after we looked
        link(aside, place)

    monkeypatch.setattr(os, "link", slower)
    assert not create_file(path, [b"ours"])
    assert path.read_bytes() == b"other"
    assert names(tmp_path) == ["key"]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    for action in (
        lambda: replace_file(tmp_path / "file" / "below", [b""]),
        lambda: create_file(tmp_path / "file" / "below", [b""]),
        lambda: make_folder(tmp_path / "file" / "below"),
        lambda: make_folder(tmp_path / "file"),
        lambda: replace_file(tmp_path, [b""]),
    ):
        with pytest.raises(StoreError) as refused:
            action()
        assert refused.value.code == "T704"
    assert (tmp_path / "file").read_bytes() == b"in the way"


def test_a_full_disk(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", tmp_path], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a file system needs root")
    try:
        path = tmp_path / "file"
        replace_file(path, [b"before"])
        for write in (replace_file, create_file):
            with pytest.raises(StoreError) as refused:
                write(path if write is replace_file else tmp_path / "key", [bytes(1 << 20)])
            assert refused.value.code == "T701"
        assert path.read_bytes() == b"before"
        assert names(tmp_path) == ["file"]
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


HOLDER = """
import sys
from pathlib import Path
from tacit.store.atomic import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_works_at_a_time_and_death_lets_go(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(StoreError) as refused, alone(lock):
        pytest.fail("two at once")
    assert refused.value.code == "T703"
    holder.kill()
    holder.communicate()
    with alone(lock):
        pass


def test_errors_of_the_work_itself_pass_the_lock(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), alone(tmp_path / "lock"):
        raise BlockingIOError
    with alone(tmp_path / "lock"):
        pass


def test_the_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(atomic, "sync_folder", synced.append)
    replace_file(tmp_path / "file", [b""])
    assert synced == [tmp_path]
