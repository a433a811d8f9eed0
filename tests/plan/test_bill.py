"""What a plan accepts, the ledger lets through to its last answer; what it would not, is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import planned

from tacit.declare import Purpose
from tacit.errors import BudgetError, Refused
from tacit.govern.ledger import Budget, Ledger
from tacit.plan import Plan
from tacit.plan.bill import _kinds
from tacit.privacy.loss import Loss, compose, pure_dp
from tacit.privacy.mechanism import Claim
from tacit.store.control import ControlStore

DELTA = 1e-6
TEXT = """
measure = Purpose("Count.", use="analytics", basis="consent", epsilon={budget}, delta=1e-6)
views = Events(
    "x", place="cloud", region="eu", keep="90d", basis="consent", purposes=[measure],
    category="user.behavior", columns={{"who": key(shopper, "user.unique_id.pseudonymous"), "at": time()}},
)
m = Metric(
    measure=Measure.persons(views), answers={answers}, mechanism="central", epsilon={epsilon},
    delta={delta}, minimum=20, purposes=[measure], region="eu", keep="30d",
)
"""


@pytest.fixture
def control(tmp_path: Path) -> Iterator[ControlStore]:
    with ControlStore.create(tmp_path / "control") as store:
        yield store


def plan(budget: float, answers: int, epsilon: float, delta: float = 0.0) -> Plan:
    return planned(TEXT.format(budget=budget, answers=answers, epsilon=epsilon, delta=delta))


def refusal(budget: float, answers: int, epsilon: float, delta: float = 0.0) -> float:
    """The ε that a refused plan would need, as it says itself."""
    with pytest.raises(Refused) as caught:
        plan(budget, answers, epsilon, delta)
    [error] = caught.value.errors
    assert error.code == "T211"
    said = re.search(r"it would need ([0-9.e+]+)", error.message)
    assert said is not None
    return float(said[1])


def claim(loss: Loss) -> Claim:
    return Claim(
        mechanism="central", name="m", adjacency="one person", units="people", sensitivity=1.0,
        sigma=1.0, delta=DELTA, loss=loss, epsilon=1.0, aggregator_loss=loss,
        aggregator_epsilon=1.0, trust=("nobody",),
    )  # fmt: skip


def let_through(control: ControlStore, made: Plan, losses: list[Loss]) -> int:
    """How many of these the ledger of a plan takes, one after the other."""
    total = compose(charge.loss for charge in made.bill if "measure" in charge.purposes)
    [purpose] = [p for n, p in made.declarations.of(Purpose).items() if n == "measure"]
    ledger = Ledger(control, [Budget("measure", float(purpose.epsilon), DELTA, total)])
    for number, loss in enumerate(losses):
        try:
            ledger.reserve("measure", "m", claim(loss), number).commit(b"")
        except BudgetError:
            return number
    return len(losses)


def test_what_fits_by_loss_distributions_alone_is_refused_at_once(control: ControlStore) -> None:
    """The ledger admits by a filter, which a question may be chosen after; distributions may not."""
    answers, each = 100, 0.1
    tightest = compose([pure_dp(each)] * answers).epsilon(DELTA)
    needed = refusal(tightest * 1.001, answers, each)
    assert tightest < needed < answers * each
    made = plan(needed * 1.001, answers, each)
    assert let_through(control, made, [pure_dp(each)] * answers) == answers


@pytest.mark.parametrize("answers", [2, 12])
def test_whatever_noise_the_answers_have(tmp_path: Path, answers: int) -> None:
    """Which noise an answer gets depends on the question: every mix is within the bill."""
    epsilon, delta = 1.0, 1e-9
    needed = refusal(epsilon * answers * 0.2, answers, epsilon, delta)
    made = plan(needed * 1.001, answers, epsilon, delta)
    pure, concentrated = _kinds(made.nodes["m"].spec)
    mixes = [[pure] * answers, [concentrated] * answers]
    mixes += [[pure] * at + [concentrated] * (answers - at) for at in (1, answers - 1)]
    mixes += [list(reversed(mix)) for mix in mixes[2:]]
    for number, mix in enumerate(mixes):
        with ControlStore.create(tmp_path / str(number)) as control:
            assert let_through(control, made, mix) == answers


def test_one_answer_at_exactly_the_budget() -> None:
    for delta in (0.0, 1e-9):
        assert plan(1.0, 1, 1.0, delta).bill
