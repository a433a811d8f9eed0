"""An agent does what its person allowed, once, for nobody but its own project."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import small_project as small
from tacit.device.agent import Agent
from tacit.device.bundle import Manifest, SigningKey, open_bundle, write
from tacit.device.task import Task, load_task, task_contents
from tacit.device.vault import Vault
from tacit.errors import BundleError, DataError, PrivacyError, StoreError, TacitError
from tacit.project import Project
from tacit.project.release import publish_task
from tacit.project.run import run
from tacit.values import DAY, SECOND, Secret, fingerprint

KEY = Secret(bytes(range(32)))
PERSON = "p003"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    found = small.project(tmp_path_factory.mktemp("agent") / "shop")
    run(found)
    return found


@pytest.fixture(scope="module")
def task_path(project: Project) -> Path:
    return next(iter((project.state / "tasks").glob("taste*")))


def rows(person: str = PERSON) -> pa.Table:
    table = small.history()
    return table.filter(pc.equal(table.column("person"), person))


def now(project: Project) -> int:
    return project.now()


def make(project: Project, path: Path, consent: tuple[str, ...] = ("discover",)) -> Vault:
    vault = Vault.create(path, KEY, {"history": project.schema("history")})
    vault.append("history", rows(), now=project.now())
    Agent(vault, PERSON, "shop", project.signing_key.public).consent(consent)
    return vault


@pytest.fixture
def agent(project: Project, tmp_path: Path) -> Iterator[Agent]:
    with make(project, tmp_path / "own.vault") as vault:
        yield Agent(vault, PERSON, "shop", project.signing_key.public)


def code(action: Any) -> str:
    with pytest.raises(TacitError) as refused:
        action()
    return refused.value.code


# ---------------------------------------------------------------------- contributing


def test_the_answer_is_the_devices_own_history(
    project: Project, agent: Agent, task_path: Path
) -> None:
    task = agent.open_task(task_path, now(project))
    answer = agent.answer(task, now(project))
    indptr, codes = small.enjoyed()
    own = codes[indptr[3] : indptr[4]]
    assert task.mechanism.history(answer).tolist() == own.tolist()


def test_it_contributes_once_also_when_opened_again(
    project: Project, task_path: Path, tmp_path: Path
) -> None:
    """The first report is sent again, unchanged, until the device knows that it arrived."""
    path, at = tmp_path / "vault", now(project)
    with make(project, path) as vault:
        agent = Agent(vault, PERSON, "shop", project.signing_key.public)
        task = agent.open_task(task_path, at)
        first = agent.contribute(task, at)
        assert vault.has_spent(task.release, task.epoch)
    with Vault.open(path, KEY) as vault:
        agent = Agent(vault, PERSON, "shop", project.signing_key.public)
        vault.append(
            "history",
            rows("p004").set_column(0, "person", [[PERSON] * rows("p004").num_rows]),
            now=at,
        )
        again = agent.contribute(agent.open_task(task_path, at + DAY), at + DAY)
        assert (again.id, again.messages) == (first.id, first.messages)
        vault.sent(task.release, task.epoch)
        assert code(lambda: agent.contribute(task, at)) == "T540"
        other = dataclasses.replace(task, epoch=1)
        assert agent.contribute(other, at).id != first.id


def test_a_model_of_the_release_says_that_the_report_arrived(
    project: Project, agent: Agent, task_path: Path
) -> None:
    task = agent.open_task(task_path, now(project))
    agent.contribute(task, now(project))
    assert len(agent.vault.unsent()) == 1
    published = project.published("recommender")
    assert published is not None
    agent.install(published[0], now(project))
    assert agent.vault.unsent() == ()
    assert code(lambda: agent.contribute(task, now(project))) == "T540"


def test_another_encoder_may_not_send_again(
    project: Project, agent: Agent, task_path: Path
) -> None:
    """The same answer under the same seed but other parameters would be a second contribution."""
    task = agent.open_task(task_path, now(project))
    agent.contribute(task, now(project))
    mechanism = type(task.mechanism)(task.mechanism.layout, 64, 2.0, 1e-5, "another")
    changed = dataclasses.replace(task, mechanism=mechanism)
    assert code(lambda: agent.contribute(changed, now(project))) == "T540"


def test_without_consent_nothing_is_answered(
    project: Project, agent: Agent, task_path: Path
) -> None:
    task = agent.open_task(task_path, now(project))
    for consent in ([], ["another"], ["Discover"]):
        agent.consent(consent)
        assert code(lambda: agent.contribute(task, now(project))) == "T542"
    assert not agent.vault.has_spent(task.release, task.epoch)
    agent.consent(["another", "discover"])
    agent.contribute(task, now(project))


def test_a_withdrawn_consent_stops_a_report_from_being_sent_again(
    project: Project, agent: Agent, task_path: Path
) -> None:
    task = agent.open_task(task_path, now(project))
    agent.contribute(task, now(project))
    agent.consent([])
    assert code(lambda: agent.contribute(task, now(project))) == "T542"


def test_a_new_device_consents_to_nothing(project: Project, tmp_path: Path) -> None:
    with Vault.create(tmp_path / "v", KEY, {"history": project.schema("history")}) as vault:
        assert Agent(vault, PERSON, "shop", project.signing_key.public).consented == frozenset()


def test_tasks_that_are_not_to_be_trusted(
    project: Project, agent: Agent, task_path: Path, tmp_path: Path
) -> None:
    at = now(project)
    raw = task_path.read_bytes()
    wrong = tmp_path / "task.bundle"
    for place in (100, len(raw) // 2, len(raw) - 1):
        changed = bytearray(raw)
        changed[place] ^= 1
        wrong.write_bytes(changed)
        assert code(lambda: agent.open_task(wrong, at)) in ("T621", "T622")
    wrong.write_bytes(raw[:-1])
    assert code(lambda: agent.open_task(wrong, at)) == "T623"
    assert code(lambda: agent.open_task(task_path, at + 31 * DAY)) == "T624"
    assert code(lambda: agent.open_task(tmp_path / "none", at)) == "T620"
    foreign = Agent(agent.vault, PERSON, "another", project.signing_key.public)
    assert code(lambda: foreign.open_task(task_path, at)) == "T627"
    stranger = Agent(agent.vault, PERSON, "shop", SigningKey.generate().public)
    assert code(lambda: stranger.open_task(task_path, at)) == "T626"
    published = project.published("recommender")
    assert published is not None
    assert code(lambda: agent.open_task(published[0], at)) == "T629"


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "model"},
        {"mechanism": "gossip"},
        {"epoch": -1},
        {"purposes": []},
        {"arrays": ["parameters"]},
        {"release": None, "epoch": "soon"},
    ],
)
def test_contents_that_make_no_task(
    project: Project, agent: Agent, task_path: Path, tmp_path: Path, said: dict[str, Any]
) -> None:
    at = now(project)
    task = agent.open_task(task_path, at)
    contents, files = task_contents(
        "taste", 0, ("discover",), "first", task.program, list(task.domain), task.mechanism
    )
    manifest = Manifest("shop", "task", 1, at, at + DAY, "plan", contents | said)
    write(tmp_path / "task", manifest, files, project.signing_key)
    with pytest.raises(BundleError) as refused:
        agent.open_task(tmp_path / "task", at)
    assert refused.value.code == "T629"


def test_what_cannot_be_summed_is_not_there(project: Project, task_path: Path) -> None:
    """One device's null sum or infinity must not stop everybody's release."""
    task = load_task(project.open_bundle(task_path))
    first, second, third = list(task.domain)[:3]
    found = task.histogram({first: None, second: float("inf"), third: 2.5, "unlisted": 1.0})
    assert found.codes.tolist() == [2]
    assert found.amounts.tolist() == [2.5]
    assert len(task.histogram({}).codes) == 0


def test_retention_is_enforced_before_anything_runs(
    project: Project, tmp_path: Path, task_path: Path
) -> None:
    at = now(project)
    with make(project, tmp_path / "vault") as vault:
        agent = Agent(vault, PERSON, "shop", project.signing_key.public)
        task = agent.open_task(task_path, at)
        agent.contribute(task, at)
        times = sorted(vault.rows("history").column("at").to_pylist())
        later = times[len(times) // 2] + 730 * DAY
        answer = agent.answer(task, later)
        assert sorted(vault.rows("history").column("at").to_pylist()) == times[len(times) // 2 :]
        assert answer.amounts.min() >= later - 730 * DAY
        assert vault.unsent() == ()  # the kept answer was of rows that are erased by now
        assert len(agent.answer(task, later + 730 * DAY).codes) == 0
        assert vault.rows("history").num_rows == 0


def test_a_program_over_tables_that_the_vault_has_not(
    project: Project, tmp_path: Path, task_path: Path
) -> None:
    with Vault.create(
        tmp_path / "v", KEY, {"history": {"at": project.schema("history")["at"]}}
    ) as v:
        agent = Agent(v, PERSON, "shop", project.signing_key.public)
        agent.consent(["discover"])
        task = agent.open_task(task_path, now(project))
        with pytest.raises(StoreError, match="no such column"):
            agent.contribute(task, now(project))
        assert not v.has_spent(task.release, task.epoch)


# ---------------------------------------------------------------------- ranking


def newer(project: Project, folder: Path, version: int, **manifest: Any) -> Path:
    """The project's model, published again under a version."""
    published = project.published("recommender")
    assert published is not None
    bundle = project.open_bundle(published[0])
    files = {entry.name: bundle.read(entry.name) for entry in bundle.manifest.files}
    said = dataclasses.replace(bundle.manifest, version=version, files=(), **manifest)
    path = folder / f"{fingerprint([version, str(manifest)])}.bundle"
    write(path, said, files, project.signing_key)
    return path


