"""Twenty seconds of coverage-guided fuzzing, with atheris installed into `build/` when missing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "build" / "atheris"


@pytest.mark.slow
def test_no_bytes_break_a_decoder(tmp_path: Path) -> None:
    if not (TARGET / "atheris").is_dir():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(TARGET)]
        done = subprocess.run([*install, "atheris"], capture_output=True, text=True)
        if done.returncode:
            pytest.skip("atheris cannot be installed for this Python")
    path = os.pathsep.join([str(TARGET), str(HERE)])
    # Not libFuzzer's own limit of memory: it reads a peak that outlives fork and exec, so that of
    # whatever test ran before.
    limits = ["-max_total_time=20", "-rss_limit_mb=0", "-malloc_limit_mb=512"]
    limits += ["-timeout=5", "-max_len=2000"]
    run = subprocess.run(
        [sys.executable, str(HERE / "fuzz_dap.py"), str(tmp_path), *limits],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30)),
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Done" in run.stderr
