"""How many examples of a property are tried: a part of them by default, all by `make test-slow`;
and messages that were right before somebody changed them."""

from __future__ import annotations

import os

from hypothesis import strategies as st

WHOLE = os.environ.get("TACIT_EXAMPLES") == "all"


def examples(whole: int, part: int = 4) -> int:
    """All of them, or one in so many, and five at least. They differ from run to run."""
    return whole if WHOLE else max(whole // part, min(whole, 5))


def changed(data: st.DataObject, good: bytes) -> bytes:
    """The message after one to four changes of bytes: flipped, cut out, put in, or repeated."""
    body = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        if not body:
            break
        at = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "huge", "repeat"])):
            case "flip":
                body[at] = data.draw(st.integers(0, 255))
            case "cut":
                del body[at : at + data.draw(st.integers(1, 8))]
            case "insert":
                body[at:at] = data.draw(st.binary(max_size=20))
            case "huge":
                body[at : at + 4] = b"\xff\xff\xff\xff"
            case "repeat":
                body += body[at:]
    return bytes(body)