def test_it_ranks_what_its_person_has_not_got(project: Project, agent: Agent) -> None:
    at = now(project)
    published = project.published("recommender")
    assert published is not None
    agent.install(published[0], at)
    found = agent.rank(agent.ranker("recommender", at), at, 5)
    own = set(rows().filter(rows().column("enjoyed")).column("item").to_pylist())
    titles = dict(zip(small.CATALOGUE.ids, small.CATALOGUE.texts, strict=True))
    assert len(found) == 5
    assert not own & {each.item for each in found}
    assert {each.because for each in found} - {None} <= {titles[item] for item in own}
    agent.consent([])
    ranker = agent.ranker("recommender", at)
    assert code(lambda: agent.rank(ranker, at)) == "T542"


def test_it_installs_nothing_older(project: Project, agent: Agent, tmp_path: Path) -> None:
    at = now(project)
    second, third = (newer(project, tmp_path, version) for version in (2, 3))
    agent.install(second, at)
    agent.install(second, at)
    agent.install(third, at)
    assert code(lambda: agent.install(second, at)) == "T625"
    assert agent.ranker("recommender", at) is not None
    assert agent.vault.meta("installed")["recommender"]["version"] == 3
    # Nor does one swap the file that is installed for an older one.
    third.write_bytes(second.read_bytes())
    assert code(lambda: agent.ranker("recommender", at)) == "T625"


