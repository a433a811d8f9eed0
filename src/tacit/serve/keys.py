"""API keys: who may read for which purposes and push to which sources, until when.

A key is ``tacit_ID_SECRET``. The control store keeps the SHA-256 of the secret, never the secret:
it is 256 bits of the system's randomness, so that a slow hash would guard nothing. Keys are
records, added and revoked, never changed; every one that ever was stands in the store.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tacit.errors import ServeError
from tacit.privacy.randomness import system

if TYPE_CHECKING:
    from tacit.store.control import ControlStore

_FORM = re.compile(r"tacit_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_NOBODY = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the purposes they may read for, the sources they may push to, until when (µs)."""

    name: str
    purposes: frozenset[str]
    sources: frozenset[str]
    expires: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the store keeps it. ``title`` is what its maker calls it."""

    id: str
    title: str
    digest: bytes
    caller: Caller
    added: int
    revoked: bool = False


def add_key(
    control: ControlStore,
    title: str,
    purposes: Sequence[str],
    sources: Sequence[str],
    expires: int | None,
) -> str:
    """Records a new key, and returns it: this is the only time that it is seen."""
    randomness = system()
    name = randomness.bytes(8).hex()
    secret = base64.urlsafe_b64encode(randomness.bytes(32)).rstrip(b"=").decode()
    body = {
        "title": title,
        "digest": hashlib.sha256(secret.encode()).hexdigest(),
        "purposes": sorted(set(purposes)),
        "sources": sorted(set(sources)),
        "expires": expires,
    }
    control.append("key", name, body)
    return f"tacit_{name}_{secret}"


def revoke_key(control: ControlStore, name: str) -> None:
    """Revokes a key for good. Raises ServeError T845 for one that there is not."""
    ring = KeyRing(control)
    found = ring.keys.get(name)
    if found is None:
        raise ServeError(
            f"there is no key {name!r}",
            code="T845",
            where="key",
            fix="name one that `tacit key list` prints",
        )
    if not found.revoked:
        control.append("key", name, {"revoked": True})


class KeyRing:
    """The keys of a control store, as far as they were read."""

    def __init__(self, control: ControlStore) -> None:
        self.control = control
        self.keys: dict[str, Key] = {}
        self._read = 0
        self.refresh()

    def refresh(self) -> bool:
        """Reads what was added or revoked since, and says whether anything was.

        Raises StoreError as the control store does.
        """
        found = self.control.read("key", after=self._read)
        keys = dict(self.keys)
        for record in found:
            keys[record.key] = _key(record.key, record.body, record.at, keys.get(record.key))
            self._read = record.sequence
        self.keys = keys
        return bool(found)

    def caller(self, token: str) -> Caller | None:
        """Who shows this key; None for text that has not the form of one.

        Raises ServeError T844 for a key that is not known or revoked, T845 for one that expired.
        """
        form = _FORM.fullmatch(token)
        if form is None:
            return None
        key = self.keys.get(form[1])
        shown = hashlib.sha256(form[2].encode()).digest()
        right = hmac.compare_digest(shown, key.digest if key else _NOBODY)
        if key is None or not right or key.revoked:
            raise unauthenticated("the key is not known, or was revoked")
        check_expiry(key.caller)
        return key.caller


def check_expiry(caller: Caller) -> None:
    """Raises ServeError T845 for credentials that have expired."""
    if caller.expires is not None and time.time_ns() // 1000 >= caller.expires:
        raise ServeError(
            "the credentials have expired",
            code="T845",
            where="authorization",
            fix="ask for new ones: tacit key add",
        )


def unauthenticated(message: str) -> ServeError:
    """T844."""
    return ServeError(
        message,
        code="T844",
        where="authorization",
        fix="send Authorization: Bearer, and a key that `tacit key add` printed",
    )


def _key(name: str, body: Mapping[str, Any], at: int, before: Key | None) -> Key:
    if body.get("revoked") and before is not None:
        return Key(name, before.title, before.digest, before.caller, before.added, True)
    caller = Caller(
        name, frozenset(body["purposes"]), frozenset(body["sources"]), body.get("expires")
    )
    return Key(name, body["title"], bytes.fromhex(body["digest"]), caller, at)
