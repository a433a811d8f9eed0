"""How many examples of a property are tried: a part of them by default, all by `make test-slow`."""

from __future__ import annotations

import os

WHOLE = os.environ.get("TACIT_EXAMPLES") == "all"


def examples(whole: int, part: int = 4) -> int:
    """All of them, or one in so many, and five at least. They differ from run to run."""
    return whole if WHOLE else max(whole // part, min(whole, 5))
