"""A user's credentials of NATS: a JWT, and the seed of the key that signs the server's nonce.

The file is that of `nsc`: two blocks, each between a line that begins it and one that ends it. A
seed is 36 bytes in base32 (NATS, ADR-14, "JWT libraries and NKeys"): two of prefixes, the 32 of an
Ed25519 seed, and a CRC-16 (XMODEM) of these, little-endian.
"""

from __future__ import annotations

import base64
import re
from binascii import crc_hqx
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tacit.errors import EngineError
from tacit.values import Secret

_BLOCK = re.compile(rb"-+BEGIN (.+?)-+\s+(\S+)\s+-+END \1-+")
_JWT, _SEED = b"NATS USER JWT", b"USER NKEY SEED"


def signing(credentials: Secret) -> Mapping[str, Callable[..., Any]]:
    """What the client is given to show who it is. Raises EngineError T429 for what is no such file.

    The client's own reader of such files wants a further package for one Ed25519 signature.
    """
    blocks = dict(_BLOCK.findall(credentials.reveal()))
    key = _key(blocks.get(_SEED, b""))
    if _JWT not in blocks or key is None:
        raise EngineError(
            "the credentials of NATS are none: a user's JWT and its seed are to be in them",
            code="T429",
            where="credentials",
            fix="take the file of `nsc generate creds`, as it is",
        )
    return {
        "user_jwt_cb": lambda: blocks[_JWT],
        "signature_cb": lambda nonce: base64.b64encode(key.sign(nonce.encode())),
        # The client asks who signs only where it has some other means too. A server that knows
        # users by their JWT looks at no token.
        "token": lambda: "",
    }


def _key(seed: bytes) -> Ed25519PrivateKey | None:
    try:
        raw = base64.b32decode(seed + b"=" * (-len(seed) % 8))
    except ValueError:
        return None
    if len(raw) != 36 or raw[34:] != crc_hqx(raw[:34], 0).to_bytes(2, "little"):
        return None
    return Ed25519PrivateKey.from_private_bytes(raw[2:34])
