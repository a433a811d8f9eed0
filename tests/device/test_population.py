"""Thousands of devices in one process are thousands of devices: own file, own key, own rows."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import small_project as small
from tacit.demo.experiment import sum_of_vectors
from tacit.device import population as module
from tacit.device.agent import Agent
from tacit.device.population import Population
from tacit.device.vault import Vault
from tacit.errors import DataError, EngineError, StoreError, VaultError
from tacit.learn.content import similarity
from tacit.learn.learners import LEARNERS
from tacit.privacy import vector_sum
from tacit.privacy.pairs import PairSum
from tacit.privacy.randomness import Randomness, unsafe_seeded
from tacit.project import Project
from tacit.project.release import publish_task
from tacit.project.run import run
from tacit.values import Secret

PURPOSES = ("discover",)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small.project(tmp_path / "shop")


@pytest.fixture
def population(project: Project) -> Population:
    return project.population("history")


def enroll(project: Project, population: Population) -> list[Any]:
    return population.enroll("history", project.rows("history").table, PURPOSES, project.now())


def vaults(population: Population) -> list[Path]:
    return sorted(population.folder.glob("*.vault"))


def own_rows(person: str) -> pa.Table:
    table = small.history()
    return table.filter(pc.equal(table.column("person"), person))


# ---------------------------------------------------------------------- whose rows lie where


def test_every_person_has_a_vault_of_their_own(project: Project, population: Population) -> None:
    assert enroll(project, population) == small.people()
    assert len(vaults(population)) == small.PEOPLE
    for person in small.people():
        with population.agent(person) as agent:
            held = agent.vault.rows("history")
            assert set(held.column("person").to_pylist()) == {person}
            expected = own_rows(person)
            assert held.num_rows == expected.num_rows
            assert sorted(held.column("at").to_pylist()) == sorted(
                expected.column("at").cast(pa.int64()).to_pylist()
            )
            assert agent.consented == set(PURPOSES)


def test_files_tell_nothing(project: Project, population: Population) -> None:
    enroll(project, population)
    rows = small.history()
    pairs = zip(rows.column("person").to_pylist(), rows.column("item").to_pylist(), strict=True)
    # As SQLite would lay them out; alone they are so short that chance writes them.
    secrets = [f"{person}{item}" for person, item in pairs] + ["history", "enjoyed", "CREATE TABLE"]
    for path in [p for p in population.folder.rglob("*") if p.is_file()]:
        raw = path.read_bytes()
        assert not any(secret.encode() in raw for secret in secrets)
        assert not any(person in path.name for person in small.people())
        assert path.stat().st_mode & 0o077 == 0
    assert {len(path.stem) for path in vaults(population)} == {32}


def test_one_key_opens_one_vault(project: Project, population: Population) -> None:
    enroll(project, population)
    master = population._master()
    one, other = (population._path(master, person) for person in ("p000", "p001"))
    assert one != other
    with pytest.raises(VaultError) as refused:
        Vault.open(one, module._key(master, "p001"))
    assert refused.value.code == "T611"
    assert len({module._key(master, person).reveal() for person in small.people()}) == 45


def test_enrolling_again_changes_nothing(project: Project, population: Population) -> None:
    enroll(project, population)
    before = {path: path.read_bytes() for path in vaults(population)}
    assert enroll(project, population) == small.people()
    assert {path: path.read_bytes() for path in vaults(population)} == before


def test_a_consent_withdrawn_stays_withdrawn(project: Project, population: Population) -> None:
    enroll(project, population)
    with population.agent("p001") as agent:
        agent.consent([])
    enroll(project, population)
    with population.agent("p001") as agent:
        assert agent.consented == frozenset()


def test_enrolling_resumes_after_a_crash(
    project: Project, population: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off while the twentieth vault is written: it is not there, and then it is whole."""
    population = dataclasses.replace(population, workers=1, batch=10)
    made = 0
    append = Vault.append

    def dies(self: Vault, *args: Any, **kwargs: Any) -> int:
        nonlocal made
        made += 1
        if made == 20:
            os.link(self._path, self._path.with_suffix(".left"))  # as a kill would leave it
            raise KeyboardInterrupt
        return append(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Vault, "append", dies)
        with pytest.raises(KeyboardInterrupt):
            enroll(project, population)
    assert len(vaults(population)) == 10  # a batch comes to be together
    [left] = population.folder.glob("*.left")
    left.rename(left.with_suffix(".new"))
    enroll(project, population)
    assert len(vaults(population)) == small.PEOPLE
    assert list(population.folder.glob("*.new")) == []
    with population.agent(small.people()[19]) as agent:
        assert agent.vault.rows("history").num_rows == own_rows(small.people()[19]).num_rows


