"""The privacy ledger: nothing is released that is not paid for, whatever crashes or races."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_world import BUDGETS, TENTH, claim, race

from examples import examples
from tacit.errors import BudgetError, PrivacyError, StoreError
from tacit.govern.ledger import Budget, Ledger
from tacit.privacy.loss import Loss, Term, compose, gaussian_rho, pure_dp, sigma_for, zcdp
from tacit.store.control import ControlStore

RHO = claim(zcdp(0.002))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control"


@pytest.fixture
def control(path: Path) -> Iterator[ControlStore]:
    with ControlStore.create(path) as store:
        yield store


@pytest.fixture
def ledger(control: ControlStore) -> Ledger:
    return Ledger(control, BUDGETS)


def code(error: pytest.ExceptionInfo[PrivacyError]) -> str:
    assert error.value.fix
    return error.value.code


def test_reserve_commit_and_what_is_left(ledger: Ledger) -> None:
    assert ledger.spent("recommend") == 0.0
    assert ledger.remaining("recommend") == 1.0
    with ledger.reserve("recommend", "top", TENTH, 1) as reservation:
        assert (reservation.state, reservation.resumed) == ("reserved", False)
        assert ledger.spent("recommend") == pytest.approx(0.1)  # counts before it is committed
        reservation.commit(b"result")
        assert reservation.state == "committed"
    assert ledger.remaining("recommend") == pytest.approx(0.9)
    assert ledger.remaining("measure") == 0.3


def test_losses_compose_before_they_are_converted(ledger: Ledger) -> None:
    for epoch in range(5):
        ledger.reserve("recommend", "top", RHO, epoch).commit(b"")
    together = compose([RHO.loss] * 5)
    assert ledger.loss("recommend") == together
    assert ledger.spent("recommend") == together.epsilon(1e-6)
    assert ledger.spent("recommend") < 5 * RHO.loss.epsilon(1e-6) * 0.6
    ledger.reserve("recommend", "pure", TENTH, 0)
    assert ledger.loss("recommend") == together + TENTH.loss


def test_a_budget_is_filled_exactly_and_then_refused(ledger: Ledger) -> None:
    for epoch in range(3):  # 0.1 + 0.1 + 0.1 is 0.30000000000000004
        ledger.reserve("measure", "top", TENTH, epoch).commit(b"")
    assert ledger.remaining("measure") == pytest.approx(0.0, abs=1e-4)  # δ buys a little
    with pytest.raises(BudgetError) as caught:
        ledger.reserve("measure", "more", claim(pure_dp(0.01)), 0)
    assert code(caught) == "T501"
    text = str(caught.value)
    for part in ("'measure' is ε=0.3", " is spent", " is left", "=0.01 alone"):
        assert part in text
    assert "top: ε=0.299" in text
    assert "in 3 epochs" in text
    assert "release more, epoch 0" in text
    ledger.reserve("recommend", "more", claim(pure_dp(1e-6)), 0)  # another purpose, another budget


def test_the_same_again_costs_nothing(ledger: Ledger) -> None:
    first = ledger.reserve("measure", "top", TENTH, 7)
    again = ledger.reserve("measure", "top", TENTH, "7")
    assert again.resumed
    first.commit(b"result")
    first.commit(b"result")
    again.commit(b"result")
    third = ledger.reserve("measure", "top", TENTH, 7)
    assert (third.state, third.resumed, third.result) == ("committed", True, first.result)
    assert ledger.spent("measure") == pytest.approx(0.1)
    assert [line.spend.state for line in ledger.statement()] == ["committed"]


def test_another_result_is_another_release(ledger: Ledger) -> None:
    one = ledger.reserve("measure", "top", TENTH, 7)
    two = ledger.reserve("measure", "top", TENTH, 7)
    one.commit(b"this noise")
    for other in (b"that noise", None):
        with pytest.raises(PrivacyError) as caught:
            two.commit(other)
        assert code(caught) == "T564"


def test_another_claim_under_the_same_name_is_refused(ledger: Ledger) -> None:
    reservation = ledger.reserve("recommend", "top", TENTH, 7)
    for _ in range(2):
        for changed in (claim(pure_dp(0.01)), replace(TENTH, sensitivity=2.0)):
            with pytest.raises(PrivacyError) as caught:
                ledger.reserve("recommend", "top", changed, 7)
            assert code(caught) == "T561"
        with pytest.raises(PrivacyError) as caught:
            ledger.reserve(["measure", "recommend"], "top", TENTH, 7)
        assert code(caught) == "T561"
        reservation.commit(b"")


def test_refunds(ledger: Ledger) -> None:
    reservation = ledger.reserve("measure", "top", claim(pure_dp(0.3)), 1)
    stale = ledger.reserve("measure", "top", claim(pure_dp(0.3)), 1)
    reservation.refund("too few devices")
    reservation.refund("too few devices")
    assert reservation.state == "refunded"
    assert ledger.spent("measure") == 0.0
    with pytest.raises(PrivacyError) as caught:
        stale.commit(b"")  # the money is back: this process may not publish
    assert code(caught) == "T563"
    anew = ledger.reserve("measure", "top", claim(pure_dp(0.2)), 1)  # the name is free again
    with pytest.raises(PrivacyError) as caught:
        stale.commit(b"")
    assert code(caught) == "T563"
    anew.commit(b"")
    for late in (anew, stale):
        with pytest.raises(PrivacyError) as caught:
            late.refund("changed my mind")
        assert code(caught) == "T563"
    assert ledger.spent("measure") == pytest.approx(0.2, abs=1e-5)
    assert [line.spend.state for line in ledger.statement()] == ["refunded", "committed"]


def test_what_is_drawn_is_never_given_back(control: ControlStore, ledger: Ledger) -> None:
    held = ledger.reserve("recommend", "top", TENTH, 1)
    held.drawing()
    held.drawing()
    assert held.state == "drawing"
    assert ledger.spent("recommend") == pytest.approx(0.1)
    with pytest.raises(PrivacyError) as caught:
        held.refund("it failed")
    assert code(caught) == "T563"
    # Another process sees the mark, and so does one that starts after a crash.
    again = Ledger(control, BUDGETS).reserve("recommend", "top", TENTH, 1)
    assert (again.resumed, again.state) == (True, "drawing")
    again.commit(b"kept")
    held.commit(b"kept")
    with pytest.raises(PrivacyError) as caught:
        held.drawing()
    assert code(caught) == "T564"
    assert ledger.spent("recommend") == pytest.approx(0.1)
    gone = ledger.reserve("recommend", "top", TENTH, 2)
    gone.refund("nobody came")
    with pytest.raises(PrivacyError) as caught:
        gone.drawing()
    assert code(caught) == "T563"
    assert ledger.held("top", 2) is None
    assert ledger.held("top", 1) is not None


def test_a_line_that_is_not_known_is_not_passed_over(control: ControlStore, ledger: Ledger) -> None:
    ledger.reserve("recommend", "top", TENTH, 1)
    control.append("spend", "top", {"event": "borrow", "epoch": "1", "reserve": 1})
    with pytest.raises(StoreError, match="T708"):
        Ledger(control, BUDGETS).spent("recommend")


@pytest.mark.parametrize(
    "body",
    [
        {"event": "reserve", "epoch": "1"},
        {"event": "reserve", "epoch": "1", "purposes": ["recommend"], "claim": {"loss": {}}},
        {"event": "commit", "epoch": "2", "result": "00"},
        {"epoch": "1"},
        {},
    ],
)
def test_a_line_that_says_too_little_is_not_passed_over(
    control: ControlStore, body: dict[str, Any]
) -> None:
    control.append("spend", "top", body)
    with pytest.raises(StoreError, match="T708"):
        Ledger(control, BUDGETS).reserve("recommend", "other", TENTH, 1)


LINE: dict[str, Any] = {
    "event": "reserve",
    "epoch": "1",
    "purposes": ["recommend"],
    "claim": {"mechanism": "m", "loss": {"rho": 0.0, "pure": 0.1, "pure_rho": 0.005}},
}
NOTHING = {"mechanism": "m", "loss": {"rho": 0.0, "pure": 0.0, "pure_rho": 0.0}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"purposes": "recommend"},
        {"purposes": []},
        {"purposes": [["recommend"]]},
        {"claim": NOTHING},
        {"epoch": 1},
        {"touched": [["person", "0", "1"]]},
        {"touched": [["person", 5, 2]]},
        {"touched": [["person", 1.5, None]]},
        {"touched": "person"},
    ],
)
def test_a_line_that_charges_nobody_is_not_passed_over(
    control: ControlStore, wrong: dict[str, Any]
) -> None:
    """Attack: a line that a reader would take for a spend, and that no budget would feel."""
    control.append("spend", "other", LINE)
    assert Ledger(control, BUDGETS).spent("recommend") == pytest.approx(0.1)
    control.append("spend", "top", LINE | wrong)
    with pytest.raises(StoreError, match="T708"):
        Ledger(control, BUDGETS).spent("recommend")


@pytest.mark.parametrize(
    ("before", "line"),
    [
        ("commit", {"event": "refund"}),
        ("commit", {"event": "draw"}),
        ("commit", {"event": "extend", "touched": None}),
        ("commit", {"event": "commit", "result": "00"}),
        ("draw", {"event": "refund"}),
        ("refund", {"event": "commit", "result": "00"}),
        ("commit", LINE),
        ("draw", LINE),
        (None, LINE),
        (None, {"event": "refund", "reserve": 77}),
    ],
)
def test_a_line_that_takes_a_spend_back_is_not_passed_over(
    control: ControlStore, before: str | None, line: dict[str, Any]
) -> None:
    """Attack: what was published, or may have been, is refunded, or overwritten by another line."""
    ledger = Ledger(control, BUDGETS)
    reservation = ledger.reserve("recommend", "top", TENTH, 1)
    if before == "commit":
        reservation.commit(b"it")
    elif before == "draw":
        reservation.drawing()
    elif before == "refund":
        reservation.refund("nothing")
    [first, *_] = control.read("spend")
    control.append("spend", "top", {"epoch": "1", "reserve": first.sequence} | line)
    with pytest.raises(StoreError, match="T708"):
        Ledger(control, BUDGETS).reserve("recommend", "other", TENTH, 1)


def test_a_claim_that_writes_another_loss_than_it_has(ledger: Ledger) -> None:
    """Attack: the loss that is looked at is large, and the one that is written down is small."""

    class Two:
        loss = pure_dp(0.1)

        def to_json(self) -> dict[str, Any]:
            return TENTH.to_json() | {"loss": pure_dp(1e-9).to_json()}

    with pytest.raises(PrivacyError, match="T562"):
        ledger.reserve("recommend", "top", Two(), 1)  # type: ignore[arg-type]
    assert ledger.spent("recommend") == 0


def test_leaving_the_block_keeps_it_reserved(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), ledger.reserve("measure", "top", TENTH, 1):
        _ = 1 / 0
    assert ledger.spent("measure") == pytest.approx(0.1)
    with ledger.reserve("measure", "top", TENTH, 1) as again:
        assert again.resumed
        again.commit(b"")
    assert ledger.spent("measure") == pytest.approx(0.1)


def test_several_purposes_are_charged_together_or_not_at_all(ledger: Ledger) -> None:
    ledger.reserve(["recommend", "measure"], "top", claim(pure_dp(0.2)), 1)
    assert ledger.spent("recommend") == ledger.spent("measure") == pytest.approx(0.2, abs=1e-5)
    with pytest.raises(BudgetError):
        ledger.reserve(["recommend", "measure"], "top", claim(pure_dp(0.2)), 2)
    assert ledger.spent("recommend") == pytest.approx(0.2, abs=1e-5)


def test_purposes_without_a_budget(ledger: Ledger) -> None:
    for purpose in ("nothing", ["recommend", "nothing"], []):
        with pytest.raises(PrivacyError) as caught:
            ledger.reserve(purpose, "top", TENTH, 1)
        assert code(caught) == "T560"
    for call in (ledger.spent, ledger.remaining, ledger.statement, ledger.loss):
        with pytest.raises(PrivacyError, match="T560"):
            call("nothing")


def test_a_budget_of_nothing_allows_nothing(control: ControlStore) -> None:
    ledger = Ledger(control, [Budget("none", 0.0, 1e-6)])
    with pytest.raises(BudgetError):
        ledger.reserve("none", "top", claim(pure_dp(1e-9)), 1)


@pytest.mark.parametrize(
    "bad", [math.nan, math.inf, -math.inf, -1.0, -0.1, 5e-324, 1e-310, True, "1"]
)
@pytest.mark.parametrize("part", ["rho", "epsilon", "delta"])
def test_losses_that_are_no_losses(ledger: Ledger, bad: Any, part: str) -> None:
    """However they came about: here by going around `Loss`'s own checks."""
    smuggled = pure_dp(0.1)
    if part == "rho":
        object.__setattr__(smuggled, part, bad)
    else:
        term = Term(**{"epsilon": 0.1, "delta": 0.0, "times": 1, part: bad})
        object.__setattr__(smuggled, "terms", (term,))
    with pytest.raises(PrivacyError) as caught:
        ledger.reserve("recommend", "top", replace(TENTH, loss=smuggled), 1)
    assert code(caught) == "T562"
    assert ledger.statement() == ()


