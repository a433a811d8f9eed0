"""A sum with noise is a release: none without the ledger, and one only for one price."""

from __future__ import annotations

import re
from argparse import Namespace
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from dap_world import RANDOM, World, make_task

from tacit.collect.dap.command import _release
from tacit.collect.dap.peer import Response
from tacit.collect.dap.settings import Settings, TaskSettings, new_task, read_settings
from tacit.errors import BudgetError, CollectError, PrivacyError
from tacit.govern.epochs import Epochs
from tacit.govern.ledger import Budget, Ledger, Reservation
from tacit.privacy.sum_noise import SumNoise
from tacit.store.control import ControlStore
from tacit.values import DAY, SECOND

NOISE = SumNoise("gaussian", Fraction(9))
VALUES = [i % 5 for i in range(40)]
TOTAL = [VALUES.count(i) for i in range(8)]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(ControlStore.create(tmp_path / "control"), [Budget("measure", 3.0, 1e-6)])


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(make_task(noise=NOISE, min_batch_size=40), tmp_path)
    made.upload(VALUES)
    yield made
    made.stop()


def reserve(world: World, ledger: Ledger, epoch: int = 0) -> Reservation:
    claim = world.collector().claim("plays", 1e-6)
    return ledger.reserve("measure", "plays", claim, epoch)


def test_a_release_is_paid_for_before_it_is_opened(world: World, ledger: Ledger) -> None:
    reservation = reserve(world, ledger)
    found, sealed = world.collector().release(world.everything(), reservation)
    assert reservation.state == "committed"
    assert ledger.spent("measure") == pytest.approx(reservation.loss.epsilon(1e-6))
    assert found.reports == 40
    assert found.sigma == pytest.approx(18**0.5)
    assert all(
        abs(got - true) < 8 * found.sigma for got, true in zip(found.value, TOTAL, strict=True)
    )
    # The same answer opened again is the same release: it has the same noise, and costs nothing.
    assert world.collector().open(sealed) == found
    again, _ = world.collector().release(world.everything(), reserve(world, ledger))
    assert again == found


def test_no_release_without_the_ledger(world: World, ledger: Ledger) -> None:
    with pytest.raises(CollectError, match="T827"):
        world.collect()
    refunded = reserve(world, ledger)
    refunded.refund("not wanted")
    with pytest.raises(PrivacyError, match="T543"):
        world.collector().release(world.everything(), refunded)
    small = replace(NOISE, parameter=Fraction(900)).claim(world.task.vdaf.prio3, "plays", 1e-6)
    cheap = ledger.reserve("measure", "cheap", small, 0)
    with pytest.raises(PrivacyError, match="T543"):
        world.collector().release(world.everything(), cheap)
    tight = Ledger(ControlStore.create(world.folder / "tight"), [Budget("measure", 0.1, 1e-6)])
    with pytest.raises(BudgetError, match="T501"):
        reserve(world, tight)


def test_an_exact_sum_has_no_claim(tmp_path: Path, ledger: Ledger) -> None:
    world = World(make_task(min_batch_size=2), tmp_path)
    with pytest.raises(CollectError, match="T827"):
        reserve(world, ledger)
    world.stop()


def test_noise_is_drawn_once(world: World) -> None:
    """A batch asked for again, by whoever, over crashes: the same sealed shares, the same noise."""
    collector = world.collector()
    first = collector.fetch(world.everything())
    world.crash()
    assert collector.fetch(world.everything()) == first
    assert world.helper.start_share(helper_request(world)) == world.helper.start_share(
        helper_request(world)
    )


def helper_request(world: World) -> bytes:
    with world.databases[0].transaction(world.task.id) as session:
        return bytes(session.all("SELECT share_request FROM collections")[0][0])


def test_sums_that_noise_made_negative(tmp_path: Path, ledger: Ledger) -> None:
    """Buckets that nobody is in: about half of them come out below zero, none near the modulus."""
    parameters = {"length": 200, "chunk_length": 14}
    task = make_task(noise=NOISE, min_batch_size=3, parameters=parameters)
    world = World(task, tmp_path)
    world.upload([0, 0, 0])
    found, _ = world.collector().release(world.everything(), reserve(world, ledger))
    assert 50 < sum(value < 0 for value in found.value) < 150
    assert max(map(abs, found.value)) < 60
    world.stop()


def test_another_answer_under_one_reservation_is_refused(world: World, ledger: Ledger) -> None:
    reservation = reserve(world, ledger)
    world.collector().release(world.everything(), reservation)
    world.now += 100
    world.upload(VALUES)
    with pytest.raises(PrivacyError, match="T564"):
        world.collector().release(world.everything(), reservation)


def test_an_answer_that_breaks_the_rules_is_not_paid_for(world: World, ledger: Ledger) -> None:
    """Attack: a leader answers with what no collector opens. A release that is committed to it would
    be spent, and never be had."""

    def tap(method: str, url: str, body: bytes, response: Response) -> Response:
        if "/collection_jobs/" not in url or not response.body:
            return response
        return replace(response, body=(3).to_bytes(8, "big") + response.body[8:])

    world.network.taps.append(tap)
    reservation = reserve(world, ledger)
    with pytest.raises(CollectError, match="fewer reports than the task allows"):
        world.collector().release(world.everything(), reservation)
    assert reservation.state == "reserved"
    world.network.taps.clear()
    found, _ = world.collector().release(world.everything(), reserve(world, ledger))
    assert found.reports == 40


