"""Releases by local mechanisms, from the declaration to the estimate, with a device each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import small_project as small
from tacit.errors import PrivacyError, Refused
from tacit.plan.explain import explain
from tacit.privacy.local.estimate import LocalEstimate
from tacit.privacy.local.hadamard_response import HadamardResponse
from tacit.privacy.loss import pure_dp
from tacit.project import Project, release
from tacit.project.run import run

BASE = small.only(
    small.SIGNALS, "first", "bought", "taste", "demand", "popular", "recommender", "space",
    "visits", "looks", "last", "training",
)  # fmt: skip
SETTINGS = small.SETTINGS.partition("[sources.visits]")[0]
TERMS = 'over=catalogue, to="cloud", purposes=[discover], region="eu", keep="ever"'
RELEASES = f"""
latest = history.last("item")
often = history.sum("quantity", by="item")
now = Release("What was bought last.", signal=latest, mechanism="hadamard_response", epsilon=6, {TERMS})
share = Release("Each one's shares.", signal=often, mechanism="local_hashing", epsilon=5, {TERMS})
tops = Metric("What sells now.", release=now, minimum=20)
"""


def last_bought() -> np.ndarray:
    """How many people bought each item last: the truth of `latest`."""
    counts = np.zeros(small.ITEMS)
    for user in range(small.PEOPLE):
        mine = np.flatnonzero(small.EVENTS.user == user)
        counts[small.EVENTS.item[mine[np.argmax(small.EVENTS.time[mine])]]] += 1
    return counts


def shares() -> np.ndarray:
    """The sum over people of each item's share of what they bought: what `share` estimates."""
    amounts = np.zeros((small.PEOPLE, small.ITEMS))
    np.add.at(amounts, (small.EVENTS.user, small.EVENTS.item), small.QUANTITY)
    return (amounts / amounts.sum(axis=1, keepdims=True)).sum(axis=0)


def test_devices_answer_and_the_ledger_is_charged(tmp_path: Path) -> None:
    project = small.project(tmp_path / "shop", BASE + RELEASES, SETTINGS)
    text = "\n".join(line.text for line in explain(project.plan, None))
    assert "hadamard_response: the report of each device, randomised on the device itself" in text
    assert "ε 6 with no δ, for each device, once" in text
    assert "Nobody: each device randomises its value itself" in text
    results = run(project)
    codes = np.array(
        [small.CATALOGUE.ids.index(item) for item in results.releases["now"].task.domain]
    )
    for name, truth in (("now", last_bought()), ("share", shares())):
        released = results.releases[name]
        found = released.value
        assert isinstance(found, LocalEstimate)
        assert (released.reports, released.refused, found.reports) == (
            small.PEOPLE,
            0,
            small.PEOPLE,
        )
        z = (found.estimates - truth[codes]) / found.stderr
        # Few of 45 reports are randomised at ε = 6, and each weighs much: tails are heavy.
        assert np.abs(z).max() < 10
        assert 0.2 < z.std() < 1.6
        assert released.bytes_out < 12
    assert isinstance(results.releases["now"].task.mechanism, HadamardResponse)
    assert [each.value for each in results.metrics["tops"]] == results.releases[
        "now"
    ].value.estimates.tolist()
    assert [each.stderr for each in results.metrics["tops"]] == results.releases[
        "now"
    ].value.stderr.tolist()
    # The ledger holds what the plan foresaw: pure losses, which add.
    assert project.ledger.loss("discover") == pure_dp(6.0) + pure_dp(5.0)
    assert [charge.loss for charge in project.plan.bill] == [pure_dp(6.0), pure_dp(5.0)]
    again = run(Project.load(tmp_path / "shop"))
    assert all(each.reused for each in again.releases.values())
    assert (again.releases["now"].value.estimates == results.releases["now"].value.estimates).all()
    assert project.ledger.loss("discover") == pure_dp(6.0) + pure_dp(5.0)


def test_too_few_devices_release_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = small.project(tmp_path / "shop", BASE + RELEASES, SETTINGS)
    monkeypatch.setattr(release, "MINIMUM", small.PEOPLE + 1)
    with pytest.raises(PrivacyError, match="T541"):
        run(project)
    assert project.ledger.spent("discover") == 0.0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (('mechanism="local_hashing", epsilon=5', 'mechanism="sum", epsilon=5'), None),
        (
            ('signal=latest, mechanism="hadamard_response"', 'signal=latest, mechanism="sum"'),
            "T113",
        ),
        (('history.last("item")', 'history.last("quantity")'), "T113"),
        (('history.last("item")', 'history.last("CASE WHEN enjoyed THEN item END")'), "T114"),
        (("epsilon=6", "epsilon=16"), "T211"),
    ],
)
def test_the_plan_takes_a_key_or_amounts_by_key(
    tmp_path: Path, change: tuple[str, str], code: str | None
) -> None:
    assert change[0] in RELEASES
    folder = small.write(tmp_path / "shop", BASE + RELEASES.replace(*change), SETTINGS)
    if code is None:
        assert Project.load(folder).plan.nodes["share"].declared.mechanism == "sum"
        return
    with pytest.raises(Refused) as refused:
        Project.load(folder).plan  # noqa: B018 - it is compiled when first asked for
    assert code in refused.value.codes


def test_every_local_mechanism_can_be_declared(tmp_path: Path) -> None:
    keys = ["randomized_response", "subset_selection", "unary", "rappor", "count_mean_sketch",
            "hadamard_count_mean_sketch"]  # fmt: skip
    text = 'latest = history.last("item")\n' + "\n".join(
        f'r{at} = Release("x", signal=latest, mechanism="{key}", epsilon=3, {TERMS})'
        for at, key in enumerate(keys)
    )
    results = run(small.project(tmp_path / "shop", BASE + text, SETTINGS))
    truth = last_bought()
    for at, key in enumerate(keys):
        released = results.releases[f"r{at}"]
        assert (released.task.mechanism.key, released.reports) == (key, small.PEOPLE)
        order = np.array([small.CATALOGUE.ids.index(item) for item in released.task.domain])
        z = (released.value.estimates - truth[order]) / released.value.stderr
        assert np.abs(z).max() < 6
