"""The ledger over epochs of people's time: no epoch is overspent, whoever asks, whatever breaks."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from epochs_world import LASTING, PEOPLE, REPLACED, TENTH, WEEK, claim, pure, race, week
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from tacit.errors import BudgetError, PrivacyError, StoreError
from tacit.govern.epochs import Epochs
from tacit.govern.ledger import Ledger, Reservation
from tacit.govern.spends import Touched, united
from tacit.privacy import prio3
from tacit.privacy.central import budget as central
from tacit.privacy.central.sensitivity import Sensitivity
from tacit.privacy.filters import Cost, Filter, of_one_epoch
from tacit.privacy.local.randomized_response import RandomizedResponse
from tacit.privacy.loss import Loss, pure_dp, zcdp
from tacit.privacy.pairs import PairLayout, PairSum
from tacit.privacy.shuffle import shuffled
from tacit.privacy.sum_noise import SumNoise
from tacit.privacy.vector_sum import VectorSum
from tacit.store import witness
from tacit.store.control import ControlStore
from tacit.values import DAY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control"


@pytest.fixture
def control(path: Path) -> Iterator[ControlStore]:
    with ControlStore.create(path) as store:
        yield store


@pytest.fixture
def ledger(control: ControlStore) -> Ledger:
    return Ledger(control, LASTING, [PEOPLE])


def ask(
    ledger: Ledger,
    name: str,
    loss: float | Loss,
    touched: Sequence[Touched] | None,
    *,
    number: int = 0,
    team: str = "search",
    adjacency: str = REPLACED,
    purpose: str = "measure",
) -> Reservation:
    made = claim(loss if isinstance(loss, Loss) else pure_dp(loss), adjacency)
    return ledger.reserve(purpose, name, made, number, touched=touched, querier=team)


def code(call: Callable[[], object]) -> str:
    with pytest.raises((PrivacyError, StoreError)) as caught:
        call()
    assert caught.value.fix
    return caught.value.code


def shares(
    ledger: Ledger, kind: str = "filter", name: str = "person"
) -> dict[tuple[float, float], float]:
    return {
        (line.span.first, line.span.last): round(line.share, 9)
        for line in ledger.epochs()
        if (line.kind, line.name) == (kind, name)
    }


def test_epochs_are_spent_each_for_itself(ledger: Ledger) -> None:
    for number in range(10):
        ask(ledger, "top", 0.5, week(number), number=number, team="growth").commit(b"")
    assert shares(ledger) == {(0, 9): 0.5}
    # The team's quota of that week is used up; of the next it has all.
    assert code(lambda: ask(ledger, "more", 0.01, week(3), team="growth")) == "T545"
    ask(ledger, "more", 0.01, week(10), team="growth")
    ask(ledger, "other", 0.5, week(3))
    # Of the quota something is left, of the filter nothing.
    assert code(lambda: ask(ledger, "third", 0.1, week(3))) == "T544"
    quota = shares(ledger, "querier", "growth")
    assert quota[0, 9] == 1.0
    assert 0 < quota[10, 10] <= 0.02
    assert next(line.left for line in ledger.epochs() if line.span == (3, 3)) == 0.0


def test_a_release_is_charged_to_every_epoch_that_it_touches_or_to_none(ledger: Ledger) -> None:
    ask(ledger, "a", 0.4, week(2), team="growth")
    before = ledger.epochs()
    assert code(lambda: ask(ledger, "b", 0.3, week(0, 5), team="growth")) == "T545"
    assert ledger.epochs() == before
    ask(ledger, "b", 0.3, week(0, 5))
    assert shares(ledger) == {(0, 1): 0.3, (2, 2): 0.7, (3, 5): 0.3}


def test_what_does_not_say_what_it_touches_touches_everything(ledger: Ledger) -> None:
    ask(ledger, "a", 0.7, None)
    assert shares(ledger) == {(-math.inf, math.inf): 0.7}
    assert code(lambda: ask(ledger, "b", 0.4, week(99), team="growth")) == "T544"
    assert code(lambda: ask(ledger, "c", 0.1, None, team="")) == "T545"  # nobody has no quota
    ask(ledger, "d", 0.9, [Touched("shop", 0, DAY)])  # rows of others


def test_spends_from_before_epochs_were_declared_count_in_each(control: ControlStore) -> None:
    Ledger(control, LASTING).reserve("measure", "old", pure(0.8), 0).commit(b"")
    later = Ledger(control, LASTING, [Epochs("person", WEEK, 1.0, 1e-6)])
    assert code(lambda: ask(later, "new", 0.3, week(5))) == "T544"
    ask(later, "new", 0.2, week(5))


def test_epochs_of_another_length_hold_what_they_overlap(control: ControlStore) -> None:
    one = Ledger(control, LASTING, [Epochs("person", WEEK, 1.0, 1e-6)])
    for number in range(4):
        ask(one, "top", 0.2, week(number), number=number).commit(b"")
    four = Ledger(control, LASTING, [Epochs("person", 4 * WEEK, 1.0, 1e-6)])
    assert shares(four) == {(0, 0): 0.8}
    assert code(lambda: ask(four, "b", 0.3, week(2))) == "T544"


def test_a_purpose_with_a_budget_of_each_epoch(ledger: Ledger) -> None:
    for number in range(3):
        ask(ledger, "top", 0.6, week(number), number=number, purpose="weekly")
    assert code(lambda: ask(ledger, "b", 0.1, week(0), purpose="weekly")) == "T501"
    # It has none for ever, so nobody else's data is bounded by it.
    assert code(lambda: ask(ledger, "c", 0.1, [Touched("shop", 0, 9)], purpose="weekly")) == "T560"


def test_a_renewing_budget_is_for_people_who_have_it(control: ControlStore) -> None:
    """Of others nothing would be charged: for what reads them too, the budget for ever counts."""
    renewing = replace(PEOPLE, purposes={"weekly": (1.0, 1e-6)})
    ledger = Ledger(control, [], [renewing])
    mixed = [*week(0), Touched("shop", 0, WEEK)]
    with pytest.raises(PrivacyError, match="T560"):
        ledger.reserve("weekly", "a", claim(pure_dp(0.1)), 0, touched=mixed, querier="growth")
    ledger.reserve("weekly", "a", claim(pure_dp(0.1)), 0, touched=week(0), querier="growth")


def test_several_epochs_cost_a_change_of_the_person_twice(ledger: Ledger) -> None:
    ask(ledger, "a", 0.4, week(0), adjacency="add or remove one device")
    ask(ledger, "b", 0.4, week(5, 6), adjacency="add or remove one device")
    assert shares(ledger) == {(0, 0): 0.4, (5, 6): 0.8}


def test_a_resumed_reservation_pays_for_epochs_that_are_new_to_it(ledger: Ledger) -> None:
    ask(ledger, "top", 0.4, week(0, 2))
    again = ask(ledger, "top", 0.4, week(1, 3))
    assert again.resumed
    assert shares(ledger) == {(0, 3): 0.4}
    ask(ledger, "other", 0.7, week(4))
    assert code(lambda: ask(ledger, "top", 0.4, week(0, 4))) == "T544"
    assert shares(ledger) == {(0, 3): 0.4, (4, 4): 0.7}
    again.commit(b"result")
    assert ask(ledger, "top", 0.4, week(0, 9)).state == "committed"  # nothing is read again
    ask(ledger, "gone", 0.1, week(9)).refund("no")
    assert shares(ledger) == {(0, 3): 0.4, (4, 4): 0.7}
    [spend] = {line.spend for line in ledger.statement() if line.spend.release == "top"}
    assert spend.touched == tuple(week(0, 3))


def test_every_mechanism_spends_of_the_same_epochs(control: ControlStore) -> None:
    """Local, shuffled, DAP with either noise, central with either, and the sums by two parties of
    which models are learned: one ledger, one filter."""
    people, films = (central.Sums(Sensitivity.of(groups, 1)) for groups in (1, 50))
    coin = RandomizedResponse(40, 1000, 1.0, "local").claim()
    histogram = prio3.histogram(8)
    claims = {
        "local": coin,
        "shuffled": shuffled(coin, 10_000, 1e-7, response=True),
        "gaussian": SumNoise("gaussian", Fraction(900)).claim(histogram, "plays", 1e-6),
        "laplace": SumNoise("laplace", Fraction(40)).claim(histogram, "plays", 1e-6),
        "sum": VectorSum(6, 100, 2.0, 1e-6, "taste").claim(),
        "learned": PairSum(
            PairLayout(9, np.array([1, 2]), buckets=4), 1000, 1.0, 1e-6, "taste"
        ).claim(),
        "central": central.claim("people", central.share([people], 0.5, 0.0), 0.0, "people"),
        "grouped": central.claim("films", central.share([films], 0.5, 1e-7), 1e-7, "people"),
    }
    ledger = Ledger(control, LASTING, [Epochs("person", WEEK, 20.0, 1e-6)])
    capacity, total = Filter(20.0, 1e-6), Cost()
    for name, made in claims.items():
        ledger.reserve("measure", name, made, 0, touched=week(0, 1)).commit(b"")
        total += capacity.cost(of_one_epoch(made.loss, made.adjacency, several=True))
        assert shares(ledger) == {(0, 1): round(float(capacity.share(total)), 9)}
    # Those of adding or removing somebody count double, those of any change once.
    presence = ("sum", "learned", "central", "grouped")
    assert claims["grouped"].mechanism == "central_gaussian"
    assert total.rho == sum(
        (Fraction(made.loss.rho) * (4 if name in presence else 1) for name, made in claims.items()),
        Fraction(0),
    )
    assert [line.spend.release for line in ledger.statement("measure")] == list(claims)


@pytest.mark.parametrize(
    "times", [(5, 5), (9, 1), (0.5, 3), (math.nan, 3), (True, 3), (0, math.inf), ("0", 3)]
)
def test_times_that_are_none(ledger: Ledger, times: Any) -> None:
    assert code(lambda: ask(ledger, "a", 0.1, [Touched("person", *times)])) == "T546"
    assert ledger.epochs() == ()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 5e-324, 1e-310, True, "1"])
@pytest.mark.parametrize("part", ["epsilon", "delta", "queriers", "purposes", "length"])
def test_epochs_that_are_none(part: str, bad: Any) -> None:
    fields: dict[str, Any] = {"length": WEEK, "epsilon": 1.0, "delta": 1e-6}
    fields[part] = {"queriers": {"a": bad}, "purposes": {"a": (bad, 1e-6)}}.get(part, bad)
    assert code(lambda: Epochs("person", **fields)) == "T562"


def test_clocks_do_not_matter(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs are those of the rows, whatever the machine believes that it is now."""
    ask(ledger, "a", 0.8, week(4)).commit(b"")
    for jump in (10**19, 0, 4 * 10**18):
        monkeypatch.setattr(time, "time_ns", lambda jump=jump: jump)
        monkeypatch.setattr(time, "time", lambda jump=jump: jump / 1e9)
        assert code(lambda: ask(ledger, "b", 0.3, week(4), team="growth")) == "T544"


