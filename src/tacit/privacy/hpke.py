"""Hybrid public key encryption: base mode, single shot (RFC 9180, sections 4 to 6.1).

One KEM, DHKEM(X25519, HKDF-SHA256); one KDF, HKDF-SHA256; three AEADs. Each message has an
ephemeral key of its own, so the sequence number is always 0 and nothing is kept between calls.
Curve and ciphers are those of the `cryptography` library; what stands here is the key schedule.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tacit.errors import SecurityError
from tacit.privacy.randomness import Randomness
from tacit.values import Secret

KEM_X25519: Final = 0x0020
KDF_SHA256: Final = 0x0001
AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305 = 0x0001, 0x0002, 0x0003
KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
_NONCE_BYTES = 12


class _Cipher(Protocol):
    """An AEAD of the `cryptography` library."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


_AEADS: Final[Mapping[int, tuple[type[AESGCM] | type[ChaCha20Poly1305], int]]] = {
    AES_128_GCM: (AESGCM, 16),
    AES_256_GCM: (AESGCM, 32),
    CHACHA20_POLY1305: (ChaCha20Poly1305, 32),
}


@dataclass(frozen=True, slots=True)
class Suite:
    """A KEM, a KDF and an AEAD by their code points (section 7)."""

    kem: int = KEM_X25519
    kdf: int = KDF_SHA256
    aead: int = AES_128_GCM

    @property
    def spoken(self) -> bool:
        """Whether `seal` and `open_` know it."""
        return (self.kem, self.kdf) == (KEM_X25519, KDF_SHA256) and self.aead in _AEADS

    def check(self) -> None:
        """Raises SecurityError T640 for a suite that is not spoken here."""
        if not self.spoken:
            raise SecurityError(
                f"the HPKE suite {self.kem:#06x}, {self.kdf:#06x}, {self.aead:#06x} is not"
                " spoken here",
                code="T640",
                fix="use X25519, HKDF-SHA256 and AES-GCM or ChaCha20-Poly1305",
            )


class PrivateKey:
    """A recipient's X25519 key pair. Printing it shows the public half."""

    __slots__ = ("_key", "_raw", "public")

    def __init__(self, raw: Secret) -> None:
        if len(raw.reveal()) != KEY_BYTES:
            raise _bad_key(f"an X25519 private key has {KEY_BYTES} bytes")
        self._raw = raw
        self._key = X25519PrivateKey.from_private_bytes(raw.reveal())
        self.public: bytes = self._key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, randomness: Randomness) -> PrivateKey:
        """A new one. Any 32 uniform bytes are an X25519 private key (RFC 7748, section 5)."""
        return cls(Secret(randomness.bytes(KEY_BYTES)))

    @property
    def secret(self) -> Secret:
        """What must be kept."""
        return self._raw

    def exchange(self, public: bytes) -> bytes:
        """The Diffie-Hellman value. Raises SecurityError T642 for a key of low order."""
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:  # another length, or the all-zero result of section 7.1.4
            raise _bad_key("this is no X25519 public key that can be used") from None

    def __repr__(self) -> str:
        return f"PrivateKey(public {self.public.hex()})"


def seal(
    suite: Suite, public: bytes, info: bytes, aad: bytes, plaintext: bytes, randomness: Randomness
) -> tuple[bytes, bytes]:
    """`SealBase`: the encapsulated key (32 bytes), and the ciphertext.

    Raises SecurityError T640 for an unknown suite, T642 for a public key that is none.
    """
    return seal_with(PrivateKey.generate(randomness), suite, public, info, aad, plaintext)


def seal_with(
    ephemeral: PrivateKey, suite: Suite, public: bytes, info: bytes, aad: bytes, plaintext: bytes
) -> tuple[bytes, bytes]:
    """`seal` with a given ephemeral key, for the standard's vectors: a key must serve once only."""
    suite.check()
    shared = _shared_secret(ephemeral.exchange(public), ephemeral.public, public)
    cipher, nonce = _context(suite, info).schedule(shared)
    return ephemeral.public, cipher.encrypt(nonce, plaintext, aad)