def test_a_second_table_is_added_to_the_same_device(
    project: Project, population: Population
) -> None:
    enroll(project, population)
    with population.agent("p002") as agent:
        agent.consent([])  # withdrawn before the second table came
    second = Population(
        population.folder,
        "shop",
        population.trusted,
        {"visits": project.schema("visits")},
        {"visits": "person"},
        {"visits": "at"},
    )
    rows = project.rows("visits").table
    for _ in range(2):
        second.enroll("visits", rows, ("discover", "measure"), project.now())
    assert len(vaults(population)) == small.PEOPLE
    for person, consented in (("p001", {"discover", "measure"}), ("p002", {"measure"})):
        with population.agent(person) as agent:
            assert agent.vault.rows("visits").num_rows == own_rows(person).num_rows
            assert agent.vault.rows("history").num_rows == own_rows(person).num_rows
            assert agent.consented == consented


def test_people_may_have_numbers_for_keys(project: Project, population: Population) -> None:
    """A key is compared as what it is: bound as text, 7 would own no row."""
    numbers = project.rows("history").table
    keys = pc.cast(pc.utf8_slice_codeunits(numbers.column("person"), 1), pa.int64())
    numbers = numbers.set_column(0, "person", keys)
    schema = {**project.schema("history")}
    schema["person"] = schema["quantity"]
    counted = Population(
        population.folder, "shop", population.trusted, {"history": schema},
        {"history": "person"}, {"history": "at"},
    )  # fmt: skip
    people = counted.enroll("history", numbers, PURPOSES, project.now())
    assert people == list(range(small.PEOPLE))
    task = project.state / "task"
    publish_task(project, project.plan.nodes["taste"], "taste", small.PEOPLE, task)
    with counted.agent(7) as agent:
        answer = agent.answer(agent.open_task(task, project.now()), project.now())
    assert len(answer.codes) > 0


def test_somebody_without_a_device(project: Project, population: Population) -> None:
    with pytest.raises(DataError) as refused, population.agent("nobody"):
        pass
    assert refused.value.code == "T315"
    assert not population.folder.exists()  # asking made nothing
    enroll(project, population)
    with pytest.raises(DataError, match="'nobody'"), population.agent("nobody"):
        pass


def test_a_lost_master_secret(project: Project, population: Population) -> None:
    enroll(project, population)
    (population.folder / "master.key").write_bytes(b"short")
    with pytest.raises(StoreError) as refused, population.agent("p001"):
        pass
    assert refused.value.code == "T702"


def test_a_damaged_vault_is_named(project: Project, population: Population) -> None:
    enroll(project, population)
    path = population._path(population._master(), "p005")
    raw = bytearray(path.read_bytes())
    raw[4096:8192] = bytes(4096)
    path.write_bytes(raw)
    task = project.state / "task"
    publish_task(project, project.plan.nodes["taste"], "taste", small.PEOPLE, task)
    with pytest.raises(VaultError) as refused:
        list(population.contribute(task, small.people(), project.now()))
    assert refused.value.code == "T612"
    assert path.name in str(refused.value.where)


# ---------------------------------------------------------------------- workers


@pytest.mark.slow
def test_how_many_workers_there_are_changes_nothing(project: Project, tmp_path: Path) -> None:
    one = project.population("history")
    task = project.state / "task"
    publish_task(project, project.plan.nodes["taste"], "taste", small.PEOPLE, task)
    several = Population(
        tmp_path / "several", "shop", one.trusted, one.tables, one.person, one.clocks,
        workers=2, batch=10,
    )  # fmt: skip
    done: list[int] = []
    table = project.rows("history").table
    people = several.enroll("history", table, PURPOSES, project.now(), done.append)
    assert people == enroll(project, one)
    assert sum(done) == small.PEOPLE
    reports = list(several.contribute(task, people, project.now(), done.append))
    assert sum(done) == 2 * small.PEOPLE
    assert len({report.id for report in reports}) == small.PEOPLE
    for person in people[::9]:
        answers = []
        for devices in (one, several):
            with devices.agent(person) as agent:
                found = agent.answer(agent.open_task(task, project.now()), project.now())
                answers.append((found.codes.tolist(), found.amounts.tolist()))
        assert answers[0] == answers[1]


def _ends(_: int) -> int:
    os._exit(9)