def test_unions_of_times() -> None:
    a, b = Touched("p", 5, 9), Touched("p", 1, 3)
    assert united([a], [b]) == (Touched("p", 1, 9),)
    assert united([a], [Touched("p", None, 3), Touched("q", 1)]) == (
        Touched("p", None, 9),
        Touched("q", 1, None),
    )
    assert united(None, [a]) is None


# ---------------------------------------------------------------------- against brute force


LOSSES: tuple[Loss, ...] = (pure_dp(0.05), pure_dp(0.3), zcdp(0.001), zcdp(0.02))
STEP = st.tuples(
    st.sampled_from(["reserve", "refund", "commit", "reopen"]),
    st.integers(0, 5),
    st.integers(-2, 6),
    st.integers(0, 4),
    st.sampled_from(LOSSES),
    st.sampled_from(["growth", "search", "nobody"]),
    st.sampled_from(["replace one", "add or remove one"]),
)


def brute(held: dict[int, tuple[Any, ...]], number: int, capacity: Filter, team: str) -> bool:
    """Whether one epoch fits, by composing all that touched it from nothing."""
    total = capacity.cost(Loss())
    for first, last, loss, asked, adjacency in held.values():
        if first <= number <= last and team in ("", asked):
            counted = loss
            if last > first and adjacency.startswith("add"):
                counted = Loss(4 * loss.rho) if loss.rho else pure_dp(2 * loss.pure)
            total += capacity.cost(counted)
    return capacity.fits(total) or total == capacity.cost(Loss())


