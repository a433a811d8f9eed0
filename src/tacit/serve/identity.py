"""Who asks: an API key, a token of an identity provider, or everybody where the settings say so."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from time import monotonic
from typing import TYPE_CHECKING

from tacit.errors import ServeError
from tacit.serve.keys import Caller, KeyRing, check_expiry, unauthenticated
from tacit.serve.messages import Headers, header

if TYPE_CHECKING:
    from tacit.serve.tokens import Tokens

_MOST = 4096  # different credentials that are remembered
_STALE = 30.0
"""Seconds for which keys count that were not looked at anew: then nobody is let in."""


class Identity:
    """Tells who asks.

    Args:
        ring: the API keys; None where everybody may ask, as ``everybody``.
        tokens: of an identity provider.
    """

    def __init__(
        self, ring: KeyRing | None, everybody: Caller | None = None, tokens: Tokens | None = None
    ) -> None:
        assert ring is not None or everybody is not None, "somebody is told from others, or nobody"
        self.ring, self.everybody, self.tokens = ring, everybody, tokens
        self._seen = monotonic()
        # By the digest of what was shown: looking one up takes the same time for every other.
        self._met: dict[bytes, Caller] = {}

    def refresh(self) -> None:
        """Looks at the keys anew; what was known of those that changed is forgotten."""
        if self.ring is not None and self.ring.refresh():
            self._met = {}
        self._seen = monotonic()

    def check_fresh(self) -> None:
        """Raises ServeError T854 where the keys could not be read for too long."""
        if monotonic() - self._seen > _STALE:
            raise ServeError(
                "the keys cannot be read, so that nobody can be let in",
                code="T854",
                where="authorization",
                fix="ask another server, or later",
            )

    def known(self, headers: Headers) -> Caller | None:
        """Who asks; None where that takes a `look_up`. Raises ServeError T844, T845, T854."""
        if self.ring is None:
            return self.everybody
        self.check_fresh()
        shown = hashlib.sha256(header(headers, b"authorization") or b"").digest()
        met = self._met
        found = met.get(shown)
        if found is not None:
            check_expiry(found)
            return found
        token = _token(headers)
        found = self.ring.caller(token)
        if found is None and self.tokens is not None:
            found = self.tokens.known(token)
            if found is None:
                return None
            check_expiry(found)
        if found is None:
            raise unauthenticated("what was sent is no key of this server")
        if len(met) >= _MOST:
            met.clear()
        met[shown] = found
        return found

    def shown(self, token: str) -> Caller | None:
        """Who shows a key; None for what is none. Raises as `known`."""
        self.check_fresh()
        return None if self.ring is None else self.ring.caller(token)

    def look_up(self, headers: Headers) -> Caller:
        """The same for a token that was not seen before: its issuer's keys may be fetched."""
        assert self.tokens is not None, "only tokens are looked up"
        return self.tokens.verify(_token(headers))


def everybody(purposes: Collection[str], sources: Collection[str]) -> Caller:
    """The caller that anybody is, on a server that is open."""
    return Caller("open", frozenset(purposes), frozenset(sources))


def _token(headers: Headers) -> str:
    given = header(headers, b"authorization")
    if given is None:
        raise unauthenticated("no key was sent")
    scheme, _, token = given.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthenticated("what was sent is no bearer token")
    return token.strip()
