"""Twenty seconds of coverage-guided fuzzing of every decoder of DAP."""

from __future__ import annotations

from pathlib import Path

import pytest

from guided import fuzz


@pytest.mark.slow
def test_no_bytes_break_a_decoder(tmp_path: Path) -> None:
    fuzz(Path(__file__).with_name("fuzz_dap.py"), tmp_path, cwd=tmp_path, seconds=20)
