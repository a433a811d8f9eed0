"""What a privacy engineer must find in the text of `tacit plan`."""

from __future__ import annotations

import pytest
from projects import planned

from tacit.declare import Release
from tacit.plan import difference, document
from tacit.plan.bill import composed
from tacit.plan.explain import Line, explain
from tacit.privacy.mechanism import mechanism

TEXT = """
model = Model("x", learner="item_item", release=taste)
sold = orders.sum("price", "30d", by="item", where="gift")
demand = Release("x", signal=sold, over=catalogue, mechanism="sum", to="cloud", purposes=[discover, research], epsilon=0.5, keep="30d", region="eu")
"""


def section(lines: list[Line], heading: str) -> str:
    start = lines.index(Line("", heading)) + 1
    rest = lines[start:]
    ends = [index for index, line in enumerate(rest) if line.mark == ""]
    return "\n".join(line.text for line in rest[: ends[0] if ends else None])


def test_everything_that_leaves_the_device_is_accounted_for() -> None:
    plan = planned(TEXT)
    told = section(list(explain(plan, None)), "released")
    for node in plan.of("release"):
        release = node.declared
        assert isinstance(release, Release)
        start = told.index(f"{node.id}   device → cloud")
        about = told[start:].split("→ ")[1] if node.id == "demand" else told[start:]
        for word in (
            node.inputs[0],
            node.inputs[1],
            release.mechanism,
            f"ε {release.epsilon:g} at δ {release.delta:g}",
            str(node.spec["keep"]),
            *node.spec["purposes"],
            *mechanism(release.mechanism).trust,
        ):
            assert word in about, word
    assert "orders.gift      decides  user.behavior.purchase_history" in told
    assert "orders.price     value    user.behavior.purchase_history" in told
    assert "30d, in eu" in told


def test_the_bill_is_composed_against_the_budget() -> None:
    plan = planned(TEXT)
    told = section(list(explain(plan, None)), "privacy bill")
    for name in ("discover", "research"):
        [line] = [line for line in told.splitlines() if line.startswith(name)]
        purpose = plan.declarations.named[name]
        spent = composed(plan.bill, name, purpose.delta)  # type: ignore[attr-defined]
        assert f"ε {spent:.3g} of {purpose.epsilon:g}" in line  # type: ignore[attr-defined]
    assert "deliver" not in told


def test_what_moves_without_a_release() -> None:
    plan = planned(TEXT)
    told = section(list(explain(plan, None)), "moved without a release")
    assert "catalogue  cloud → device   public content, for taste, demand" in told
    assert (
        "model      cloud → device   aggregate, in a signed bundle; its loss is that of taste"
        in told
    )


def test_nothing_to_tell() -> None:
    plan = planned("", prelude="")
    lines = list(explain(plan, None))
    assert lines[0] == Line("", "nothing is declared that could run")
    assert "nothing is released, nothing is spent" in section(lines, "privacy bill")
    assert "nothing" in section(lines, "released")


@pytest.mark.parametrize("many", [3, 100])
def test_changes_are_listed_and_counted(many: int) -> None:
    before = document(planned("gone = orders.count('1d')"))
    more = f"more = {{f'm{{n}}': orders.count(f'{{1 + n}}d') for n in range({many})}}"
    plan = planned(more)
    change = difference(before, document(plan))
    lines = list(explain(plan, change))
    told = section(lines, "since the plan last applied")
    assert Line("-", "gone") in lines
    assert ("and 60 more" in told) == (many == 100)
    assert [line for line in lines if line.text == "nothing"] == []


def test_an_unchanged_plan_says_so() -> None:
    plan = planned(TEXT)
    lines = list(explain(plan, difference(document(plan), document(plan))))
    assert section(lines, "since the plan last applied") == "nothing"
    assert {line.mark for line in lines} <= {"", " ", "→"}


def test_it_is_pure() -> None:
    plan = planned(TEXT)
    assert list(explain(plan, None)) == list(explain(plan, None))
