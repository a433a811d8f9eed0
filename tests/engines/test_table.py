"""What the engines' page says is what the engines declare, and what they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tacit.aggregates.algebra import FAMILIES, REGISTRY
from tacit.engines import table
from tacit.engines.local import Local
from tacit.engines.sqlite import SQLite
from tacit.plan import place

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == table.page(), "run: make engines-page"


def test_the_page_names_every_aggregate_and_every_engine() -> None:
    text = table.page()
    for name in (*REGISTRY, *FAMILIES, *place.ENGINES):
        assert f"`{name}`" in text


@pytest.mark.parametrize("engine", [Local, SQLite])
def test_an_engine_supports_what_the_plan_places_on_it(engine: type[Local | SQLite]) -> None:
    assert engine.supports == place.ENGINES[engine.name].aggregates


def test_what_is_not_supported_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    less = replace(
        place.ENGINES["sqlite"],
        aggregates=frozenset({"count"}),
        windows=frozenset({"by"}),
        lacks={"sum": "nobody adds here"},
    )
    monkeypatch.setitem(place.ENGINES, "sqlite", less)  # type: ignore[arg-type]
    text = table.page()
    assert "| `sum` | ints or floats | no [1] |" in text.replace("no [2]", "no [1]")
    assert "nobody adds here." in text
    assert "no exact form of it has been written." in text
