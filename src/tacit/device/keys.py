"""Signing keys: Ed25519 (RFC 8032), each signature made for one stated purpose.

The message that is signed is `domain ‖ 0 ‖ message`, so that a signature made for one purpose never
verifies for another.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tacit.errors import SecurityError
from tacit.privacy import randomness
from tacit.store.atomic import sync_folder
from tacit.values import Secret

SIGNATURE_BYTES = 64
KEY_BYTES = 32
ID_BYTES = 16
_PREFIX = "ed25519:"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The 32 bytes that verify. May be shown, written down and shipped."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != KEY_BYTES:
            raise _malformed(f"it has {len(self.raw)} bytes, not {KEY_BYTES}", None)

    @property
    def id(self) -> bytes:
        """16 bytes that tell keys apart in a file's header. They prove nothing by themselves."""
        return hashlib.sha256(b"tacit.key.id\x00" + self.raw).digest()[:ID_BYTES]

    @property
    def text(self) -> str:
        """One line, such as `ed25519:11qYAYKxCrfVS…`, for a configuration file."""
        return _PREFIX + base64.b64encode(self.raw).decode()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that `text` printed. Raises SecurityError T630 for anything else."""
        body = text.strip()
        if not body.startswith(_PREFIX):
            raise _malformed(f"it does not begin with {_PREFIX!r}", None)
        try:
            return cls(base64.b64decode(body.removeprefix(_PREFIX), validate=True))
        except (binascii.Error, ValueError):
            raise _malformed("it is not base64", None) from None

    def verify(self, domain: str, message: bytes, signature: bytes) -> None:
        """Raises SecurityError T631 unless this key signed the message for this purpose."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, _framed(domain, message))
        except (InvalidSignature, ValueError):
            raise SecurityError(
                "the signature does not verify",
                code="T631",
                where=f"domain {domain}",
                fix="fetch the signed bytes again, from whoever holds the key",
            ) from None


class SigningKey:
    """The private half. It never prints itself."""

    __slots__ = ("_seed", "public")

    def __init__(self, seed: Secret) -> None:
        if len(seed.reveal()) != KEY_BYTES:
            raise _malformed(f"a seed has {KEY_BYTES} bytes", None)
        self._seed = seed
        private = Ed25519PrivateKey.from_private_bytes(seed.reveal())
        self.public = PublicKey(private.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Self:
        """A new key, in memory only."""
        return cls(Secret(randomness.system().bytes(KEY_BYTES)))

    @classmethod
    def load_or_create(cls, path: str | Path) -> Self:
        """The key kept in a file; made on the first call, readable by its owner only (0600).

        Two processes that call this at once get the same key. Raises SecurityError T630 if the
        file is no key, T632 if others may read it.
        """
        path = Path(path)
        if not path.exists():
            _create(path, cls.generate()._seed)
        try:
            mode = path.stat().st_mode
            raw = path.read_bytes()
        except OSError as error:
            raise _malformed(f"it cannot be read: {error.strerror}", path) from None
        if mode & 0o077:
            raise SecurityError(
                f"others may read the signing key (mode {mode & 0o777:o})",
                code="T632",
                where=str(path),
                fix=f"chmod 600 {path}; if others could have read it, make a new key",
            )
        if len(raw) != KEY_BYTES:
            raise _malformed(f"a key file has {KEY_BYTES} bytes, this one {len(raw)}", path)
        return cls(Secret(raw))

    def sign(self, domain: str, message: bytes) -> bytes:
        """64 bytes, for this purpose only."""
        private = Ed25519PrivateKey.from_private_bytes(self._seed.reveal())
        return private.sign(_framed(domain, message))

    def __repr__(self) -> str:
        return f"SigningKey({self.public.id.hex()})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a SigningKey is not pickled; load it where it is used")


def _create(path: Path, seed: Secret) -> None:
    """Write the seed aside and link it into place: a reader sees all of it or no file."""
    aside = path.with_name(f".{path.name}.{os.getpid()}-{randomness.system().bytes(4).hex()}")
    try:
        handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(handle, seed.reveal())
            os.fsync(handle)
        finally:
            os.close(handle)
        with contextlib.suppress(FileExistsError):  # another process was first: its key counts
            os.link(aside, path)
        sync_folder(path.parent)
    except OSError as error:
        raise _malformed(f"it cannot be written: {error.strerror}", path) from None
    finally:
        aside.unlink(missing_ok=True)


def _framed(domain: str, message: bytes) -> bytes:
    return domain.encode() + b"\x00" + message


def _malformed(why: str, path: Path | None) -> SecurityError:
    return SecurityError(
        f"this is no Ed25519 key: {why}",
        code="T630",
        where=str(path) if path else None,
        fix="give the key as Tacit printed or wrote it",
    )
