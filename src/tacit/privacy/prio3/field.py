"""The two prime fields of Prio3, on plain integers, and their byte encoding (§6.1).

This is the slow, obvious arithmetic that the compiled kernels (`limbs`) are tested against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tacit.errors import PrivacyError


@dataclass(frozen=True, slots=True)
class Field:
    """A prime field with 2^`two_adicity`-th roots of unity (§6.1.2).

    `generator` generates the subgroup of that order; elements take `size` bytes, little-endian.
    """

    name: str
    modulus: int
    generator: int
    two_adicity: int
    size: int

    def root(self, n: int) -> int:
        """The principal `n`-th root of unity, `n` a power of two."""
        return _root(self, n)

    def inverse(self, x: int) -> int:
        """x^-1; x must not be zero."""
        return pow(x, -1, self.modulus)

    def encode(self, vector: Sequence[int]) -> bytes:
        """`encode_vec` of §6.1.1."""
        return b"".join(x.to_bytes(self.size, "little") for x in vector)

    def decode(self, encoded: bytes) -> list[int]:
        """`decode_vec` of §6.1.1. Raises PrivacyError T552 for a partial or too great element."""
        if len(encoded) % self.size:
            raise malformed(f"{len(encoded)} bytes are no whole number of {self.name} elements")
        vector = [
            int.from_bytes(encoded[i : i + self.size], "little")
            for i in range(0, len(encoded), self.size)
        ]
        if any(x >= self.modulus for x in vector):
            raise malformed(f"an element is not below the modulus of {self.name}")
        return vector

    def add(self, left: Sequence[int], right: Sequence[int]) -> list[int]:
        """left + right, element by element; equal lengths."""
        return [(a + b) % self.modulus for a, b in zip(left, right, strict=True)]

    def subtract(self, left: Sequence[int], right: Sequence[int]) -> list[int]:
        """left - right, element by element; equal lengths."""
        return [(a - b) % self.modulus for a, b in zip(left, right, strict=True)]

    def dot(self, left: Sequence[int], right: Sequence[int]) -> int:
        """Σ left·right; equal lengths."""
        return sum(a * b for a, b in zip(left, right, strict=True)) % self.modulus


@lru_cache(maxsize=256)
def _root(field: Field, n: int) -> int:
    return pow(field.generator, (1 << field.two_adicity) // n, field.modulus)


def malformed(message: str) -> PrivacyError:
    """The error for a message that does not decode."""
    return PrivacyError(
        message, code="T552", fix="reject the report: its sender does not follow the encoding"
    )


_P64 = 2**32 * 4294967295 + 1
_P128 = 2**66 * 4611686018427387897 + 1
FIELD64: Final = Field("Field64", _P64, pow(7, 4294967295, _P64), 32, 8)
FIELD128: Final = Field("Field128", _P128, pow(7, 4611686018427387897, _P128), 66, 16)
