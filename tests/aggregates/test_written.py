"""What is written from the aggregates is up to date, and the bytes of their states do not change."""

from __future__ import annotations

import inspect
import json

import pytest
from aggregate_pages import GOLDEN, KEYS, LONG, PAGE, ROWS, STUB, golden, page

from tacit.aggregates.algebra import AGGREGATES, REGISTRY
from tacit.declare import Events
from tacit.declare.signatures import METHODS, OPTIONS, stub

AGAIN = "run python tests/aggregates/write_golden.py, and read the difference"


def test_the_bytes_do_not_change() -> None:
    """Stored states outlive releases of Tacit; a change here needs a new version byte."""
    assert golden() == json.loads(GOLDEN.read_text()), AGAIN


@pytest.mark.parametrize("key", KEYS)
def test_golden_bytes_are_read_as_their_states(key: str) -> None:
    aggregate = REGISTRY[key]
    kept = json.loads(GOLDEN.read_text())[key]
    for kind, cases in ROWS.items():
        for name, rows in cases.items() if aggregate.accepts(kind) else ():
            state, text = aggregate.fold(rows), kept[f"{kind} {name}"]
            if " " not in text:
                assert aggregate.decode(bytes.fromhex(text)) == state
            else:
                assert len(aggregate.encode(state)) > LONG
                assert aggregate.decode(aggregate.encode(state)) == state


def test_the_stub_lists_the_methods() -> None:
    assert stub() == STUB.read_text(), AGAIN


def test_the_page_lists_the_aggregates() -> None:
    assert page(PAGE.read_text()) == PAGE.read_text(), AGAIN


def test_every_method_has_its_signature_and_its_sentence() -> None:
    assert {made.key for made in METHODS} == {made.key for made in AGGREGATES if made.over is None}
    for made in METHODS:
        method = getattr(Events, made.key)
        assert method.__doc__ == made.about
        named = set(inspect.signature(method).parameters)
        assert {name for name, _, _ in OPTIONS} | {"self", "window"} <= named


def test_a_method_called_wrongly_says_how() -> None:
    with pytest.raises(TypeError, match=r"mean\(\) has a missing argument|mean\(\) has missing"):
        Events.mean(object())  # type: ignore[call-arg, arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'every'"):
        Events.count(object(), every="1d")  # type: ignore[call-arg, arg-type]
