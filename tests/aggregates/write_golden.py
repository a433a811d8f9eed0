"""Writes what is made from the aggregates: run it when you add one, and read the difference.

    python tests/aggregates/write_golden.py

A difference in the bytes of an aggregate that was there before needs a new version: stored states
outlive releases of Tacit.
"""

from __future__ import annotations

import json

from aggregate_pages import GOLDEN, PAGE, STUB, golden, page

from tacit.declare.signatures import stub

if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden(), indent=1) + "\n")
    STUB.write_text(stub())
    PAGE.write_text(page(PAGE.read_text()))
