"""The same attacks on every VDAF, in both batch modes and both drafts; and on PostgreSQL, slowly.

Each case is one world that everything bad is sent to at once, between good reports: whoever
finds it out says the standard's error, nothing stops a batch, and nothing changes its sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from dap_world import NOW, RANDOM, World, make_task
from postgres import databases, install, server
from test_dap_adversary import (
    AT_HELPER,
    AT_LEADER,
    AT_UPLOAD,
    Forge,
    Forger,
    another_nonce,
    changed_parameters,
    foreign_public_share,
    heavier_than_it_says,
    helper_errors,
    negative,
    public_extension,
    short_public,
    submitted,
    two_hot,
    wrong_blind,
)
from test_dap_world import CASES

from tacit.collect.dap.aggregator import Aggregator
from tacit.collect.dap.database import open_database
from tacit.collect.dap.errors import ReportError
from tacit.collect.dap.helper import Helper
from tacit.collect.dap.helper_store import HELPER_SCHEMA
from tacit.collect.dap.leader_store import Job
from tacit.collect.dap.messages import BatchMode, HpkeCiphertext, Interval, Report, Role
from tacit.collect.dap.profile import agg_share_info
from tacit.collect.dap.sealing import suite_of
from tacit.collect.dap.task import Task
from tacit.errors import CollectError, PrivacyError, TacitError
from tacit.privacy import hpke
from tacit.values import Secret

E = ReportError
IN_09 = {"leaders_key_unknown": "T815", "early": "T817", "far_future": "T817"}
"""What draft 09 has a problem type of its own for; every other refusal is T816."""


@dataclass(frozen=True)
class Case:
    """A task with what 12 or 16 good reports come to."""

    task: Task
    values: list[Any]
    total: Any

    def applies(self, forge: Forge) -> bool:
        """Whether the forgery is one: what a circuit or a draft does not have, cannot be forged."""
        name, joint = self.task.vdaf.name, self.task.vdaf.prio3.layout.has_joint
        if forge in (wrong_blind, another_nonce, foreign_public_share, short_public):
            return joint  # without joint randomness nothing binds them but HPKE
        if forge is two_hot:
            return name == "histogram"  # elsewhere two ones are a measurement, or too few
        if forge is heavier_than_it_says:
            return name == "multihot_count_vec"
        if forge is negative:
            return name != "count"
        if forge in (public_extension, changed_parameters):
            return self.task.version == 18  # 09 has none, and does not bind parameters
        return True

    def all(self, forges: Any) -> list[Forge]:
        return [forge for forge in forges if self.applies(forge)]


def cases() -> list[Any]:
    return [
        pytest.param(version, mode, *case, id=f"{case[0]}-{mode.name.lower()}-{version}")
        for version in (18, 9)
        for mode in BatchMode
        for case in CASES
    ]


def case_of(
    version: int, mode: BatchMode, name: str, parameters: Any, values: Any, total: Any
) -> Case:
    interval = Interval(NOW // 100 - 10, 1000)
    task = make_task(
        version,
        name,
        parameters=parameters,
        mode=mode,
        min_batch_size=len(values),
        interval=interval,
    )
    return Case(task, values, total)


def refused(world: World, report: Report) -> str | ReportError | None:
    """What an upload of one report is refused with: draft 09 has only codes."""
    try:
        statuses = world.client.upload([report])
    except CollectError as error:
        return error.code
    return statuses[0].error if statuses else None


def query(world: World) -> Any:
    if world.task.mode is BatchMode.LEADER_SELECTED:
        return world.collector().next_batch()
    return world.everything()


def attack(world: World, case: Case) -> None:
    good = world.client.reports(case.values)
    heard = helper_errors(world)
    for forge in case.all(AT_UPLOAD):
        said = IN_09.get(forge.__name__, "T816") if case.task.version == 9 else AT_UPLOAD[forge]
        assert refused(world, forge(Forger(world))) == said, forge
    bad = {forge: forge(Forger(world)) for forge in case.all([*AT_LEADER, *AT_HELPER])}
    mixed = [*bad.values()]
    for at, report in enumerate(good):
        mixed.insert(2 * at, report)
    assert world.client.upload(mixed) == []
    replayed = "T816" if case.task.version == 9 else E.REPORT_REPLAYED
    assert refused(world, good[0]) == replayed
    # The helper dies in the middle, and returns; so does the leader.
    world.network.down.add("helper.test")
    with pytest.raises(CollectError, match="T820"):
        world.aggregation.work()
    world.network.down.clear()
    world.crash()
    world.aggregate()
    for forge, report in bad.items():
        if forge in AT_HELPER:
            assert heard[report.metadata.id] is AT_HELPER[forge], forge
        else:
            assert report.metadata.id not in heard
            share = (report.metadata, report.public_share, report.leader)
            assert world.leader.aggregator.begin([share]).refused == {0: AT_LEADER[forge]}, forge
    assert {heard[report.metadata.id] for report in good} == {None}
    # A leader that forgets what it has seen gets nothing for it either.
    assert submitted(world, good[:2]) == [E.REPORT_REPLAYED] * 2
    assert refused(world, good[0]) == replayed
    found = world.collector().collect(query(world), patience=20)
    assert (found.value, found.reports) == (case.total, len(good))
    overlaps(world, good, replayed)


def overlaps(world: World, good: list[Report], replayed: str | ReportError) -> None:
    """After the sum: no batch that overlaps, no report again."""
    collector = world.collector()
    if world.task.mode is BatchMode.TIME_INTERVAL:
        for start, end in ((world.now - 300, world.now + 100), (world.now, world.now + 900)):
            with pytest.raises(CollectError, match="T809"):
                collector.collect(collector.interval(start, end), patience=1)
        late = "T816" if world.task.version == 9 else E.BATCH_COLLECTED
        assert refused(world, good[0]) in (late, replayed)
        assert submitted(world, good[:1]) == [E.BATCH_COLLECTED]
    else:
        collector.forget(query(world))
        with pytest.raises(CollectError, match="T828"):
            collector.collect(query(world), patience=0.05)
        assert refused(world, good[0]) == replayed
        assert submitted(world, good[:1]) == [E.REPORT_REPLAYED]


@pytest.mark.parametrize(("version", "mode", "name", "parameters", "values", "total"), cases())
def test_everything_bad_at_once(
    tmp_path: Path,
    version: int,
    mode: BatchMode,
    name: str,
    parameters: dict[str, int],
    values: list[Any],
    total: Any,
) -> None:
    case = case_of(version, mode, name, parameters, values, total)
    world = World(case.task, tmp_path, job_size=40)
    attack(world, case)
    world.stop()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    programs = install()
    if programs is None:
        pytest.skip("PostgreSQL is not installed, and cannot be")
    with server(programs) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize(("version", "mode", "name", "parameters", "values", "total"), cases())
def test_everything_bad_at_once_in_postgres(
    tmp_path: Path,
    url: str,
    version: int,
    mode: BatchMode,
    name: str,
    parameters: dict[str, int],
    values: list[Any],
    total: Any,
) -> None:
    case = case_of(version, mode, name, parameters, values, total)
    world = World(case.task, tmp_path, job_size=40, places=databases(url))
    attack(world, case)
    world.stop()


def job_of(world: World, reports: list[Report]) -> bytes:
    """The bytes of a job, as an honest leader makes it."""
    begun = world.leader.aggregator.begin([(r.metadata, r.public_share, r.leader) for r in reports])
    selects = world.task.mode is BatchMode.LEADER_SELECTED
    job = Job(bytes(16), bytes(32) if selects else None, None, ())
    return world.aggregation._request(job, reports, begun)


@pytest.mark.parametrize(("version", "mode", "name", "parameters", "values", "total"), cases())
def test_another_verification_key_counts_nothing(
    tmp_path: Path,
    version: int,
    mode: BatchMode,
    name: str,
    parameters: dict[str, int],
    values: list[Any],
    total: Any,
) -> None:
    """A helper of another key refuses every report, and a message of another step or of nothing."""
    case = case_of(version, mode, name, parameters, values, total)
    world = World(case.task, tmp_path)
    reports = world.client.reports(values)
    body = job_of(world, reports)
    right = world.verify_key
    world.verify_key = Secret(RANDOM.bytes(len(right.reveal())))
    other: Aggregator = world.party(Role.HELPER)
    helper = Helper(other, open_database(str(tmp_path / "other.db"), HELPER_SCHEMA))
    _, answer = helper.start_job(body)
    said = {one.error for one in case.task.profile.read_responses(answer)}
    assert said == {E.VDAF_VERIFY_ERROR}
    # A leader whose own messages are of another report, cut short, or out of the field.
    job = case.task.profile.read_job(body, case.task)
    payloads = [init.payload for init in job.inits]
    lies: list[Callable[[int], bytes]] = [
        lambda i: payloads[(i + 1) % len(payloads)],
        lambda i: payloads[i][:-1],
        lambda i: payloads[i][:5] + b"\xff" * (len(payloads[i]) - 5),
        lambda i: b"\x02" + payloads[i][1:],
        lambda i: b"\0",
    ]
    for lie in lies:
        inits = tuple(replace(init, payload=lie(i)) for i, init in enumerate(job.inits))
        _, answer = world.helper.start_job(case.task.profile.write_job(replace(job, inits=inits)))
        said = {one.error for one in case.task.profile.read_responses(answer)}
        assert said == {E.VDAF_VERIFY_ERROR}
    _, answer = world.helper.start_job(body)
    assert {one.error for one in case.task.profile.read_responses(answer)} == {None}
    world.stop()


@pytest.mark.parametrize(("version", "mode", "name", "parameters", "values", "total"), cases())
def test_an_aggregate_share_that_is_none(
    tmp_path: Path,
    version: int,
    mode: BatchMode,
    name: str,
    parameters: dict[str, int],
    values: list[Any],
    total: Any,
) -> None:
    """A helper seals to the collector what is no share: it is said, and no sum is given."""
    case = case_of(version, mode, name, parameters, values, total)
    world = World(case.task, tmp_path)
    world.upload(values)
    collector = world.collector()
    sealed = collector.fetch(query(world), patience=20)
    profile = case.task.profile
    request = profile.read_query(sealed.query, case.task)
    found = profile.read_collection(sealed.answer, case.task)
    selector = world_selector(world, found.batch_id, request.interval)
    aad = profile.agg_share_aad(case.task, request, selector, b"")
    size = case.task.vdaf.prio3.layout.out_share_bytes
    for share in (b"\0", bytes(size - 1), bytes(size + 1), b"\xff" * size):
        forged = _sealed(world, aad, share)
        answer = profile.write_collection(replace(found, helper=forged), case.task)
        with pytest.raises(PrivacyError, match="T552"):
            collector.open(replace(sealed, answer=answer))
    # The leader's share in the helper's place does not open: the roles are sealed in.
    swapped = profile.write_collection(replace(found, helper=found.leader), case.task)
    with pytest.raises(TacitError, match="T643"):
        collector.open(replace(sealed, answer=swapped))
    assert collector.open(sealed).value == total
    world.stop()


def world_selector(world: World, batch: bytes | None, interval: Interval | None) -> Any:
    from tacit.collect.dap.messages import Selector

    return Selector(world.task.mode, interval, batch)


def _sealed(world: World, aad: bytes, share: bytes) -> HpkeCiphertext:
    config = world.collector_keys.config
    info = agg_share_info(world.task.profile.label, Role.HELPER)
    enc, payload = hpke.seal(suite_of(config), config.public_key, info, aad, share, RANDOM)
    return HpkeCiphertext(config.id, enc, payload)
