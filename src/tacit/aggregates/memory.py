"""Where the long arrays of a run are kept; an engine may keep them elsewhere than in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from tacit.aggregates.columns import Array


class Memory:
    """Arrays in memory. Long ones are written and read in order, block by block, and then released.

    ``room`` is how many bytes of rows may lie sorted beside them at once; None for no limit.
    """

    room: int | None = None

    def empty(self, size: int, dtype: Any) -> Array:
        """An array that is not touched before it is used."""
        return np.empty(size, dtype)

    def release(self) -> None:
        """What was written or read so far may leave memory until it is asked for again."""
