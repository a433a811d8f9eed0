"""Tests of the live room borrow the cases of the parity tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "parity"))