class Recipient:
    """Whoever opens messages of one kind: with one key, one suite, one `info`.

    What no message changes is computed once. Safe to share among threads. Raises SecurityError T640
    for an unknown suite.
    """

    __slots__ = ("_context", "_key", "_suite")

    def __init__(self, suite: Suite, key: PrivateKey, info: bytes) -> None:
        suite.check()
        self._suite, self._key, self._context = suite, key, _context(suite, info)

    def open(self, aad: bytes, encapsulated: bytes, ciphertext: bytes) -> bytes:
        """`OpenBase`: the plaintext.

        Raises SecurityError T641 when it was not sealed so to this key, T642 for an encapsulated
        key that is none.
        """
        key = self._key
        shared = _shared_secret(key.exchange(encapsulated), encapsulated, key.public)
        cipher, nonce = self._context.schedule(shared)
        try:
            return cipher.decrypt(nonce, ciphertext, aad)
        except InvalidTag:
            raise SecurityError(
                "a message was not sealed to this key, or was changed on its way",
                code="T641",
                fix="seal it to the current key, for this recipient and with this associated data",
            ) from None


def open_(
    suite: Suite, key: PrivateKey, info: bytes, aad: bytes, encapsulated: bytes, ciphertext: bytes
) -> bytes:
    """`Recipient.open` of one message. Raises SecurityError T640 to T642."""
    return Recipient(suite, key, info).open(aad, encapsulated, ciphertext)


@dataclass(frozen=True, slots=True)
class _Context:
    """What `KeySchedule` (section 5.1) in mode base knows of a suite and an `info`: its labelled
    inputs, up to what depends on the message."""

    kind: type[AESGCM] | type[ChaCha20Poly1305]
    key_bytes: int
    secret: bytes
    key: bytes
    nonce: bytes

    def schedule(self, shared: bytes) -> tuple[_Cipher, bytes]:
        """The cipher, and the nonce of message 0."""
        secret = hmac.digest(shared, self.secret, "sha256")
        key = hmac.digest(secret, self.key, "sha256")[: self.key_bytes]
        return self.kind(key), hmac.digest(secret, self.nonce, "sha256")[:_NONCE_BYTES]


@functools.lru_cache(maxsize=256)
def _context(suite: Suite, info: bytes) -> _Context:
    parts = (suite.kem, suite.kdf, suite.aead)
    tag = b"HPKE" + b"".join(part.to_bytes(2, "big") for part in parts)
    hashes = _extract(tag, b"", b"psk_id_hash", b"") + _extract(tag, b"", b"info_hash", info)
    kind, key_bytes = _AEADS[suite.aead]
    return _Context(
        kind,
        key_bytes,
        _to_extract(tag, b"secret", b""),
        _to_expand(tag, b"key", b"\x00" + hashes, key_bytes),
        _to_expand(tag, b"base_nonce", b"\x00" + hashes, _NONCE_BYTES),
    )


def _shared_secret(exchanged: bytes, encapsulated: bytes, public: bytes) -> bytes:
    """`ExtractAndExpand` of section 4.1."""
    prk = hmac.digest(b"", _EXTRACTED + exchanged, "sha256")
    return hmac.digest(prk, _EXPANDED + encapsulated + public + b"\x01", "sha256")


def _extract(tag: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    """`LabeledExtract` of section 4."""
    return hmac.digest(salt, _to_extract(tag, label, ikm), "sha256")


def _to_extract(tag: bytes, label: bytes, ikm: bytes) -> bytes:
    """What `LabeledExtract` digests."""
    return b"HPKE-v1" + tag + label + ikm


def _to_expand(tag: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """What `LabeledExpand` digests, for at most one block of output (RFC 5869, section 2.3)."""
    return length.to_bytes(2, "big") + b"HPKE-v1" + tag + label + info + b"\x01"


_KEM_SUITE = b"KEM" + KEM_X25519.to_bytes(2, "big")
_EXTRACTED = _to_extract(_KEM_SUITE, b"eae_prk", b"")
_EXPANDED = _to_expand(_KEM_SUITE, b"shared_secret", b"", KEY_BYTES)[:-1]


def _bad_key(what: str) -> SecurityError:
    return SecurityError(what, code="T642", fix="pass the 32 bytes of a valid X25519 key")
