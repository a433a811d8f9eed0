"""Random bytes: the one place where entropy enters, and the stream cipher that stretches it.

`system()` keeps no state at all. Every call draws a fresh 256-bit key from the operating system
and, past a few hundred bytes, expands it with ChaCha20 (RFC 8439, section 2.4) under a zero
nonce. A key is used once, so nonces cannot repeat; and with nothing kept, a forked process, a
copied object or a thread can never replay another's stream.

`expand` is the same cipher as a public pseudorandom generator: two parties who hold one seed
derive the same words, each domain its own. Words are little-endian on every machine.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from tacit.errors import PrivacyError

SEED_BYTES = 32

_DIRECT = 256  # up to here the operating system's own bytes cost less than a key and a cipher
_CHUNK = bytes(1 << 18)  # zeros to encrypt; a chunk that stays in the cache
_LONGEST = 1 << 37  # bytes of one stream: half of what ChaCha20's 32-bit block counter allows


class Randomness:
    """A source of uniform random bytes. Make one with `system` or, in tests, `unsafe_seeded`."""

    __slots__ = ("_draw", "_kind")

    def __init__(self, kind: str, draw: Callable[[int], npt.NDArray[np.uint8]]) -> None:
        self._kind = kind
        self._draw = draw

    def bytes(self, n: int) -> bytes:
        """`n` uniform bytes. Raises PrivacyError T502 if `n` is negative or past 2^34."""
        return self._draw(_length(n)).tobytes()

    def uint32(self, n: int) -> npt.NDArray[np.uint32]:
        """`n` independent uniform words of 32 bits; shape (n,)."""
        return _words32(self._draw(_length(n) * 4))

    def uint64(self, n: int) -> npt.NDArray[np.uint64]:
        """`n` independent uniform words of 64 bits; shape (n,)."""
        return _words64(self._draw(_length(n) * 8))

    def __repr__(self) -> str:
        return f"Randomness({self._kind})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Randomness is not pickled; make a new one where it is used")


def system() -> Randomness:
    """The operating system's CSPRNG, stretched. Without state; safe across threads and forks."""
    return Randomness("system", _draw_system)


def unsafe_seeded(seed: int | bytes) -> Randomness:
    """A reproducible stream, for tests and simulations only: whoever knows the seed knows it all.

    The n-th call of an instance uses the n-th stream of the seed.
    """
    raw = seed if isinstance(seed, bytes) else str(int(seed)).encode()
    key = hashlib.blake2b(raw, digest_size=SEED_BYTES, person=b"tacit unsafe").digest()
    calls = 0

    def draw(n: int) -> npt.NDArray[np.uint8]:
        nonlocal calls
        calls += 1
        return _stream(_derive(key, b"unsafe call %d" % calls), n)

    return Randomness("unsafe_seeded", draw)


def expand(seed: bytes, words: int, *, domain: bytes) -> npt.NDArray[np.uint32]:
    """`words` pseudorandom 32-bit words of a 32-byte seed; shape (words,).

    Streams of different seeds or domains are independent to anybody without the seeds: the cipher
    key is BLAKE2b (RFC 7693) of the domain keyed by the seed. Raises PrivacyError T502.
    """
    return _words32(_stream(_derive(seed, domain), _length(words) * 4))


def expand64(seed: bytes, words: int, *, domain: bytes) -> npt.NDArray[np.uint64]:
    """`expand` for words of 64 bits."""
    return _words64(_stream(_derive(seed, domain), _length(words) * 8))


def _draw_system(n: int) -> npt.NDArray[np.uint8]:
    if n <= _DIRECT:
        return np.frombuffer(secrets.token_bytes(n), np.uint8).copy()
    return _stream(secrets.token_bytes(SEED_BYTES), n)


def _derive(seed: bytes, domain: bytes) -> bytes:
    if len(seed) != SEED_BYTES:
        raise PrivacyError(
            f"a seed has {SEED_BYTES} bytes, this one has {len(seed)}",
            code="T502",
            fix="pass exactly 32 bytes from a random source",
        )
    hashed = hashlib.blake2b(key=seed, digest_size=SEED_BYTES, person=b"tacit expand")
    hashed.update(domain)
    return hashed.digest()


def _stream(key: bytes, n: int) -> npt.NDArray[np.uint8]:
    """`n` bytes of the ChaCha20 key stream; the key must never be used again."""
    encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    out = np.empty(n, np.uint8)
    zeros = memoryview(_CHUNK)
    for start in range(0, n, len(_CHUNK)):
        part = out[start : start + len(_CHUNK)]
        encryptor.update_into(zeros[: len(part)], part.data)
    return out


def _length(n: int) -> int:
    if not 0 <= n <= _LONGEST // 8:
        raise PrivacyError(
            f"{n} is not a number of random values this can give at once",
            code="T502",
            fix="ask for zero or more, in parts of at most 2^34",
        )
    return int(n)


def _words32(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    return raw.view("<u4").astype(np.uint32, copy=False)


def _words64(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    return raw.view("<u8").astype(np.uint64, copy=False)
