"""Reports that are wrong in every way one can think of: each is refused with the standard's error,
none stops the good ones beside it, and none changes a sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dap_world import NOW, RANDOM, World, make_task

from tacit.collect.dap.errors import ReportError
from tacit.collect.dap.leader_store import Job
from tacit.collect.dap.messages import (
    BatchMode,
    Extension,
    HpkeCiphertext,
    Interval,
    PlaintextInputShare,
    Report,
    RespKind,
    Role,
)
from tacit.collect.dap.peer import Response
from tacit.collect.dap.profile import input_share_info
from tacit.collect.dap.sealing import KeyPair, suite_of
from tacit.collect.dap.task import Vdaf
from tacit.privacy import hpke

GOOD = [0, 1, 2, 2] * 3
TOTAL = [3, 3, 6, 0, 0, 0, 0, 0]


class Forger:
    """A client of any task that can do everything wrong. `shares` may change what is sealed."""

    def __init__(self, world: World) -> None:
        self.world, self.task = world, world.task
        vdaf = world.task.vdaf
        self.one = Vdaf(vdaf.name, dict(vdaf.parameters), vdaf.version).prio3
        self.value = self.one.circuit.decode([0] * self.one.circuit.output_len, 0)
        if vdaf.name == "histogram":
            self.value = 3

    def sharded(self) -> tuple[bytes, bytes, list[bytes]]:
        nonce = RANDOM.bytes(16)
        context = self.task.profile.context(self.task.id)
        rand = RANDOM.bytes(self.one.rand_bytes)
        public, shares = self.one.shard(context, self.value, nonce, rand)
        return nonce, public, list(shares)

    def encoded(self, *first: int) -> Report:
        """A report of a vector that begins so, and is zero then, with the honest prover's proof."""
        vector = [*first, *[0] * (self.one.circuit.meas_len - len(first))]
        self.one.circuit.encode = lambda _: vector  # type: ignore[method-assign]
        return self.report(*self.sharded())

    def bucket(self, bucket: int) -> int:
        """A time on the wire."""
        return self.task.profile.time(bucket, self.task.time_precision)

    def report(
        self,
        nonce: bytes,
        public: bytes,
        shares: list[bytes],
        *,
        plain: Callable[[bytes], bytes] | None = None,
        **changes: Any,
    ) -> Report:
        """A report of the shares. `plain` writes each plaintext; see the code for `changes`."""
        profile, task = self.task.profile, changes.get("task", self.task)
        extensions = changes.get("public_extensions", ())
        metadata = replace(
            self.world.client.reports([self.value])[0].metadata, id=nonce, extensions=extensions
        )
        if "time" in changes:
            metadata = replace(metadata, time=changes["time"])
        sealed = []
        for role, share in zip((Role.LEADER, Role.HELPER), shares, strict=True):
            pair = changes.get("keys", {}).get(role, self.world.keys[role][0])
            text = profile.write_input_share(
                PlaintextInputShare(changes.get("extensions", ()), share)
            )
            enc, payload = hpke.seal(
                suite_of(pair.config),
                pair.config.public_key,
                input_share_info(changes.get("label", profile.label), role),
                profile.input_share_aad(task, metadata, public),
                plain(share) if plain else text,
                RANDOM,
            )
            sealed.append(HpkeCiphertext(pair.config.id, enc, payload))
        return Report(metadata, public, *sealed)


def off_by_one(f: Forger) -> Report:
    """The first element of the leader's share is."""
    nonce, public, shares = f.sharded()
    size, field = f.one.field.size, f.one.field
    element = (int.from_bytes(shares[0][:size], "little") + 1) % field.modulus
    return f.report(nonce, public, [element.to_bytes(size, "little") + shares[0][size:], shares[1]])


def proof_of_another(f: Forger) -> Report:
    nonce, public, shares = f.sharded()
    other, cut = f.sharded()[2][0], f.one.layout.meas_bytes
    end = cut + f.one.layout.proof_bytes
    return f.report(nonce, public, [shares[0][:cut] + other[cut:end] + shares[0][end:], shares[1]])