def test_both_drafts(tmp_path: Path, ledger: Ledger) -> None:
    world = World(make_task(9, "sum", parameters={"max_measurement": 15}, noise=NOISE), tmp_path)
    world.upload([7] * 10)
    found, _ = world.collector().release(world.everything(), reserve_sum(world))
    assert abs(found.value - 70) < 8 * found.sigma
    world.stop()


def reserve_sum(world: World) -> Reservation:
    budget = Budget("measure", 1e6, 1e-6)
    ledger = Ledger(ControlStore.create(world.folder / "sum"), [budget])
    return reserve(world, ledger)


def test_the_noise_binds_the_task(world: World) -> None:
    """Less noise is another task: neither aggregator serves it under the same id."""
    world.stop()
    task, world.task = world.task, replace(world.task, noise=None)
    with pytest.raises(CollectError, match="T822"):
        world.start()
    world.stop()
    world.task = task
    world.start()


def test_a_release_is_charged_to_the_epochs_of_its_interval(world: World, tmp_path: Path) -> None:
    """In the ledger of a project, where its own releases have spent of the same people's epochs."""
    noise = world.collector().claim("plays", 1e-6).loss
    room = Epochs("person", 1000 * SECOND, 4 * noise.epsilon(5e-7), 1e-6, {"growth": 50.0})
    one = TaskSettings(world.task, budget=Budget("measure", 50.0, 1e-6), epochs=room, team="growth")
    shared = tmp_path / "control.sqlite"
    ControlStore.create(shared).close()
    settings = Settings("collector", "", "", (), (one,), ledger=shared)
    start = world.now // 100 * 100
    given = Namespace(epoch=None, start=start, end=start + 100, patience=5.0)
    found = _release(given, settings, world.collector(), world.everything())
    assert found.reports == 40
    with ControlStore.open(shared) as control:
        ledger = Ledger(control, [one.budget or Budget("measure", 50.0, 1e-6)], [room])
        spans = {line.span for line in ledger.epochs()}
        assert spans == {(start // 1000, start // 1000)}
        [line] = ledger.statement("measure")
        assert (line.spend.querier, line.spend.state) == ("growth", "committed")
        # Asked again it costs nothing; and what is left of that epoch is not enough for much more.
        before = ledger.epochs()
    assert _release(given, settings, world.collector(), world.everything()) == found
    tight = replace(one, epochs=replace(room, epsilon=0.9 * noise.epsilon(1e-6)))
    other = replace(settings, tasks=(tight,))
    with pytest.raises(BudgetError, match="T544"):
        _release(
            Namespace(epoch="again", start=start, end=start + 100, patience=5.0),
            other,
            world.collector(),
            world.everything(),
        )
    with ControlStore.open(shared) as control:
        assert Ledger(control, [Budget("measure", 50.0, 1e-6)], [room]).epochs() == before


def test_epochs_in_a_collectors_file(tmp_path: Path) -> None:
    task = make_task(noise=NOISE)
    new_task(tmp_path / "t", task, RANDOM, ["127.0.0.1:1", "127.0.0.1:2"], Budget("m", 3.0, 1e-6))
    path = tmp_path / "t" / "collector.toml"
    text = path.read_text()
    assert read_settings(path, "collector").ledger == tmp_path / "t" / "ledger.db"
    path.write_text(
        text.replace('party = "collector"', 'party = "collector"\nledger = "../control.sqlite"')
        + '\n[tasks.epochs]\nsubject = "person"\nlength = "30d"\nepsilon = 8.0\ndelta = 1e-06\n'
        + 'team = "growth"\nquota = 2.0\n'
    )
    read = read_settings(path, "collector")
    assert read.ledger.resolve() == tmp_path / "control.sqlite"
    assert read.tasks[0].epochs == Epochs("person", 30 * DAY, 8.0, 1e-6, {"growth": 2.0})
    assert read.tasks[0].team == "growth"
    for bad in ('length = "soon"', "epsilon = -1.0", "delta = 2.0"):
        name = bad.partition(" ")[0]
        path.write_text(
            re.sub(
                rf"(?m)^(\[tasks.epochs\](?:.|\n)*?)^{name} = .*$",
                rf"\1{bad}",
                text
                + (
                    '\n[tasks.epochs]\nsubject = "p"\nlength = "30d"\nepsilon = 8.0\ndelta = 1e-06\n'
                ),
            )
        )
        with pytest.raises(CollectError, match="T825"):
            read_settings(path, "collector")


@pytest.mark.parametrize(
    ("line", "bad", "code"),
    [
        ("time_precision", "time_precision = inf", "T822"),
        ("time_precision", "time_precision = 100.5", "T822"),
        ("min_batch_size", "min_batch_size = true", "T822"),
        ("version", "version = 18\ninterval = [inf, inf]", "T822"),
        ("version", "version = 18.0", "T822"),
        ("id", "id = 7", "T822"),
        ("party", 'party = "collector"\njob_size = inf', "T825"),
        ("party", 'party = "collector"\nworkers = nan', "T825"),
    ],
)
def test_numbers_of_a_file_that_are_none(tmp_path: Path, line: str, bad: str, code: str) -> None:
    new_task(tmp_path / "t", make_task(), RANDOM, ["127.0.0.1:1", "127.0.0.1:2"])
    path = tmp_path / "t" / "collector.toml"
    path.write_text(re.sub(rf"(?m)^{line} = .*$", bad, path.read_text()))
    with pytest.raises(CollectError, match=code):
        read_settings(path, "collector")
