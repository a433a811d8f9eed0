"""A target for atheris: one mechanism's decoders, fed with any bytes.

    python fuzz_local.py KEY CORPUS [libFuzzer's options]

The first byte chooses the decoder: reports (cut to messages of the right length and of any other),
or an aggregate. Only a PrivacyError may come out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

# Modules with compiled kernels must not be instrumented: numba reads their bytecode.
import tacit.privacy.local.hadamard_response
import tacit.privacy.local.local_hashing
import tacit.privacy.local.subset_selection  # noqa: F401

with atheris.instrument_imports(include=["tacit.privacy.local"]):
    from local_cases import every

from tacit.errors import PrivacyError
from tacit.privacy.randomness import unsafe_seeded

KEY = sys.argv.pop(1)
[MECHANISM] = [mechanism for mechanism in every() if mechanism.key == KEY]
RANDOM = unsafe_seeded(1)


def target(raw: bytes) -> None:
    kind, rest = raw[:1], raw[1:]
    if kind == b"\1":
        try:
            MECHANISM.decode([rest])
        except PrivacyError:
            return
        return
    size = MECHANISM.report_bytes
    batch = [(at.to_bytes(16, "big"), rest[at : at + size]) for at in range(0, len(rest) + 1, size)]
    good, refused = MECHANISM.admit(0, batch)
    assert len(good) + len(refused) == len(batch)
    MECHANISM.decode([MECHANISM.combine(0, good.items(), RANDOM)])


if __name__ == "__main__":
    # Kernels are loaded, or compiled, before the clock of an input runs.
    for seed in sorted(Path(sys.argv[1]).iterdir()):
        target(seed.read_bytes())
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
