"""The XOF for many reports at once: seeds and binders in rows, streams out in rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tacit.privacy.prio3 import keccak
from tacit.privacy.prio3.keccak import Bytes
from tacit.privacy.prio3.layout import Layout
from tacit.privacy.prio3.limbs import Words, modulus_of, out_of_field
from tacit.privacy.prio3.profile import Usage
from tacit.privacy.prio3.xof import DOMAIN, expand_into_vec, framed

Part = bytes | Bytes
"""The same bytes for every report, or a row of bytes for each; shape (reports, k)."""


class Streams:
    """XofTurboShake128 (§6.2.1) in one variant and one application context."""

    def __init__(self, layout: Layout, context: bytes) -> None:
        self._layout, self._context = layout, context
        self._modulus = modulus_of(layout.circuit.field)

    def derive(self, usage: Usage, rows: int, seeds: Part, binders: Sequence[Part]) -> Bytes:
        """A seed for each report; shape (rows, seed bytes)."""
        padded, size = self._absorb(usage, rows, seeds, binders)
        return keccak.squeeze(padded, size, self._layout.profile.seed_bytes, DOMAIN)

    def expand(
        self, usage: Usage, rows: int, seeds: Part, binders: Sequence[Part], length: int
    ) -> Words:
        """`length` plain elements for each report, as words; shape (rows, words)."""
        field = self._layout.circuit.field
        padded, size = self._absorb(usage, rows, seeds, binders)
        stream = keccak.squeeze(padded, size, length * field.size, DOMAIN)
        words = stream.view(np.uint64)
        for row in np.flatnonzero(out_of_field(words, self._modulus)):
            # A word past the modulus is skipped, and all that follow move up: about never in
            # Field128, one in 2^32 words of Field64. The plain XOF does that report again.
            tag = self._layout.tag(usage, self._context)
            binder = b"".join(_of(part, int(row)) for part in binders)
            seed = _of(seeds, int(row))
            vector = expand_into_vec(self._layout.profile, field, seed, tag, binder, length)
            words[row] = np.frombuffer(field.encode(vector), np.uint64)
        return words

    def _absorb(
        self, usage: Usage, rows: int, seeds: Part, binders: Sequence[Part]
    ) -> tuple[Bytes, int]:
        profile = self._layout.profile
        tag = self._layout.tag(usage, self._context)
        head = framed(profile, bytes(profile.seed_bytes), tag, b"")[: -profile.seed_bytes]
        parts = [head, seeds, *binders]
        size = sum(len(part) if isinstance(part, bytes) else part.shape[1] for part in parts)
        padded = np.empty((rows, (size // keccak.RATE + 1) * keccak.RATE), np.uint8)
        padded[:, size:] = 0
        at = 0
        for part in parts:
            row = np.frombuffer(part, np.uint8) if isinstance(part, bytes) else part
            padded[:, at : at + row.shape[-1]] = row
            at += row.shape[-1]
        return padded, size


def _of(part: Part, row: int) -> bytes:
    return part if isinstance(part, bytes) else part[row].tobytes()
