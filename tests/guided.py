"""Coverage-guided fuzzing with atheris, which is installed into `build/` when it is missing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

TARGET = Path(__file__).parents[1] / "build" / "atheris"


def fuzz(script: Path, *words: str | Path, cwd: Path, seconds: int, longest: int = 2000) -> None:
    """Runs a target for some seconds: it must end by itself, within 3 GB, five seconds an input.

    Skips where atheris cannot be installed for this Python.
    """
    if not (TARGET / "atheris").is_dir():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(TARGET)]
        if subprocess.run([*install, "atheris"], capture_output=True).returncode:
            pytest.skip("atheris cannot be installed for this Python")
    # Not libFuzzer's own limit of memory: it reads a peak that outlives fork and exec, so that of
    # whatever test ran before.
    limits = [f"-max_total_time={seconds}", "-rss_limit_mb=0", "-malloc_limit_mb=512"]
    limits += ["-timeout=5", f"-max_len={longest}"]
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # or the code under test is another
    paths = (TARGET, script.parent, Path(__file__).parent, *filter(None, given))
    run = subprocess.run(
        [sys.executable, script, *words, *limits],
        # libFuzzer ends without cleaning up: what is left lies in the test's own folder.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "TMPDIR": str(cwd)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30)),
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Done" in run.stderr