def test_it_keeps_what_it_has_when_a_bundle_is_refused(
    project: Project, agent: Agent, tmp_path: Path, task_path: Path
) -> None:
    at = now(project)
    agent.install(newer(project, tmp_path, 2), at)
    before = agent.vault.meta("installed")
    cut = newer(project, tmp_path, 3)
    cut.write_bytes(cut.read_bytes()[:-10])
    gone = newer(project, tmp_path, 4, created=at - 2 * SECOND, expires=at - SECOND)
    broken = newer(project, tmp_path, 5, contents={"kind": "model"})
    for path, expected in ((cut, "T623"), (gone, "T624"), (broken, "T629"), (task_path, "T629")):
        assert code(lambda path=path: agent.install(path, at)) == expected
    assert agent.vault.meta("installed") == before
    assert len(agent.rank(agent.ranker("recommender", at), at, 3)) == 3


def test_a_model_that_is_not_installed(project: Project, agent: Agent) -> None:
    with pytest.raises(DataError, match="no model 'space'") as refused:
        agent.ranker("space", now(project))
    assert refused.value.code == "T314"


def test_a_person_of_no_history_gets_what_is_popular(project: Project, tmp_path: Path) -> None:
    at = now(project)
    published = project.published("space")
    assert published is not None
    with Vault.create(tmp_path / "v", KEY, {"history": project.schema("history")}) as vault:
        agent = Agent(vault, "new", "shop", project.signing_key.public)
        agent.consent(["discover"])
        agent.install(published[0], at)
        found = agent.rank(agent.ranker("space", at), at, 3)
    popularity = open_bundle(
        published[0], project.signing_key.public, project="shop", now=at, at_least_version=0
    ).array("popularity.npy")
    best = np.argsort(-popularity, kind="stable")[:3]
    assert [each.item for each in found] == [small.CATALOGUE.ids[i] for i in best]
    assert all(each.because is None for each in found)


def test_a_refused_purpose_is_named(project: Project, agent: Agent, task_path: Path) -> None:
    task: Task = agent.open_task(task_path, now(project))
    agent.consent([])
    with pytest.raises(PrivacyError, match="no consent to discover"):
        agent.contribute(task, now(project))


def test_a_task_is_republished_under_the_same_parameters(project: Project, tmp_path: Path) -> None:
    """A report that is sent again after the task was written anew still fits it."""
    node = project.plan.nodes["taste"]
    for place in ("one", "two"):
        publish_task(project, node, "taste@again", small.PEOPLE, tmp_path / place)
    one, two = (load_task(project.open_bundle(tmp_path / place)) for place in ("one", "two"))
    assert one.mechanism.sum._frame == two.mechanism.sum._frame
