"""Messages to rows: JSON objects; what is none goes to quarantine with the reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tacit.live.accept import Rejected


def read_json(
    messages: Sequence[bytes], ids: str | None = None
) -> tuple[list[dict[str, Any]], list[int], list[Rejected]]:
    """The rows, which message each was, and the messages that are no JSON object; or have nothing
    in the field that is to identify them, where there is one."""
    rows, places, rejected = [], [], []
    for place, raw in enumerate(messages):
        try:
            row = json.loads(raw)
        except (ValueError, RecursionError) as error:
            rejected.append(Rejected(place, f"not JSON: {error}"[:200], raw[: 1 << 16]))
            continue
        if not isinstance(row, dict):
            rejected.append(Rejected(place, "not a JSON object", raw[: 1 << 16]))
        elif ids is not None and row.get(ids) is None:
            rejected.append(Rejected(place, lacking(ids), raw[: 1 << 16]))
        else:
            rows.append(row)
            places.append(place)
    return rows, places, rejected


def lacking(ids: str) -> str:
    """Why a row without an id is none."""
    return f"the row has no {ids}: it could come twice"
