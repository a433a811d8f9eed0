"""Bearer tokens of an identity provider (OpenID Connect; JWT, RFC 7519), by PyJWT.

Only asymmetric signatures of the issuer's published keys count; issuer, audience and expiry must be
there and right. Two claims say what the bearer may do: lists of purposes and of sources.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tacit.errors import ServeError
from tacit.project.service import Oidc
from tacit.serve.issuer import Issuer
from tacit.serve.keys import Caller, unauthenticated
from tacit.values import SECOND

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
_MOST = 4096  # tokens that are remembered, until they expire


class Tokens:
    """Verifies tokens. ``root`` is where the file of the keys stands, if it is one.

    Raises ServeError T857 where PyJWT is not installed or the keys are no JWK set.
    """

    def __init__(
        self, settings: Oidc, root: Path, purposes: Collection[str], sources: Collection[str]
    ) -> None:
        try:
            import jwt
        except ImportError:
            fix = 'install it: pip install "tacit[oidc]"'
            raise _wrong("tokens are to be verified, and PyJWT is not installed", fix) from None
        self._jwt: Any = jwt
        self.settings = settings
        self.purposes, self.sources = frozenset(purposes), frozenset(sources)
        self._known: dict[bytes, Caller] = {}
        parts = urlsplit(settings.keys)
        if parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost"):
            self._issuer: Issuer | None = Issuer(jwt, settings.keys)
            return
        if parts.scheme:
            raise _wrong("the issuer's keys are to come without TLS", "write an https:// URL")
        try:
            self._issuer = None
            self._keys = jwt.PyJWKSet.from_dict(json.loads((root / settings.keys).read_text()))
        except (OSError, ValueError, jwt.PyJWTError) as error:
            why = f"the issuer's keys cannot be read: {error}"
            raise _wrong(why, "write the URL, or the file, of its JWK set") from None

    def known(self, token: str) -> Caller | None:
        """Who shows a token that was verified before."""
        return self._known.get(hashlib.sha256(token.encode()).digest())

    def verify(self, token: str) -> Caller:
        """Who shows a token. Raises ServeError T844, T845, T866."""
        jwt, wanted = self._jwt, self.settings
        try:
            claims = jwt.decode(
                token,
                self._key(token),
                algorithms=ALGORITHMS,
                audience=wanted.audience,
                issuer=wanted.issuer,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise ServeError(
                "the credentials have expired",
                code="T845",
                where="authorization",
                fix="ask the identity provider for a new token",
            ) from None
        except (jwt.PyJWTError, ValueError, KeyError, StopIteration, TypeError):
            raise unauthenticated("the token does not verify") from None
        who = hashlib.sha256(str(claims.get("sub", "")).encode()).hexdigest()[:16]
        found = Caller(
            f"oidc-{who}",
            _listed(claims, wanted.purposes) & self.purposes,
            _listed(claims, wanted.sources) & self.sources,
            int(claims["exp"]) * SECOND,
        )
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[hashlib.sha256(token.encode()).digest()] = found
        return found

    def _key(self, token: str) -> Any:
        name = self._jwt.get_unverified_header(token).get("kid")
        if self._issuer is not None:
            return self._issuer.key(name)
        return next(key for key in self._keys.keys if key.key_id == name or name is None).key


def _listed(claims: dict[str, Any], name: str) -> frozenset[str]:
    """The words of a claim: a list of texts, or one text parted by spaces."""
    given = claims.get(name, [])
    words = given.split() if isinstance(given, str) else given
    if not isinstance(words, list):
        return frozenset()
    return frozenset(word for word in words if isinstance(word, str))


def _wrong(message: str, fix: str) -> ServeError:
    return ServeError(message, code="T857", where="[serve.oidc]", fix=fix)