def poisoned(f: Forger) -> Report:
    """A vector that says 2 in one bucket, with a proof made for it by the honest prover."""
    return f.encoded(2)


def minus_one(f: Forger) -> Report:
    """A vote against, by -1 alone."""
    return f.encoded(f.one.field.modulus - 1)


def two_hot(f: Forger) -> Report:
    return f.encoded(1, 1)


def heavier_than_it_says(f: Forger) -> Report:
    """Every flag, of which two are allowed, and a weight that is right for none."""
    return f.encoded(*[1] * f.one.circuit.output_len)


def negative(f: Forger) -> Report:
    """A vote against: -1 in one bucket, 2 in another, so that the sum of all is right."""
    return f.encoded(2, f.one.field.modulus - 1)


def wrong_blind(f: Forger) -> Report:
    nonce, public, shares = f.sharded()
    blind = f.one.layout.blind_bytes
    return f.report(nonce, public, [shares[0], shares[1][:-blind] + bytes(blind)])


def another_nonce(f: Forger) -> Report:
    _, public, shares = f.sharded()
    return f.report(RANDOM.bytes(16), public, shares)


def foreign_public_share(f: Forger) -> Report:
    nonce, _, shares = f.sharded()
    return f.report(nonce, f.sharded()[1], shares)


def short_leader(f: Forger) -> Report:
    nonce, public, shares = f.sharded()
    return f.report(nonce, public, [shares[0][:-1], shares[1]])


def long_helper(f: Forger) -> Report:
    nonce, public, shares = f.sharded()
    return f.report(nonce, public, [shares[0], shares[1] + b"\0"])


def not_in_the_field(f: Forger) -> Report:
    nonce, public, shares = f.sharded()
    size = f.one.field.size
    return f.report(nonce, public, [b"\xff" * size + shares[0][size:], shares[1]])


def short_public(f: Forger) -> Report:
    nonce, public, shares = f.sharded()
    return f.report(nonce, public[:-1], shares)


def long_public(f: Forger) -> Report:
    nonce, public, shares = f.sharded()
    return f.report(nonce, public + b"\0", shares)


def another_task(f: Forger) -> Report:
    return f.report(*f.sharded(), task=make_task(f.task.version))


def changed_parameters(f: Forger) -> Report:
    """Sealed by a client that was told of a lower least batch size."""
    return f.report(*f.sharded(), task=replace(f.task, min_batch_size=2))


def another_label(f: Forger) -> Report:
    return f.report(*f.sharded(), label=b"dap-17")


def leaders_key_lost(f: Forger) -> Report:
    pair = KeyPair.generate(f.world.keys[Role.LEADER][0].config.id, RANDOM)
    return f.report(*f.sharded(), keys={Role.LEADER: pair})


def helpers_key_lost(f: Forger) -> Report:
    pair = KeyPair.generate(f.world.keys[Role.HELPER][0].config.id, RANDOM)
    return f.report(*f.sharded(), keys={Role.HELPER: pair})


def helpers_key_unknown(f: Forger) -> Report:
    return f.report(*f.sharded(), keys={Role.HELPER: KeyPair.generate(99, RANDOM)})


def leaders_key_unknown(f: Forger) -> Report:
    return f.report(*f.sharded(), keys={Role.LEADER: KeyPair.generate(99, RANDOM)})


def swapped(f: Forger) -> Report:
    report = f.report(*f.sharded())
    return replace(
        report,
        leader=replace(report.helper, config_id=2),
        helper=replace(report.leader, config_id=3),
    )


def flipped(f: Forger) -> Report:
    report = f.report(*f.sharded())
    payload = bytes([report.helper.payload[0] ^ 1]) + report.helper.payload[1:]
    return replace(report, helper=replace(report.helper, payload=payload))


def tiny_ciphertext(f: Forger) -> Report:
    report = f.report(*f.sharded())
    return replace(report, helper=HpkeCiphertext(3, b"x", b"y"))


def low_order_key(f: Forger) -> Report:
    report = f.report(*f.sharded())
    return replace(report, leader=replace(report.leader, enc=bytes(32)))


def other_time(f: Forger) -> Report:
    report = f.report(*f.sharded())
    return replace(report, metadata=replace(report.metadata, time=report.metadata.time - 1))