def test_a_loss_of_nothing_and_a_claim_that_is_none(ledger: Ledger) -> None:
    for bad in (claim(Loss()), replace(TENTH, sigma=math.nan), replace(TENTH, units=b"")):  # type: ignore[arg-type]
        with pytest.raises(PrivacyError) as caught:
            ledger.reserve("recommend", "top", bad, 1)
        assert code(caught) == "T562"


@pytest.mark.parametrize(
    ("epsilon", "delta"),
    [
        (math.nan, 1e-6),
        (math.inf, 1e-6),
        (-1.0, 1e-6),
        (1.0, 0.0),
        (1.0, 1.0),
        (1.0, math.nan),
        (1e-310, 1e-6),
    ],
)
def test_budgets_that_are_none(epsilon: float, delta: float) -> None:
    with pytest.raises(PrivacyError) as caught:
        Budget("p", epsilon, delta)
    assert code(caught) == "T562"


def test_clocks_do_not_matter(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.reserve("measure", "top", claim(pure_dp(0.3)), 1).commit(b"")
    for jump in (10**19, 0, 4 * 10**18):
        monkeypatch.setattr(time, "time_ns", lambda jump=jump: jump)
        monkeypatch.setattr(time, "time", lambda jump=jump: jump / 1e9)
        with pytest.raises(BudgetError):
            ledger.reserve("measure", "top", claim(pure_dp(0.3)), 2)
        ledger.reserve("recommend", f"at-{jump}", TENTH, 1).commit(b"")
    lines = ledger.statement("recommend")
    assert [line.spend.release for line in lines] == [f"at-{j}" for j in (10**19, 0, 4 * 10**18)]


def test_the_statement_adds_up(ledger: Ledger) -> None:
    ledger.reserve("recommend", "a", RHO, 1).commit(b"")
    ledger.reserve("recommend", "b", TENTH, 1).refund("nobody came")
    ledger.reserve(["recommend", "measure"], "c", RHO, 1)
    lines = ledger.statement()
    assert [(x.purpose, x.spend.release, x.spend.state) for x in lines] == [
        ("recommend", "a", "committed"),
        ("recommend", "b", "refunded"),
        ("recommend", "c", "reserved"),
        ("measure", "c", "reserved"),
    ]
    one, two = RHO.loss.epsilon(1e-6), compose([RHO.loss] * 2).epsilon(1e-6)
    assert [x.epsilon for x in lines] == [one, 0.0, one, one]
    assert [x.total for x in lines] == [one, one, two, one]
    assert lines[-1].total == ledger.spent("measure")
    assert all(x.spend.mechanism == "vector_sum" and x.spend.epoch == "1" for x in lines)


def test_a_lowered_budget_refuses_and_a_raised_one_allows(control: ControlStore) -> None:
    Ledger(control, BUDGETS).reserve("recommend", "a", TENTH, 1).commit(b"")
    low = Ledger(control, [Budget("recommend", 0.05, 1e-6)])
    assert low.remaining("recommend") == 0.0
    with pytest.raises(BudgetError):
        low.reserve("recommend", "a", claim(pure_dp(1e-9)), 2)
    assert low.reserve("recommend", "a", TENTH, 1).state == "committed"  # paid for already
    Ledger(control, [Budget("recommend", 2.0, 1e-6)]).reserve("recommend", "a", TENTH, 2)


def test_a_store_that_fails_lets_nothing_out(control: ControlStore, ledger: Ledger) -> None:
    reservation = ledger.reserve("recommend", "a", TENTH, 1)
    control.close()
    with pytest.raises(StoreError):
        ledger.reserve("recommend", "b", TENTH, 1)
    with pytest.raises(StoreError):
        reservation.commit(b"")
    assert reservation.state == "reserved"


def test_a_block_that_rolled_back_is_not_remembered(control: ControlStore, ledger: Ledger) -> None:
    for around in range(3):
        with contextlib.suppress(ZeroDivisionError), control.transaction():
            ledger.reserve("measure", "top", claim(pure_dp(0.25)), around).commit(b"")
            assert ledger.spent("measure") == pytest.approx(0.25)
            _ = 1 / 0
        if around == 1:
            control.append("audit", "k", {})
            control.append("audit", "k", {})
        assert ledger.spent("measure") == 0.0
    with contextlib.suppress(ZeroDivisionError), control.transaction():
        ledger.reserve("measure", "top", claim(pure_dp(0.25)), 9).commit(b"")
        _ = 1 / 0
    # Another writer's records now have the very sequences that ours had.
    Ledger(control, BUDGETS).reserve("measure", "other", TENTH, 1).commit(b"")
    assert ledger.spent("measure") == pytest.approx(0.1)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reserve", "commit", "refund", "reopen"]),
            st.sampled_from(["a", "b", "c"]),
            st.integers(0, 2),
            st.sampled_from([0.03, 0.11, 0.2]),
        ),
        max_size=25,
    )
)
@settings(max_examples=examples(30), deadline=None)
def test_never_past_the_budget_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int, float]]
) -> None:
    """Against a model that is a dictionary."""
    with ControlStore.create(tmp_path_factory.mktemp("ledger") / "control") as control:
        ledger = Ledger(control, BUDGETS)
        held: dict[tuple[str, int], tuple[Any, float]] = {}
        for step, name, epoch, epsilon in steps:
            key = (name, epoch)
            if step == "reopen":
                ledger = Ledger(control, BUDGETS)
            elif step == "reserve":
                total = sum(cost for _, cost in held.values())
                try:
                    reservation = ledger.reserve("measure", name, claim(pure_dp(epsilon)), epoch)
                    assert key in held or total + epsilon < 0.3 + 1e-4
                    assert key not in held or held[key][1] == epsilon
                    held.setdefault(key, (reservation, epsilon))
                except BudgetError:
                    assert key not in held
                    assert total + epsilon > 0.3 - 1e-6  # never refused what adds up to the budget
                except PrivacyError:
                    assert held[key][1] != epsilon
            elif key in held and step == "commit":
                held[key][0].commit(b"")
            elif key in held and held[key][0].state == "reserved":
                held.pop(key)[0].refund("no")
            assert ledger.spent("measure") == pytest.approx(
                sum(c for _, c in held.values()), abs=1e-4
            )
            assert ledger.spent("measure") <= 0.3 * (1 + 1e-8)


