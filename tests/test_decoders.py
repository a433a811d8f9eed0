"""Whatever bytes or JSON a decoder gets, it answers, or refuses with an error of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders import ALL, WRITTEN
from examples import changed, examples
from guided import fuzz

INF, NAN, LEAST = float("inf"), float("nan"), 5e-324
STRANGE: list[Any] = [
    None, True, -1, 0, 1 << 70, 1.5, -0.0, LEAST, 1e308, INF, -INF, NAN, "", "x", "1e999999999",
    "9" * 500, "\ud800", "\0", [], {}, [[]], [None, None, None, None], {"": None},
]  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a value of JSON."""
    keys = range(len(value)) if isinstance(value, list) else list(value)
    found = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], list | dict):
            found += places(value[key])
    return found


@pytest.mark.parametrize("name", ALL)
def test_what_is_right_is_read(name: str) -> None:
    assert ALL[name].read(ALL[name].good) is not None


@pytest.mark.parametrize("name", WRITTEN)
def test_any_value_at_any_place(name: str) -> None:
    """Each place of the document in turn has each strange value, or is not there."""
    good = WRITTEN[name].good
    for at in range(len(places(json.loads(good)))):
        for value in [*STRANGE, places]:
            document = json.loads(good)
            container, key = places(document)[at]
            if value is places:
                del container[key]
            else:
                container[key] = value
            WRITTEN[name].meets(json.dumps(document).encode())


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=examples(60))
@given(data=st.data())
def test_changed_bytes(name: str, data: st.DataObject) -> None:
    ALL[name].meets(changed(data, ALL[name].good))


@pytest.mark.parametrize("name", ALL)
def test_every_cut(name: str) -> None:
    body = ALL[name].good
    for at in range(0, len(body), 1 + len(body) // 400):
        ALL[name].meets(body[:at])
    ALL[name].meets(body + b"\0")


@pytest.mark.parametrize(
    "head",
    [b"[" * 100_000, b'{"reports": Infinity, "refused": 0, "at": 0}', b"{}", b"null", b"\xff"],
    ids=["deep", "infinite", "empty", "null", "no text"],
)
def test_a_kept_releases_head_that_is_none(head: bytes) -> None:
    kept = ALL["kept release"]
    with pytest.raises(Exception, match="T702"):
        kept.read(len(head).to_bytes(8, "little") + head)


@pytest.mark.slow
def test_guided_fuzzing_finds_no_crash(tmp_path: Path) -> None:
    fuzz(Path(__file__).with_name("fuzz_decoders.py"), tmp_path, cwd=tmp_path, seconds=30)