@given(st.lists(STEP, max_size=14))
@settings(max_examples=examples(25), deadline=None)
def test_it_decides_as_brute_force_does(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]]
) -> None:
    with ControlStore.create(tmp_path_factory.mktemp("ledger") / "control") as control:
        ledger = Ledger(control, LASTING, [PEOPLE])
        held: dict[int, tuple[Any, ...]] = {}
        open_: dict[int, Any] = {}
        for index, (step, which, first, more, loss, team, adjacency) in enumerate(steps):
            if step == "reopen":
                ledger = Ledger(control, LASTING, [PEOPLE])
            elif step == "reserve":
                new = (first, first + more, loss, team, adjacency)
                quota = Filter({"growth": 0.5, "search": 0.8}.get(team, 0.0), 1e-6)
                after = {**held, index: new}
                right = all(
                    brute(after, number, Filter(1.0, 1e-6), "")
                    and brute(after, number, quota, team)
                    for number in range(first, first + more + 1)
                )
                try:
                    open_[index] = ask(
                        ledger,
                        "top",
                        loss,
                        week(first, first + more),
                        number=index,
                        team=team,
                        adjacency=adjacency,
                    )
                    held[index] = new
                    assert right
                except BudgetError:
                    assert not right
            elif open_:
                key = sorted(open_)[which % len(open_)]
                reservation = open_.pop(key)
                if step == "refund":
                    reservation.refund("no")
                    held.pop(key)
                else:
                    reservation.commit(b"")