# ---------------------------------------------------------------------- processes


@pytest.mark.slow
def test_processes_never_overspend_together(control: ControlStore, path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(3), spawn.Queue()
    racers = [
        spawn.Process(target=race, args=(str(path), f"r{i}", barrier, results)) for i in range(3)
    ]
    for racer in racers:
        racer.start()
    won = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    assert sum(won) == 10
    assert Ledger(control, BUDGETS).spent("recommend") == pytest.approx(1.0, abs=1e-3)
    control.verify()


_RELEASER = """
import sys
from tacit.govern.ledger import Budget, Ledger
from tacit.store.control import ControlStore
sys.path.insert(0, sys.argv[2])
from ledger_world import BUDGETS, TENTH
with ControlStore.open(sys.argv[1]) as control:
    with Ledger(control, BUDGETS).reserve("measure", "top", TENTH, int(sys.argv[3])) as reservation:
        print(reservation.state, flush=True)
        if sys.argv[4] == "commit":
            reservation.commit(b"result")
            print("committed", flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize("stage", ["reserve", "commit"])
def test_kill_9_keeps_what_was_set_aside(control: ControlStore, path: Path, stage: str) -> None:
    ledger = Ledger(control, BUDGETS)
    for epoch in range(2):
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _RELEASER,
                str(path),
                str(Path(__file__).parent),
                str(epoch),
                stage,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "reserved\n"
        if stage == "commit":
            assert process.stdout.readline() == "committed\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stdin.close()
        assert ledger.spent("measure") == pytest.approx(0.1 * (epoch + 1), abs=1e-5)
    again = ledger.reserve("measure", "top", TENTH, 0)  # the restarted job goes on where it was
    assert again.resumed
    assert again.state == ("committed" if stage == "commit" else "reserved")
    again.commit(b"result")
    assert ledger.spent("measure") == pytest.approx(0.2, abs=1e-5)
    with pytest.raises(BudgetError):
        ledger.reserve("measure", "big", claim(pure_dp(0.11)), 0)


def test_a_claim_is_read_only_by_its_fields(ledger: Ledger) -> None:
    """A claim of another mechanism's own class is charged for what it says."""
    other = SimpleNamespace(loss=TENTH.loss, to_json=TENTH.to_json)
    ledger.reserve("recommend", "top", other, 1)  # type: ignore[arg-type]
    assert ledger.reserve("recommend", "top", TENTH, 1).resumed


# ---------------------------------------------------------------------- chosen on the way


def _worst(asked: list[float], budget: Budget, loss: float) -> float:
    """E[(1 - exp(ε - L))₊] over randomised responses, from a realised loss on; by enumeration."""
    spread = {loss: 1.0}
    for epsilon in asked:
        after: dict[float, float] = {}
        for held, weight in spread.items():
            for sign, odds in ((1, math.exp(epsilon)), (-1, 1.0)):
                step = round(held + sign * epsilon, 9)
                after[step] = after.get(step, 0.0) + weight * odds / (1 + math.exp(epsilon))
        spread = after
    return sum(w * max(0.0, -math.expm1(budget.epsilon - at)) for at, w in spread.items())


def test_an_epsilon_chosen_after_what_was_seen(control: ControlStore) -> None:
    """14 randomised responses of 0.2, and then, by what they said, one of five plans: each plan
    is within the budget by loss distributions, their adaptive choice is not."""
    budget = Budget("p", 3.9476631, 1e-5)
    plans = [[0.2] * 10, [1.204], [0.627] * 2, [0.451] * 3, [0.31] * 5]
    ledger = Ledger(control, [budget])
    for epoch in range(14):
        ledger.reserve("p", "first", claim(pure_dp(0.2)), epoch).commit(b"")
    admitted = []
    for plan in plans:
        whole = compose([pure_dp(0.2)] * 14 + [pure_dp(epsilon) for epsilon in plan])
        assert whole.epsilon(1e-5) <= budget.epsilon
        held = []
        for epoch, epsilon in enumerate(plan):
            with contextlib.suppress(BudgetError):
                held.append(ledger.reserve("p", "then", claim(pure_dp(epsilon)), epoch))
        admitted.append(plan[: len(held)])
        for reservation in held:
            reservation.refund("another branch")

    def adaptive(choices: list[list[float]]) -> float:
        """δ of the strategy that goes on with the worst choice for what it has seen."""
        total = 0.0
        for ones in range(15):
            odds = math.comb(14, ones) * math.exp(0.2 * ones) / (1 + math.exp(0.2)) ** 14
            at = 0.2 * (2 * ones - 14)
            total += odds * max(_worst(plan, budget, at) for plan in choices)
        return total

    assert adaptive(plans) > 1.6e-5
    assert 0 < adaptive([*admitted, []]) <= 1e-5
    assert any(admitted)


def test_what_is_declared_fills_the_budget_exactly(control: ControlStore) -> None:
    """By Gaussian noise, which a filter that keeps half of δ would refuse at the last one."""
    rho = gaussian_rho(sigma_for(1.0, 1e-6))
    parts = [zcdp(rho / 2), zcdp(rho / 2)]
    usual = Ledger(control, [Budget("usual", 1.0, 1e-6)])
    usual.reserve("usual", "a", claim(parts[0]), 1).commit(b"")
    with pytest.raises(BudgetError, match=r"its filter would need ε=1\.0"):
        usual.reserve("usual", "b", claim(parts[1]), 1)
    usual.reserve("usual", "alone", claim(zcdp(rho / 8)), 1)
    known = Ledger(control, [Budget("known", 1.0, 1e-6, compose(parts))])
    known.reserve("known", "e", claim(parts[0]), 1).commit(b"")
    # The choice stands, whatever is declared since.
    since = Ledger(control, [Budget("known", 1.0, 1e-6)])
    since.reserve("known", "f", claim(parts[1]), 1).commit(b"")
    with pytest.raises(BudgetError):
        since.reserve("known", "c", claim(pure_dp(1e-3)), 1)
    failing = Loss(terms=(Term(0.0, 1e-9, 1),))
    with pytest.raises(BudgetError, match="raise its δ"):  # it keeps no δ for failures
        since.reserve("known", "d", replace(TENTH, loss=failing), 1)


def test_one_release_at_exactly_the_budget_fits_alone(control: ControlStore) -> None:
    for at, (epsilon, delta) in enumerate([(4.0, 1e-5), (1.0, 1e-6), (0.1, 1e-9), (8.0, 1e-6)]):
        ledger = Ledger(control, [Budget(f"p{at}", epsilon, delta)])
        loss = zcdp(gaussian_rho(sigma_for(epsilon, delta)))
        first = ledger.reserve(f"p{at}", "a", claim(loss), at)
        with pytest.raises(BudgetError):
            ledger.reserve(f"p{at}", "b", claim(zcdp(loss.rho / 1000)), at)
        first.refund("nobody came")
        # Nothing was published, so the next is the first again, and chooses for itself.
        failing = compose([zcdp(loss.rho / 4), Loss(terms=(Term(0.0, delta / 3, 1),))])
        ledger.reserve(f"p{at}", "c", replace(TENTH, loss=failing), at).commit(b"")
