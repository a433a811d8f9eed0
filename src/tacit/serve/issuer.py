"""The keys that an identity provider publishes (a JWK set, RFC 7517), as they were last fetched.

A key that is known counts while the issuer is asked anew now and then; where it cannot be reached,
for an hour more. A key that is not known is asked for at once, but not more often than each few
seconds: neither strangers' tokens nor an issuer that is away keep anybody waiting. Who shows a
token by a key that is not known then is told to come again, not that the token is none.
"""

from __future__ import annotations

import math
import threading
from time import monotonic
from typing import Any, Final

from tacit.errors import ServeError
from tacit.serve.keys import unauthenticated

TIMEOUT: Final = 5.0
"""Seconds to wait for the issuer."""
PAUSE: Final = 5.0
"""Seconds between two fetches for keys that are not known, and after one that failed."""
FRESH: Final = 300.0
"""Seconds for which keys count without a look at the issuer: what it revokes goes by then."""
KEPT: Final = 3600.0
"""Seconds for which they count where it cannot be reached."""


class Issuer:
    """Keys of a JWK set at a URL. ``library`` is PyJWT."""

    def __init__(self, library: Any, url: str) -> None:
        self._library = library
        self._client = library.PyJWKClient(url, cache_jwk_set=False, timeout=TIMEOUT)
        self._keys: dict[str | None, Any] = {}
        self._fetched = self._tried = -math.inf
        self._away = False
        self._fetching = threading.Lock()

    def key(self, name: str | None) -> Any:
        """The public key of an id. Raises ServeError T844 for one that the issuer has not, T866
        where that cannot be told."""
        found, now = self._keys.get(name), monotonic()
        if found is not None and now - self._fetched < FRESH:
            return found
        # A key that is known need not wait for another's fetch.
        if self._fetching.acquire(timeout=0 if found is not None else 2 * TIMEOUT):
            try:
                if monotonic() - self._tried > PAUSE:
                    self._fetch()
            finally:
                self._fetching.release()
            found = self._keys.get(name)
        elif found is None:
            raise away()
        if found is None and not self._away:
            raise unauthenticated("the token's key is none of the issuer's")
        if found is None or monotonic() - self._fetched > KEPT:
            raise away()
        return found

    def _fetch(self) -> None:
        try:
            keys = self._client.get_jwk_set().keys
        except (self._library.PyJWTError, OSError, ValueError):
            self._away = True
        else:
            signing = [key for key in keys if key.public_key_use in (None, "sig")]
            named: dict[str | None, Any] = {key.key_id: key.key for key in signing}
            if len(signing) == 1:
                named[None] = signing[0].key  # a token need not say which, where there is one
            self._keys, self._away, self._fetched = named, False, monotonic()
        self._tried = monotonic()


def away() -> ServeError:
    """T866."""
    return ServeError(
        "the issuer's keys cannot be had now, and the token's is not among those that are known",
        code="T866",
        where="authorization",
        fix="send it again a little later, or ask with an API key",
    )
