"""The README says only what is so: its example plans, its refusal is the one printed, it is short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tacit import Sink
from tacit.declare import Declarations, collect
from tacit.errors import Refused
from tacit.plan import compile_plan
from tacit.values import DAY

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def example() -> dict[str, object]:
    code, _ = (text for language, text in BLOCKS if language == "python")
    namespace: dict[str, object] = {"__name__": "project_readme"}
    exec(compile(code, "signals.py", "exec"), namespace)
    return namespace


def declared(namespace: dict[str, object]) -> Declarations:
    return collect(namespace)


def test_the_example_plans(example: dict[str, object]) -> None:
    plan = compile_plan(declared(example))
    [view] = plan.views
    [window] = view.windows
    assert (window.signal, window.length) == ("listened_7d", 7 * DAY)
    assert str(plan.nodes["listened_7d"].place) == "device"


def test_the_refusal_is_the_one_printed(example: dict[str, object]) -> None:
    example["training"] = Sink(
        "To learn from.",
        signals=[example["listened_7d"]],  # type: ignore[list-item]
        to="training",
        place="cloud",
        purposes=[example["discover"]],  # type: ignore[list-item]
        region="eu",
        keep="30d",
    )
    with pytest.raises(Refused) as refused:
        compile_plan(declared(example))
    [shown] = [text for _, text in BLOCKS if text.startswith("T202")]
    printed = str(refused.value.errors[0])
    assert re.sub(r"at   .*", "", printed).strip() == re.sub(r"at   .*", "", shown).strip()


def test_it_is_short_and_comes_to_the_point() -> None:
    lines = README.splitlines()
    assert len(lines) < 150
    assert next(n for n, line in enumerate(lines, 1) if "plays.sum(" in line) <= 40
    assert "make demo" in README
    assert "make test" in README