# ---------------------------------------------------------------------- processes, crashes, disks


def test_processes_never_overspend_an_epoch_together(control: ControlStore, path: Path) -> None:
    """Every release touches week 2, and ten fill it. A quota holds fewer of its team."""
    spawn = multiprocessing.get_context("spawn")
    teams = ("growth", "search", "search")
    barrier, results = spawn.Barrier(len(teams)), spawn.Queue()
    racers = [
        spawn.Process(target=race, args=(str(path), team, barrier, results)) for team in teams
    ]
    for racer in racers:
        racer.start()
    found = [results.get(timeout=300) for _ in racers]
    for racer in racers:
        racer.join()
    ledger = Ledger(control, LASTING, [PEOPLE])
    assert 7 <= sum(won for _, won in found) <= 10
    assert all(line.share <= 1 + 1e-9 for line in ledger.epochs())
    for team in teams:
        assert code(lambda team=team: ask(ledger, "late", TENTH, week(2), team=team)) in (
            "T544",
            "T545",
        )
    control.verify()


_KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from epochs_world import LASTING, PEOPLE, TENTH, claim, week
from tacit.govern.ledger import Ledger
from tacit.store import witness
from tacit.store.control import ControlStore
point, at = sys.argv[3], int(sys.argv[4])
count = {"append": 0, "tell": 0, "told": 0}
def die(name):
    count[name] += 1
    if (name, count[name]) == (point, at):
        os.kill(os.getpid(), signal.SIGKILL)
append, tell = ControlStore.append, witness.tell
def appended(*given, **more):
    record = append(*given, **more)
    die("append")  # in the transaction, before it is committed
    return record
def told(*given):
    die("tell")  # committed, and the witness does not know
    tell(*given)
    die("told")
with ControlStore.open(sys.argv[1]) as control:
    ControlStore.append, witness.tell = appended, told
    ledger = Ledger(control, LASTING, [PEOPLE])
    reads = week(1)
    one = ledger.reserve("measure", "top", claim(TENTH), 0, touched=reads, querier="search")
    one.commit(b"result")
