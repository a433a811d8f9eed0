"""Tests of the serving room borrow the servers of the live room."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "live"))