@pytest.mark.slow
def test_a_worker_that_ends_is_told(population: Population) -> None:
    with pytest.raises(EngineError) as refused:
        list(population._spread(_ends, iter([1, 2]), 1000))
    assert refused.value.code == "T403"


def test_devices_that_may_not_stay_silent_and_others_answer(
    project: Project, population: Population
) -> None:
    enroll(project, population)
    task = project.state / "task"
    publish_task(project, project.plan.nodes["taste"], "taste", small.PEOPLE, task)
    with population.agent("p001") as agent:
        agent.consent([])
    first = list(population.contribute(task, small.people(), project.now()))
    assert len(first) == small.PEOPLE - 1
    again = list(population.contribute(task, small.people(), project.now()))
    assert {r.id: r.messages for r in again} == {r.id: r.messages for r in first}
    with population.agent("p002") as agent:
        agent.vault.sent("taste", 0)
    assert len(list(population.contribute(task, small.people(), project.now()))) == 43


# ---------------------------------------------------------------------- the honest population


@pytest.fixture
def noiseless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        vector_sum, "discrete_gaussian", lambda _, length, __: np.zeros(length, np.int64)
    )


def central(project: Project, name: str = "taste") -> tuple[PairSum, np.ndarray]:
    """The release's mechanism, and Σ v of the raw histories in one place."""
    [path] = (project.state / "tasks").glob(f"{name}*")
    with project.population("history").agent("p000") as agent:
        mechanism = agent.open_task(path, project.now()).mechanism
    return mechanism, sum_of_vectors(mechanism.layout, small.enjoyed())


@pytest.mark.usefixtures("noiseless")
def test_vaults_agents_and_shares_add_up_to_the_sum_of_histories(project: Project) -> None:
    """Within the stated rounding: less than one unit of 1/scale for each device and coordinate."""
    released = run(project).releases["taste"].value
    mechanism, exact = central(project)
    total = np.concatenate(
        [
            released.popularity * np.sqrt(mechanism.layout.popularity_share),
            released.pairs * np.sqrt(1 - mechanism.layout.popularity_share),
        ]
    )
    assert np.abs(exact).max() > 1
    # Random rounding adds less than 1, and the check of the norm may shorten a vector by 2^-20.
    assert np.abs(total - exact).max() < small.PEOPLE / mechanism.sum.scale
    # Its errors are independent: far smaller together than the bound of their sum.
    assert np.abs(total - exact).mean() < np.sqrt(small.PEOPLE) / mechanism.sum.scale


@pytest.mark.usefixtures("noiseless")
def test_with_one_rounding_they_agree_to_the_last_integer(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every device rounds to the nearest here, so both ways see the same integers."""
    monkeypatch.setattr(Randomness, "uint32", lambda _, n: np.full(n, 2**31, np.uint32))
    results = run(project)
    mechanism, _ = central(project)
    integers = mechanism.sum_of_integers(*small.enjoyed(), unsafe_seeded(0))
    expected = mechanism.layout.unpack(integers / mechanism.sum.scale, mechanism.claim().sigma)
    found = results.releases["taste"].value
    for block in ("popularity", "pairs", "buckets"):
        np.testing.assert_array_equal(getattr(found, block), getattr(expected, block))
    content = similarity(small.CATALOGUE.ids, [
        f"{text} {genre}" for text, genre in zip(small.CATALOGUE.texts, small.GENRE, strict=True)
    ])  # fmt: skip
    for name, learner in (("recommender", "item_item"), ("space", "spectral")):
        trained = LEARNERS[learner](expected, content, {})
        bundle = project.open_bundle(results.bundles[name])
        for array, values in trained.arrays.items():
            shipped = bundle.array(f"{array}.npy").astype(float)
            np.testing.assert_allclose(shipped, values.astype(float), rtol=0, atol=1e-9)


@pytest.mark.usefixtures("noiseless")
def test_a_histogram_is_summed_as_it_is(project: Project) -> None:
    found = run(project).releases["demand"]
    truth = small.wanted().sum(axis=0)
    scale = found.task.mechanism.sum.scale
    assert np.abs(found.value.estimates - truth).max() < 40.0 * small.PEOPLE / scale


def test_an_agent_of_the_population_is_an_agent(project: Project, population: Population) -> None:
    """The simulation keeps no other way in: what it drives is what an app would run."""
    enroll(project, population)
    with population.agent("p003") as agent:
        assert type(agent) is Agent
        assert type(agent.vault) is Vault
        assert isinstance(module._key(population._master(), "p003"), Secret)