def garbage(f: Forger) -> Report:
    return f.report(*f.sharded(), plain=lambda share: b"\xff\xff" + share)


def trailing(f: Forger) -> Report:
    written = f.task.profile.write_input_share
    return f.report(*f.sharded(), plain=lambda s: written(PlaintextInputShare((), s)) + b"\0")


def private_extension(f: Forger) -> Report:
    return f.report(*f.sharded(), extensions=(Extension(23, b""),))


def public_extension(f: Forger) -> Report:
    return f.report(*f.sharded(), public_extensions=(Extension(23, b""),))


def early(f: Forger) -> Report:
    return f.report(*f.sharded(), time=f.bucket(NOW // 100 + 4))


def far_future(f: Forger) -> Report:
    return f.report(*f.sharded(), time=(1 << 64) - 1)


def before_start(f: Forger) -> Report:
    return f.report(*f.sharded(), time=f.bucket(NOW // 100 - 11))


def enormous(f: Forger) -> Report:
    nonce, public, shares = f.sharded()
    return f.report(nonce, public, [shares[0], shares[1] + bytes(9000)])


E = ReportError
AT_UPLOAD = {
    leaders_key_unknown: E.OUTDATED_CONFIG,
    public_extension: E.INVALID_MESSAGE,
    early: E.REPORT_TOO_EARLY,
    far_future: E.REPORT_TOO_EARLY,
    before_start: E.REPORT_DROPPED,
    enormous: E.INVALID_MESSAGE,
}
AT_LEADER = {
    short_leader: E.INVALID_MESSAGE,
    not_in_the_field: E.INVALID_MESSAGE,
    short_public: E.INVALID_MESSAGE,
    long_public: E.INVALID_MESSAGE,
    another_task: E.HPKE_DECRYPT_ERROR,
    changed_parameters: E.HPKE_DECRYPT_ERROR,
    another_label: E.HPKE_DECRYPT_ERROR,
    leaders_key_lost: E.HPKE_DECRYPT_ERROR,
    swapped: E.HPKE_DECRYPT_ERROR,
    low_order_key: E.HPKE_DECRYPT_ERROR,
    other_time: E.HPKE_DECRYPT_ERROR,
    garbage: E.INVALID_MESSAGE,
    trailing: E.INVALID_MESSAGE,
    private_extension: E.INVALID_MESSAGE,
}
AT_HELPER = {
    off_by_one: E.VDAF_VERIFY_ERROR,
    proof_of_another: E.VDAF_VERIFY_ERROR,
    poisoned: E.VDAF_VERIFY_ERROR,
    minus_one: E.VDAF_VERIFY_ERROR,
    two_hot: E.VDAF_VERIFY_ERROR,
    heavier_than_it_says: E.VDAF_VERIFY_ERROR,
    negative: E.VDAF_VERIFY_ERROR,
    wrong_blind: E.VDAF_VERIFY_ERROR,
    another_nonce: E.VDAF_VERIFY_ERROR,
    foreign_public_share: E.VDAF_VERIFY_ERROR,
    long_helper: E.INVALID_MESSAGE,
    helpers_key_lost: E.HPKE_DECRYPT_ERROR,
    helpers_key_unknown: E.HPKE_DECRYPT_ERROR,
    flipped: E.HPKE_DECRYPT_ERROR,
    tiny_ciphertext: E.HPKE_DECRYPT_ERROR,
}
"""Who finds it out. What the leader refuses, the helper never hears of."""

Forge = Callable[[Forger], Report]


def world_of(tmp_path: Path) -> World:
    interval = Interval(NOW // 100 - 10, 1000)
    return World(make_task(min_batch_size=12, interval=interval), tmp_path)


def helper_errors(world: World) -> dict[bytes, ReportError | None]:
    """What the helper answered about each report, as it passes by."""
    heard: dict[bytes, ReportError | None] = {}

    def tap(method: str, url: str, body: bytes, response: Response) -> Response:
        if "/aggregation_jobs" in url and response.status in (200, 201):
            for one in world.task.profile.read_responses(response.body):
                heard[one.id] = one.error if one.kind is RespKind.REJECT else None
        return response

    world.network.taps.append(tap)
    return heard


@pytest.mark.parametrize("forge", AT_UPLOAD, ids=lambda forge: forge.__name__)
def test_what_the_upload_refuses(tmp_path: Path, forge: Forge) -> None:
    world = world_of(tmp_path)
    bad, good = forge(Forger(world)), world.client.reports(GOOD)
    statuses = world.client.upload([*good[:5], bad, *good[5:]])
    assert [(s.id, s.error) for s in statuses] == [(bad.metadata.id, AT_UPLOAD[forge])]
    assert world.collect().value == TOTAL
    world.stop()


@pytest.mark.parametrize("forge", [*AT_LEADER, *AT_HELPER], ids=lambda forge: forge.__name__)
def test_what_verification_refuses(tmp_path: Path, forge: Forge) -> None:
    world = world_of(tmp_path)
    bad, good = forge(Forger(world)), world.client.reports(GOOD)
    heard = helper_errors(world)
    assert world.client.upload([*good[:5], bad, *good[5:]]) == []
    found = world.collect()
    assert (found.value, found.reports) == (TOTAL, len(GOOD))
    assert all(heard[report.metadata.id] is None for report in good)
    if forge in AT_HELPER:
        assert heard[bad.metadata.id] is AT_HELPER[forge]
    else:
        assert bad.metadata.id not in heard
        begun = world.leader.aggregator.begin([(bad.metadata, bad.public_share, bad.leader)])
        assert begun.refused == {0: AT_LEADER[forge]}
    world.stop()


def test_all_of_them_together(tmp_path: Path) -> None:
    """One upload, one job: everything bad at once between the good ones."""
    world = world_of(tmp_path)
    bad = {forge: forge(Forger(world)) for forge in [*AT_UPLOAD, *AT_LEADER, *AT_HELPER]}
    good = world.client.reports(GOOD)
    mixed = [report for pair in zip(good * 3, bad.values(), strict=False) for report in pair]
    assert len(mixed) == 2 * len(bad)
    errors = {s.id: s.error for s in world.client.upload(mixed)}
    assert [errors[bad[forge].metadata.id] for forge in AT_UPLOAD] == list(AT_UPLOAD.values())
    assert set(errors.values()) == {*AT_UPLOAD.values(), E.REPORT_REPLAYED}
    found = world.collect()
    assert (found.value, found.reports) == (TOTAL, len(GOOD))
    world.stop()


def test_a_job_of_bad_reports_only(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    assert world.client.upload([forge(Forger(world)) for forge in AT_LEADER]) == []
    world.aggregate()
    world.upload(GOOD)
    assert world.collect().value == TOTAL
    world.stop()


def test_a_replay_is_refused_wherever_it_comes_from(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    reports = world.upload(GOOD)
    # By a client, in the same upload and in another, after a restart too; before and after the sum.
    assert [s.error for s in world.client.upload([reports[0], reports[0]])] == [
        E.REPORT_REPLAYED
    ] * 2
    fresh = world.client.reports([5])
    statuses = world.client.upload([fresh[0], fresh[0]])
    assert [s.error for s in statuses] == [E.REPORT_REPLAYED]
    world.aggregate()
    world.crash()
    assert [s.error for s in world.client.upload(reports[:1])] == [E.REPORT_REPLAYED]
    # An id that is used again for another measurement is a replay too.
    forger = Forger(world)
    _, public, shares = forger.sharded()
    again = forger.report(reports[1].metadata.id, public, shares)
    assert [s.error for s in world.client.upload([again])] == [E.REPORT_REPLAYED]
    found = world.collect()
    assert (found.value, found.reports) == ([3, 3, 6, 0, 0, 1, 0, 0], 13)
    world.stop()


def test_after_the_sum_a_batch_takes_no_report(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    world.upload(GOOD)
    world.collect()
    assert [s.error for s in world.client.upload(world.client.reports([1]))] == [E.BATCH_COLLECTED]
    world.now += 100
    world.upload(GOOD)  # the next bucket does
    assert world.collect().value == TOTAL
    world.stop()


def remembered(world: World) -> list[int]:
    """How many ids of reports leader and helper have."""
    found = []
    for database in world.databases:
        with database.transaction(world.task.id) as session:
            found.append(int(session.all("SELECT count(*) FROM seen")[0][0]))
    return found


def submitted(world: World, reports: list[Any]) -> list[Any]:
    """What a leader that forgets what it has seen gets from the helper for these reports."""
    begun = world.leader.aggregator.begin([(r.metadata, r.public_share, r.leader) for r in reports])
    selects = world.task.mode is BatchMode.LEADER_SELECTED
    job = Job(bytes(16), bytes(32) if selects else None, None, ())
    _, answer = world.helper.start_job(world.aggregation._request(job, reports, begun))
    return [each.error for each in world.task.profile.read_responses(answer)]


def test_ids_are_kept_only_as_long_as_they_refuse_anything(tmp_path: Path) -> None:
    """The attack beside each: the report comes again once its id is forgotten."""
    world = World(make_task(), tmp_path, expiry=1000)
    first = world.upload(GOOD)
    world.aggregate()
    assert remembered(world) == [len(GOOD)] * 2
    assert world.collect().value == TOTAL
    assert remembered(world) == [0, 0]  # their time was collected
    assert [s.error for s in world.client.upload(first[:1])] == [E.BATCH_COLLECTED]
    assert submitted(world, first[:1]) == [E.BATCH_COLLECTED]
    world.now += 100
    old = world.upload(GOOD)
    world.aggregate()
    world.now += 1100
    late = world.client.reports([1], at=world.now - 1100)
    assert [s.error for s in world.client.upload(late)] == [E.REPORT_DROPPED]
    assert [s.error for s in world.client.upload(old[:1])] == [E.REPORT_DROPPED]
    assert submitted(world, old[:1]) == [E.REPORT_DROPPED]
    assert remembered(world) == [0, 0]  # they are too old
    world.crash()
    world.now -= 1100  # the clock is put back: what was forgotten is not taken in again
    assert [s.error for s in world.client.upload(old[:1])] == [E.REPORT_DROPPED]
    assert submitted(world, old[1:2]) == [E.REPORT_DROPPED]
    found = world.collect()  # the batch is still there, and has each report once
    assert (found.value, found.reports) == (TOTAL, len(GOOD))
    world.stop()


@pytest.mark.parametrize("mode", [BatchMode.TIME_INTERVAL, BatchMode.LEADER_SELECTED])
def test_ids_of_a_task_that_ended_are_forgotten(tmp_path: Path, mode: BatchMode) -> None:
    task = make_task(interval=Interval(NOW // 100 - 10, 20), mode=mode)
    world = World(task, tmp_path)
    reports = world.upload(GOOD)
    world.aggregate()
    world.now += 14 * 86_400  # within what a device may be late
    assert [s.error for s in world.client.upload(reports[:1])] == [E.REPORT_REPLAYED]
    assert remembered(world) == [len(GOOD)] * 2
    world.now += 2000
    assert [s.error for s in world.client.upload(reports[:1])] == [E.REPORT_DROPPED]
    assert submitted(world, reports[:1]) == [E.REPORT_DROPPED]
    assert remembered(world) == [0, 0]
    world.stop()


def test_a_report_after_the_tasks_end(tmp_path: Path) -> None:
    task = make_task(interval=Interval(NOW // 100 - 1000, 1000))
    world = World(task, tmp_path)
    reports = world.client.reports([1])
    assert [s.error for s in world.client.upload(reports)] == [E.REPORT_DROPPED]
    shares = [(reports[0].metadata, reports[0].public_share, reports[0].helper)]
    assert world.helper.aggregator.begin(shares).refused == {0: E.TASK_EXPIRED}
    early = make_task(interval=Interval(NOW // 100 + 1, 1000))
    (tmp_path / "early").mkdir()
    other = World(early, tmp_path / "early")
    reports = other.client.reports([1])
    shares = [(reports[0].metadata, reports[0].public_share, reports[0].helper)]
    assert other.helper.aggregator.begin(shares).refused == {0: E.TASK_NOT_STARTED}
    world.stop()
    other.stop()
