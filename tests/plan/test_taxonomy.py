"""The names of fideslang that stand here as text are those of the package."""

from __future__ import annotations

import pytest
from fideslang.default_taxonomy import DEFAULT_TAXONOMY

from tacit.plan.taxonomy import CATEGORIES, SENSITIVE, USES, sensitive, within


def test_categories() -> None:
    assert {str(each.fides_key) for each in DEFAULT_TAXONOMY.data_category or ()} == CATEGORIES


def test_uses() -> None:
    assert {str(each.fides_key) for each in DEFAULT_TAXONOMY.data_use or ()} == USES


def test_sensitive_names_exist() -> None:
    assert set(SENSITIVE) <= CATEGORIES


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("user.biometric", True),
        ("user.biometric.voice", True),
        ("user.biometrics", False),
        ("user.demographic", True),
        ("user.demographic.age_range", False),
        ("user.location.imprecise", False),
        ("user", True),
        ("user.behavior", False),
        ("system.operations", False),
    ],
)
def test_sensitive_covers_below_and_above(category: str, expected: bool) -> None:
    assert sensitive(category) is expected


def test_within() -> None:
    assert within("user.location.precise", ("user.location",))
    assert not within("user.locations", ("user.location",))