"""
POINTS = {
    ("append", 1): "none",
    ("tell", 1): "reserved",
    ("told", 1): "reserved",
    ("append", 2): "reserved",
    ("tell", 2): "committed",
    ("told", 2): "committed",
}


def test_kill_9_between_any_two_steps(tmp_path: Path) -> None:
    """The child dies there; what is found afterwards counts, and the same job goes on from it."""
    running = []
    for number, (point, at) in enumerate(POINTS):
        path = tmp_path / str(number)
        with ControlStore.create(path) as control:
            control.append("audit", "begin", {})
        words = [sys.executable, "-c", _KILLED, str(path), str(Path(__file__).parent), point]
        running.append((path, point, at, subprocess.Popen([*words, str(at)], text=True)))
    for path, point, at, child in running:
        assert child.wait() == -signal.SIGKILL, (point, at)
        with ControlStore.open(path) as control:  # no crash looks like a rollback
            ledger = Ledger(control, LASTING, [PEOPLE])
            state = POINTS[point, at]
            found = shares(ledger)
            assert found == ({} if state == "none" else {(1, 1): 0.1}), (point, at)
            again = ask(ledger, "top", TENTH, week(1))
            assert again.resumed == (state != "none")
            assert again.state == ("committed" if state == "committed" else "reserved")
            again.commit(b"result")
            assert shares(ledger) == {(1, 1): 0.1}


def test_a_ledger_that_was_rolled_back_is_found(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other-disk"
    elsewhere.mkdir()
    far = elsewhere / "shop.witness"

    def spend(number: int) -> None:
        with ControlStore.open(path, witnesses=[far]) as control:
            ledger = Ledger(control, LASTING, [PEOPLE])
            ask(ledger, "top", TENTH, week(1), number=number).commit(b"")

    ControlStore.create(path).close()
    spend(0)
    kept = {each: each.read_bytes() for each in (path, witness.beside(path))}
    spend(1)

    def opened() -> str:
        return code(lambda: ControlStore.open(path, witnesses=[far]))

    now = {each: each.read_bytes() for each in kept}
    path.write_bytes(kept[path])
    assert opened() == "T706"  # the file by itself, by the witness beside it
    witness.beside(path).write_bytes(kept[witness.beside(path)])
    assert opened() == "T706"  # the whole folder, by the witness elsewhere
    ControlStore.open(path).close()  # which nobody else remembers
    path.unlink()
    assert opened() == "T718"  # deleted is forgotten, and not a new beginning
    with pytest.raises(StoreError, match="T718"):
        ControlStore.create(path)
    for each, raw in now.items():
        each.write_bytes(raw)
    spend(2)
    far.write_bytes(b"not a witness\n" * 40)
    assert opened() == "T718"
    far.unlink()
    assert opened() == "T719"  # gone, or new: nobody can tell but whoever asks for it
    ControlStore.open(path, witnesses=[far], accept=True).close()
    spend(3)  # it has learned what there is
    assert witness.last_seen(far) == witness.last_seen(witness.beside(path))


def test_a_witness_survives_a_torn_line_and_a_race(tmp_path: Path) -> None:
    place = tmp_path / "w"
    assert witness.last_seen(place) is None
    for number in range(1, 100):
        witness.tell(place, number, f"{number:064x}")
    witness.tell(place, 50, "f" * 64)  # one that was slow does not turn it back
    assert witness.last_seen(place) == (99, f"{99:064x}")
    size = place.stat().st_size
    raw = bytearray(place.read_bytes())
    at = 99 % 32 * 86
    raw[at + 30 : at + 60] = b"?" * 30
    place.write_bytes(raw)
    assert witness.last_seen(place) == (98, f"{98:064x}")
    witness.tell(place, 100, "a" * 64)
    assert (witness.last_seen(place), place.stat().st_size) == ((100, "a" * 64), size)
    for damaged in (raw[:100], bytes(raw) + b"x", b"x" * size):
        place.write_bytes(damaged)
        if len(damaged) == 100:
            assert witness.last_seen(place) is not None  # cut short: what is left still counts
            continue
        with pytest.raises(StoreError, match="T718"):
            witness.last_seen(place)


def test_a_damaged_or_truncated_ledger_lets_nothing_out(path: Path) -> None:
    with ControlStore.create(path) as control:
        ledger = Ledger(control, LASTING, [PEOPLE])
        for number in range(40):
            ask(ledger, "top", TENTH, week(number), number=number).commit(b"")
    good = path.read_bytes()
    for length in (0, 50, 4096, len(good) // 2, len(good) - 4096):
        path.write_bytes(good[:length])
        assert code(lambda: ControlStore.open(path)) in ("T702", "T706")
    at = good.index(b'"rho":')
    path.write_bytes(good[: at + 6] + b"9" + good[at + 7 :])
    assert code(lambda: ControlStore.open(path)) in ("T702", "T706")


def test_a_full_disk_lets_nothing_out(tmp_path: Path) -> None:
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", tmp_path], capture_output=True
    ).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        path, filler = tmp_path / "control", tmp_path / "filler"
        with ControlStore.create(path) as control:
            ledger = Ledger(control, LASTING, [PEOPLE])
            first = ask(ledger, "a", TENTH, week(0))
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
            granted = 0
            with contextlib.suppress(StoreError):
                for number in range(200):
                    ask(ledger, "b", TENTH, week(1 + number), number=number)
                    granted += 1
            assert granted < 200
            assert code(lambda: first.commit(b"result" * 10)) == "T701"
            assert first.state == "reserved"
            filler.unlink()
            first.commit(b"result")
        with ControlStore.open(path) as control:  # the witness was told nothing that is not there
            again = Ledger(control, LASTING, [PEOPLE])
            assert shares(again) == {(0, granted): 0.1}
            assert ask(again, "a", TENTH, week(0)).state == "committed"
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
