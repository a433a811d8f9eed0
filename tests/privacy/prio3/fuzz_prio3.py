"""A target for atheris: what aggregators and collectors read of Prio3, fed with any bytes.

    python fuzz_prio3.py CORPUS [libFuzzer's options]

The first byte chooses the instance, the second what is replaced by the rest: a public share, an
input share, a verifier share, a verifier message, or an aggregate share. Only a PrivacyError may
come out, and the report beside it is accepted whatever happens to this one.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import atheris
from test_prio3_adversary import CONTEXT, KEY, ONES, fresh, verify

from tacit.errors import PrivacyError
from tacit.privacy.prio3 import batch as batches
from tacit.privacy.prio3 import field, layout
from tacit.privacy.prio3 import prio3 as plain
from tacit.privacy.prio3.batch import Batch

# One by one: numba reads the bytecode of kernels, so whole modules must not be instrumented.
for cls in (layout.Layout, batches.Batch, plain.Prio3, field.Field):
    for member in list(vars(cls).values()):
        if inspect.isfunction(member):
            atheris.instrument_func(member)

NAMES = sorted(ONES)
FRESH = {name: fresh(name) for name in NAMES}


def target(raw: bytes) -> None:
    if len(raw) < 2:
        return
    one, whole = FRESH[NAMES[raw[0] % len(NAMES)]]
    part, rest = raw[1] % 6, raw[2:]
    if part < 4:  # nonce, public share, either input share
        reports = [list(whole[0]), list(whole[1])]
        reports[1][part] = rest
        assert set(verify(one, reports).refused) <= {1}
        return
    context = CONTEXT if one.layout.profile.has_context else b""
    batch = Batch(one)
    if part == 4:
        columns = list(zip(*whole[:2], strict=True))
        key = KEY[: one.verify_key_bytes]
        begun = batch.verify_init(key, context, 0, columns[0], columns[1], columns[2])
        mine = begun.accepted[0][1]
        batch.verifier_shares_to_message(context, [[mine, rest], [rest, mine]])
        batch.verify_next([begun.accepted[0][0], begun.accepted[1][0]], [rest, rest])
        return
    try:
        one.unshard([rest, rest], len(rest) % 7)
    except PrivacyError:
        return


def main() -> None:
    """Begins with what is right, so that the search need not find it."""
    corpus = Path(sys.argv[1])
    for index, name in enumerate(NAMES):
        _, reports = FRESH[name]
        for part in range(4):
            (corpus / f"{index}-{part}").write_bytes(bytes([index, part]) + reports[1][part])
    # Kernels are loaded, or compiled, before the clock of an input runs.
    for seed in sorted(corpus.iterdir()):
        target(seed.read_bytes())
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
