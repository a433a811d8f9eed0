"""The vault's file: how a SQLCipher connection is opened, and how a wrong key is told from damage.

SQLCipher authenticates each page with a key derived from ours and from the file's first 16 bytes,
its salt. A failing page does not say which of the two was wrong. So the salt is made of 8 random
bytes and the first 8 bytes of HMAC-SHA256(key, domain, those): a check that anybody with the key
can do, and that tells nobody without it anything about a 256-bit key.
"""

from __future__ import annotations

import hmac
from pathlib import Path

import sqlcipher3

from tacit.errors import StoreError, TacitError, VaultError
from tacit.privacy import randomness
from tacit.store.sqlite import refusal
from tacit.values import Secret

KEY_BYTES = 32
_HALF = 8
_PLAIN = b"SQLite format 3\x00"
_DOMAIN = b"tacit.vault.key.v1\x00"

# How long to wait, in milliseconds, while another process writes to the same vault.
_BUSY = 5_000


def connect(
    path: Path, key: Secret, salt: bytes, *, unsafe_not_durable: bool
) -> sqlcipher3.Connection:
    """A connection that holds the key. A wrong key shows at the first read, not here."""
    journal, synchronous = ("MEMORY", "OFF") if unsafe_not_durable else ("TRUNCATE", "FULL")
    try:
        connection = sqlcipher3.connect(
            str(path), isolation_level=None, check_same_thread=False, timeout=_BUSY / 1000
        )
    except sqlcipher3.Error as error:
        raise refused(error, path) from None
    try:
        # SQLCipher would print each failing page to stderr; our errors say it.
        connection.execute("PRAGMA cipher_log_level = NONE")
        # A script, because single statements stay in the connection's cache, and the key with them.
        connection.executescript(f"PRAGMA key = \"x'{(key.reveal() + salt).hex()}'\"")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(f"PRAGMA journal_mode = {journal}")
    except sqlcipher3.Error as error:
        connection.close()
        raise refused(error, path) from None
    return connection


def new_salt(key: Secret) -> bytes:
    """16 bytes for a new file: 8 at random, 8 that check the key."""
    random = randomness.system().bytes(_HALF)
    return random + _check(key, random)


def check_key(key: Secret, path: Path) -> None:
    """Raises VaultError T611 unless the key has 32 bytes."""
    if not isinstance(key, Secret) or len(key.reveal()) != KEY_BYTES:
        raise VaultError(
            f"a vault's key is a Secret of {KEY_BYTES} bytes",
            code="T611",
            where=str(path),
            fix="give the raw key from the device's keystore, not a passphrase",
        )


def check_header(path: Path, key: Secret) -> None:
    """Raises VaultError T611, T612 or T615 by looking at the file's first 16 bytes only."""
    try:
        with path.open("rb") as file:
            head = file.read(2 * _HALF)
    except FileNotFoundError:
        raise VaultError(
            "there is no vault", code="T615", where=str(path), fix="Vault.create() it first"
        ) from None
    except OSError as error:
        raise io_error(error, path) from None
    if len(head) < 2 * _HALF:
        raise damaged(path, f"it is {len(head)} bytes long")
    if head == _PLAIN:
        raise damaged(path, "it is an SQLite file that was never encrypted")
    if not hmac.compare_digest(head[_HALF:], _check(key, head[:_HALF])):
        raise VaultError(
            "this is not the vault's key (or the file's first 16 bytes are damaged)",
            code="T611",
            where=str(path),
            fix="give the key that the vault was created with",
        )


def damaged(path: Path, how: str) -> VaultError:
    """T612."""
    return VaultError(
        f"the vault is damaged or truncated: {how}",
        code="T612",
        where=str(path),
        fix="restore the file from a backup, or delete it and create the vault anew",
    )


def refused(error: Exception, path: Path) -> TacitError:
    """The error of our tree for one of SQLCipher's."""
    return refusal(error, str(path), corrupt=lambda how: damaged(path, how))


def io_error(error: OSError, path: Path) -> StoreError:
    """T704."""
    return StoreError(
        f"the file cannot be opened: {error.strerror}",
        code="T704",
        where=str(path),
        fix="create its folder, and allow access to it",
    )


def _check(key: Secret, random: bytes) -> bytes:
    return hmac.digest(key.reveal(), _DOMAIN + random, "sha256")[:_HALF]
