"""What a device forgets, and when: the shortest time that any column of a row may be kept."""

from __future__ import annotations

from pathlib import Path

from tacit.demo.starter import start
from tacit.project import Project
from tacit.project.release import device_program
from tacit.values import DAY

SIGNAL = "first_enjoyed"


def test_a_source_is_kept_as_long_as_it_says(tmp_path: Path) -> None:
    start(tmp_path / "p")
    assert device_program(Project.load(tmp_path / "p"), SIGNAL).keep == {"history": 730 * DAY}


def test_a_narrowed_column_takes_its_row_with_it(tmp_path: Path) -> None:
    start(tmp_path / "p")
    module = tmp_path / "p" / "signals.py"
    written = module.read_text()
    narrowed = written.replace(
        '"at": time("user.behavior")', '"at": time("user.behavior").narrow(keep="90d")'
    )
    assert narrowed != written
    module.write_text(narrowed)
    assert device_program(Project.load(tmp_path / "p"), SIGNAL).keep == {"history": 90 * DAY}
