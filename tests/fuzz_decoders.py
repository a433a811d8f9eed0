"""Coverage-guided fuzzing of `decoders.ALL` with atheris; `test_decoders` runs it.

    python fuzz_decoders.py CORPUS [libFuzzer's options]

The first byte chooses the decoder. Anything but an answer or its refusals ends it with an error.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

# Modules with compiled kernels must not be instrumented: numba reads their bytecode.
import tacit.privacy.encoding
import tacit.privacy.noise_kernels
import tacit.privacy.randomness  # noqa: F401

with atheris.instrument_imports(
    include=[
        "tacit.collect.shuffler",
        "tacit.collect.dap.errors",
        "tacit.collect.dap.task",
        "tacit.govern.spends",
        "tacit.privacy.hpke",
        "tacit.privacy.wire",
        "tacit.privacy.vector_sum",
        "tacit.privacy.histogram",
        "tacit.store.witness",
    ]
):
    from decoders import ALL

CASES = sorted(ALL.items())


def one(data: bytes) -> None:
    if data:
        CASES[data[0] % len(CASES)][1].meets(data[1:])


if __name__ == "__main__":
    corpus = Path(sys.argv[1])
    for index, (_, case) in enumerate(CASES):
        (corpus / f"{index}").write_bytes(bytes([index]) + case.good)
    # Kernels are loaded, or compiled, before the clock of an input runs.
    for seed in sorted(corpus.glob("[0-9]*")):
        one(seed.read_bytes())
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
