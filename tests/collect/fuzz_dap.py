"""Coverage-guided fuzzing of every decoder with atheris; `test_dap_atheris` runs it.

    python fuzz_dap.py CORPUS -max_total_time=20 -rss_limit_mb=2048 -timeout=5

The first byte chooses the decoder. Anything but a refusal of ours ends it with an error, and so do
five seconds without an answer, two gigabytes, and a message that is not written back as it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tacit.collect.dap"]):
    from test_dap_fuzz import ALL, NO_REWRITE

from tacit.errors import CollectError

CASES = sorted(ALL.items())


def one(data: bytes) -> None:
    if not data:
        return
    name, (_, read, write) = CASES[data[0] % len(CASES)]
    body = data[1:]
    try:
        value = read(body)
    except CollectError:
        return
    if not name.endswith(NO_REWRITE) and write(value) != body:
        raise AssertionError(name)


if __name__ == "__main__":
    corpus = Path(sys.argv[1])
    for i, (_, case) in enumerate(CASES):
        (corpus / f"{i}").write_bytes(bytes([i]) + case[0])
    # Kernels are loaded, or compiled, before the clock of an input runs.
    for seed in sorted(corpus.iterdir()):
        one(seed.read_bytes())
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
