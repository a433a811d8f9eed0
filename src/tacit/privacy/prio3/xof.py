"""XofTurboShake128: seeds into longer streams, seeds and field vectors (§6.2.1; RFC 9861)."""

from __future__ import annotations

from Crypto.Hash import TurboSHAKE128

from tacit.errors import PrivacyError
from tacit.privacy.prio3.field import Field
from tacit.privacy.prio3.profile import Profile

DOMAIN = 1


def framed(profile: Profile, seed: bytes, tag: bytes, binder: bytes) -> bytes:
    """The message that TurboSHAKE128 absorbs. Raises PrivacyError T550 for a seed of wrong size."""
    if len(seed) != profile.seed_bytes:
        raise PrivacyError(
            f"a seed has {profile.seed_bytes} bytes, this one has {len(seed)}",
            code="T550",
            fix="pass a seed of the version's size",
        )
    prefix = bytes((len(seed),)) if profile.seed_prefixed else b""
    return len(tag).to_bytes(profile.tag_length_bytes, "little") + tag + prefix + seed + binder


class XofTurboShake128:
    """One stream. Never prints its state."""

    __slots__ = ("_sponge",)

    def __init__(self, profile: Profile, seed: bytes, tag: bytes, binder: bytes) -> None:
        self._sponge = TurboSHAKE128.new(domain=DOMAIN)
        self._sponge.update(framed(profile, seed, tag, binder))

    def next(self, length: int) -> bytes:
        """The next `length` bytes."""
        return bytes(self._sponge.read(length))

    def next_vec(self, field: Field, length: int) -> list[int]:
        """The next `length` elements; a word that is not below the modulus is skipped (§6.2)."""
        vector: list[int] = []
        while missing := length - len(vector):
            raw = self.next(missing * field.size)
            words = (
                int.from_bytes(raw[i : i + field.size], "little")
                for i in range(0, len(raw), field.size)
            )
            vector.extend(word for word in words if word < field.modulus)
        return vector


def derive_seed(profile: Profile, seed: bytes, tag: bytes, binder: bytes) -> bytes:
    """A fresh seed out of an old one (`derive_seed` of §6.2)."""
    return XofTurboShake128(profile, seed, tag, binder).next(profile.seed_bytes)


def expand_into_vec(
    profile: Profile, field: Field, seed: bytes, tag: bytes, binder: bytes, length: int
) -> list[int]:
    """`length` field elements out of a seed (`expand_into_vec` of §6.2)."""
    return XofTurboShake128(profile, seed, tag, binder).next_vec(field, length)
