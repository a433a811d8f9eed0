"""Parties that break the rules are refused with the standard's error types, and gain nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dap_world import NOW, RANDOM, World, make_task

from tacit.collect.dap.codec import U64, encode
from tacit.collect.dap.errors import ReportError
from tacit.collect.dap.messages import (
    BatchMode,
    CollectionRequest,
    Interval,
    JobInit,
    Selector,
    ShareRequest,
    VerifyResp,
)
from tacit.collect.dap.peer import Response, Token, check_token
from tacit.collect.dap.routes import Head
from tacit.collect.dap.store import checksum
from tacit.collect.dap.task import to_base64
from tacit.errors import CollectError, SecurityError
from tacit.values import Secret

GOOD = [0, 1, 2, 2] * 3
TOTAL = [3, 3, 6, 0, 0, 0, 0, 0]
BUCKET = NOW // 100
MEDIA = "application/ppm-dap;message="


class Wire:
    """Requests to a world's services, and what their problem documents say."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __call__(
        self, party: str, method: str, path: str, media: str = "", body: bytes = b"", **headers: str
    ) -> Response:
        token = self.world.collector_token if party == "leader" else self.world.peer_token
        sent: Mapping[str, str] = {"content-type": media, **token.headers(), **headers}
        query = path.partition("?")[2]
        path = path.partition("?")[0].replace("TASK", self.world.task.name)
        response: Response = self.world.network.services[f"{party}.test"].handle(
            Head(method, path, sent, query), body
        )
        return response

    def error(self, *given: Any, **headers: str) -> tuple[int, str]:
        response = self(*given, **headers)
        assert response.headers["content-type"] == "application/problem+json"
        document = json.loads(response.body)
        assert document["status"] == response.status
        return response.status, document["type"].removeprefix("urn:ietf:params:ppm:dap:error:")

    def collect(self, body: bytes) -> Any:
        return ("leader", "POST", "/tasks/TASK/collection_jobs", MEDIA + "collection-job-req", body)

    def job(self, body: bytes) -> Any:
        media = MEDIA + "aggregation-job-init-req"
        return ("helper", "POST", "/tasks/TASK/aggregation_jobs", media, body)

    def share(self, body: bytes) -> Any:
        return (
            "helper",
            "POST",
            "/tasks/TASK/aggregate_shares",
            MEDIA + "aggregate-share-req",
            body,
        )


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(make_task(min_batch_size=12), tmp_path)
    yield made
    made.stop()


def query(world: World, start: int = BUCKET, duration: int = 1) -> bytes:
    selector = Selector(BatchMode.TIME_INTERVAL, Interval(start, duration))
    return world.task.profile.write_query(world.task, selector)


def extended(body: bytes, *kinds: int) -> bytes:
    """The same CollectionJobReq with extensions of those types."""
    listed = b"".join(kind.to_bytes(2, "big") + b"\0\0" for kind in kinds)
    return body[:-2] + len(listed).to_bytes(2, "big") + listed


def test_what_the_leader_says_to_collectors(world: World) -> None:
    wire, good = Wire(world), query(world)
    other = "/tasks/" + to_base64(bytes(32)) + "/collection_jobs"
    media = MEDIA + "collection-job-req"
    cases = {
        "invalidMessage": [
            b"",
            good[:-1],
            good + b"\0",
            good.replace(b"\x01", b"\x02", 1),
            b"\x07" + good[1:],
        ],
        "batchInvalid": [query(world, BUCKET, 0), query(world, 1, (1 << 64) - 1)],
        "invalidAggregationParameter": [good[:-6] + b"\0\0\0\x01\0" + good[-2:]],
        "unsupportedExtension": [extended(good, 9)],
        "invalidExtension": [extended(good, 9, 9), extended(good, 9, 8)],
    }
    for kind, bodies in cases.items():
        for body in bodies:
            assert wire.error(*wire.collect(body)) == (400, kind)
    assert wire.error("leader", "POST", other, media, good) == (404, "unrecognizedTask")
    document = json.loads(wire(*wire.collect(extended(good, 23, 42))).body)
    assert document["unsupported_extensions"] == [23, 42]
    assert document["taskid"] == world.task.name


def test_overlap_and_size(world: World) -> None:
    wire = Wire(world)
    world.upload(GOOD[:-1])
    first = wire(*wire.collect(query(world)))
    assert (first.status, first.body) == (200, b"")
    assert first.headers["retry-after"] == "1"
    place = first.headers["location"]
    world.drive()
    assert wire.error("leader", "GET", place) == (400, "invalidBatchSize")
    world.upload(GOOD[-1:])
    # The same request is the same job; for want of reports it is tried anew.
    place = wire(*wire.collect(query(world))).headers["location"]
    world.drive()
    done = wire("leader", "GET", place)
    assert done.headers["content-type"] == MEDIA + "collection-job-resp"
    assert wire(*wire.collect(query(world))).body == done.body
    for start, duration in ((BUCKET, 2), (BUCKET - 3, 10), (0, BUCKET + 1)):
        found = wire.error(*wire.collect(query(world, start, duration)))
        assert found == (400, "batchOverlap")
    assert wire("leader", "DELETE", place).status == 204
    assert wire.error("leader", "GET", place) == (404, "about:blank")
    # Deleted or not: what was collected stays so.
    assert wire.error(*wire.collect(query(world))) == (400, "batchOverlap")


def test_two_overlapping_collections_at_once(world: World) -> None:
    wire = Wire(world)
    world.upload(GOOD)
    places = [
        wire(*wire.collect(query(world, BUCKET, duration))).headers["location"]
        for duration in (1, 2)
    ]
    for _ in range(6):
        world.drive()
    answers = [wire("leader", "GET", place) for place in places]
    assert sorted(answer.status for answer in answers) == [200, 400]
    [refused] = [json.loads(answer.body) for answer in answers if answer.status == 400]
    assert refused["type"].endswith(":batchOverlap")


def test_tokens(world: World) -> None:
    wire, good = Wire(world), query(world)
    bodies = {"leader": wire.collect(good), "helper": wire.job(b"")}
    for party, request in bodies.items():
        right = world.collector_token if party == "leader" else world.peer_token
        wrong = world.peer_token if party == "leader" else world.collector_token
        none = {"authorization": ""}
        assert wire.error(*request, **none) == (403, "about:blank")
        assert wire.error(*request, **wrong.headers())[0] == 403
        assert wire.error(*request, authorization="Bearer ")[0] == 403
        assert (
            wire.error(*request, authorization="Basic " + right.headers()["authorization"][7:])[0]
            == 403
        )
        text = right.secret.reveal().decode()
        assert wire(*request, authorization="", **{"dap-auth-token": text}).status != 403
        assert text not in repr(right)
    with pytest.raises(CollectError, match="T812"):
        check_token({"authorization": "Bearer "}, [])
    assert Token(Secret(b"abc"), bearer=False).headers() == {"dap-auth-token": "abc"}


def test_resources_and_methods(world: World) -> None:
    wire = Wire(world)
    job = "/tasks/TASK/aggregation_jobs/" + to_base64(bytes(16))
    assert wire("leader", "GET", "/health").body == b"ok\n"
    found = wire("helper", "GET", "/hpke_config")
    assert found.headers["content-type"] == MEDIA + "hpke-config-list"
    assert "max-age" in found.headers["cache-control"]
    assert wire.error("leader", "GET", "/")[0] == 404
    assert wire.error("leader", "GET", "/tasks/TASK/aggregation_jobs/x")[0] == 404
    assert wire.error("leader", "GET", "/tasks/TASK/nothing")[0] == 404
    assert wire.error("leader", "GET", "/tasks/x/reports") == (404, "unrecognizedTask")
    assert wire.error("leader", "PUT", "/tasks/TASK/reports")[0] == 405
    assert wire.error("leader", "POST", "/tasks/TASK/reports", "text/plain")[0] == 415
    assert wire.error("leader", "POST", "/hpke_config")[0] == 405
    assert wire.error("helper", "GET", job) == (404, "unrecognizedAggregationJob")
    assert wire.error("helper", "GET", job + "?step=1") == (400, "stepMismatch")
    assert wire.error("helper", "GET", "/tasks/TASK/aggregation_jobs")[0] == 405
    too_long = ("leader", "POST", "/tasks/TASK/collection_jobs", MEDIA + "collection-job-req")
    assert wire.error(*too_long, bytes(1 << 17))[0] == 413
    spaced = 'application/ppm-dap; message="upload-req"; version=18'
    assert wire("leader", "POST", "/tasks/TASK/reports", spaced).status == 200


def job_of(world: World, values: list[int]) -> tuple[JobInit, bytes]:
    """A job as the leader makes it, and its bytes; the leader's database does not hear of it."""
    sent: list[bytes] = []
    world.upload(values)
    original = world.network.request

    def tap(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        sent.append(body)
        raise CollectError("held back", code="T820", fix="-")

    world.network.request = tap  # type: ignore[method-assign]
    with pytest.raises(CollectError):
        world.aggregation.work()
    world.network.request = original  # type: ignore[method-assign]
    return world.task.profile.read_job(sent[0], world.task), sent[0]


def test_what_the_helper_says_to_leaders(world: World) -> None:
    wire, profile = Wire(world), world.task.profile
    job, body = job_of(world, GOOD)
    twice = profile.write_job(replace(job, inits=(*job.inits, job.inits[0])))
    parameter = profile.write_job(replace(job, agg_param=b"x"))
    empty = profile.write_job(replace(job, inits=()))
    other_key = profile.write_job(replace(job, key_id=1))
    batch = profile.write_job(replace(job, batch_id=bytes(32)))
    for bad in (b"", body[:-1], body + b"\0", twice, other_key, empty):
        assert wire.error(*wire.job(bad)) == (400, "invalidMessage")
    assert wire.error(*wire.job(parameter)) == (400, "invalidAggregationParameter")
    assert wire.error(*wire.job(batch)) == (400, "unsupportedExtension")
    done = wire(*wire.job(body))
    assert done.status == 200
    assert wire(*wire.job(body)).body == done.body  # idempotent
    place = done.headers["location"]
    assert wire("helper", "GET", place + "?step=0").body == done.body
    media = MEDIA + "aggregation-job-continue-req"
    assert wire.error("helper", "POST", place, media, b"\0\x01") == (400, "stepMismatch")
    for bad in (b"", b"\0\0", b"\0\x01" + bytes(16) + b"\0\0\0\x01x"):
        assert wire.error("helper", "POST", place, media, bad) == (400, "invalidMessage")
    # Another job with the same reports: all of them are replays, even when the first is deleted.
    assert wire("helper", "DELETE", place).status == 204
    for again in (replace(job, inits=tuple(reversed(job.inits))), job):
        answer = wire(*wire.job(profile.write_job(again)))
        errors = {one.error for one in profile.read_responses(answer.body)}
        assert errors == {ReportError.REPORT_REPLAYED}
    world.now += 1
    world.aggregation._pauses.clear(b"")
    world.crash()
    world.aggregate()  # the honest leader's own job was the first: it gets refusals, and drops all
    assert world.collector().interval(NOW, NOW + 1).interval == Interval(BUCKET, 1)
    assert count(world, "buckets", 0) == 0


def count(world: World, table: str, party: int) -> int:
    with world.databases[party].transaction(world.task.id) as session:
        return int(session.all(f"SELECT count(*) FROM {table}")[0][0])


def share_request(world: World, ids: list[bytes], **changes: Any) -> bytes:
    profile, task = world.task.profile, world.task
    asked = changes.pop("query", query(world))
    fields: dict[str, Any] = {
        "request": CollectionRequest(task.mode, Interval(BUCKET, 1), b"", asked),
        "selector": Selector(task.mode, Interval(BUCKET, 1)),
        "agg_param": b"",
        "report_count": len(ids),
        "checksum": checksum(ids),
    }
    return profile.write_share_request(ShareRequest(**{**fields, **changes}))


def test_aggregate_shares(world: World) -> None:
    wire = Wire(world)
    ids = [report.metadata.id for report in world.upload(GOOD)]
    world.aggregate()
    wide = Selector(BatchMode.TIME_INTERVAL, Interval(BUCKET, 2))
    empty = Selector(BatchMode.TIME_INTERVAL, Interval(BUCKET, 0))
    right = share_request(world, ids)
    for body, kind in {
        right[:-1]: "invalidMessage",
        right + b"\0": "invalidMessage",
        share_request(world, ids, selector=wide): "batchInvalid",
        share_request(world, ids, selector=empty): "batchInvalid",
        share_request(world, ids[1:]): "batchMismatch",
        share_request(world, ids, checksum=bytes(32)): "batchMismatch",
        share_request(world, ids, query=extended(query(world), 7)): "unsupportedExtension",
        share_request(world, ids, query=extended(query(world), 7, 7)): "invalidExtension",
        share_request(
            world,
            [],
            query=query(world, BUCKET + 1),
            selector=Selector(world.task.mode, Interval(BUCKET + 1, 1)),
        ): "invalidBatchSize",
    }.items():
        assert wire.error(*wire.share(body)) == (400, kind)
    done = wire(*wire.share(right))
    assert done.status == 200
    assert wire(*wire.share(right)).body == done.body
    place = done.headers["location"]
    assert wire("helper", "GET", place).body == done.body
    again = share_request(world, ids, query=query(world, BUCKET, 2))
    assert wire.error(*wire.share(again)) == (400, "batchOverlap")
    assert wire("helper", "DELETE", place).status == 204
    assert wire.error(*wire.share(right)) == (400, "batchOverlap")
    # A leader that goes on aggregating into it is told so.
    job, body = job_of(make_other(world), [1, 1])
    answer = wire(*wire.job(body))
    errors = [one.error for one in world.task.profile.read_responses(answer.body)]
    assert errors == [ReportError.BATCH_COLLECTED] * len(job.inits)


def make_other(world: World) -> World:
    """A leader with the same secrets and another memory."""
    folder = world.folder / "other"
    folder.mkdir()
    return World(world.task, folder, like=world)


def lie(world: World, resource: str, change: Any) -> list[int]:
    """The helper's answers about a resource are changed; gives a counter of the lies."""
    told: list[int] = []

    def tap(method: str, url: str, body: bytes, response: Response) -> Response:
        if url.endswith(resource) and response.status == 200:
            told.append(1)
            return replace(response, body=change(response.body))
        return response

    world.network.taps.append(tap)
    return told


def answers(world: World, change: Any) -> Any:
    profile = world.task.profile
    return lambda body: profile.write_responses(change(profile.read_responses(body)))


LIES = {
    "order": lambda world: answers(world, lambda all_: all_[::-1]),
    "missing": lambda world: answers(world, lambda all_: all_[1:]),
    "more": lambda world: answers(world, lambda all_: (*all_, all_[0])),
    "other ids": lambda world: answers(
        world, lambda all_: [replace(one, id=bytes(16)) for one in all_]
    ),
    "finished": lambda world: answers(
        world, lambda all_: [VerifyResp(one.id, type(one.kind)(1)) for one in all_]
    ),
    "garbage": lambda world: lambda body: b"\xff" * len(body),
    "cut": lambda world: lambda body: body[:-1],
}


@pytest.mark.parametrize("name", LIES)
def test_a_helper_that_breaks_the_protocol(world: World, name: str) -> None:
    world.upload(GOOD)
    told = lie(world, "/aggregation_jobs", LIES[name](world))
    with pytest.raises(CollectError, match="T823"):
        world.aggregation.work()
    assert told
    assert count(world, "buckets", 0) == 0  # nothing of it was used
    world.network.taps.clear()
    world.crash()
    assert world.collect().value == TOTAL


def test_a_helper_that_lies_about_a_message(world: World) -> None:
    """Its verifier message for one report is another: the leader drops that report, the sums
    disagree, and the mismatch is found before anything is released."""
    world.upload([*GOOD, 5])

    def change(all_: tuple[VerifyResp, ...]) -> list[VerifyResp]:
        bad = all_[3].payload[:-1] + bytes([all_[3].payload[-1] ^ 1])
        return [*all_[:3], replace(all_[3], payload=bad), *all_[4:]]

    lie(world, "/aggregation_jobs", answers(world, change))
    with pytest.raises(CollectError, match="T807"):
        world.collect()


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0"])
def test_a_helper_whose_share_is_none(world: World, change: Any) -> None:
    world.upload(GOOD)
    lie(world, "/aggregate_shares", change)
    world.aggregate()
    world.leader.start_collection(query(world))
    with pytest.raises(CollectError, match="T823"):
        world.collecting.work()
    world.network.taps.clear()
    world.crash()
    assert world.collect().value == TOTAL


def test_a_share_that_does_not_open(world: World) -> None:
    world.upload(GOOD)
    lie(world, "/aggregate_shares", lambda body: body[:-1] + bytes([body[-1] ^ 1]))
    with pytest.raises(SecurityError, match="T643"):
        world.collect()


def test_a_leader_that_lies_to_the_collector(world: World) -> None:
    world.upload(GOOD)
    told = lie(world, "/nothing", lambda body: body)
    collector = world.collector()
    sealed = collector.fetch(world.everything())
    assert collector.open(sealed).value == TOTAL
    few = encode(U64, 3) + sealed.answer[8:]
    outside = sealed.answer[:8] + encode(U64, BUCKET - 1) + sealed.answer[16:]
    for answer in (few, outside, sealed.answer[:-1], b""):
        with pytest.raises(CollectError, match="T823"):
            collector.open(replace(sealed, answer=answer))
    wider = world.task.profile.write_query(
        world.task, Selector(BatchMode.TIME_INTERVAL, Interval(BUCKET - 1, 3))
    )
    with pytest.raises(SecurityError, match="T643"):  # sealed for another query
        collector.open(replace(sealed, query=wider))
    assert not told


def test_a_task_never_changes(world: World) -> None:
    """Not its parameters, nor its verification key."""
    world.stop()
    task = world.task
    world.task = replace(task, min_batch_size=2)
    with pytest.raises(CollectError, match="T822"):
        world.start()
    world.stop()
    world.task = task
    key, world.verify_key = world.verify_key, Secret(RANDOM.bytes(32))
    with pytest.raises(CollectError, match="T822"):
        world.start()
    world.stop()
    world.verify_key = key
    world.start()


def test_leader_selected_batches_follow_each_other(tmp_path: Path) -> None:
    task = make_task(mode=BatchMode.LEADER_SELECTED, min_batch_size=6)
    world = World(task, tmp_path, job_size=4)
    world.upload(GOOD)
    world.upload([7] * 6)
    collector = world.collector()
    values = []
    for _ in range(3):
        found = collector.collect(collector.next_batch(), patience=20)
        # Until it is forgotten, the same query is the same collection.
        assert collector.collect(collector.next_batch()).value == found.value
        collector.forget(collector.next_batch())
        values.append(found)
    assert [found.reports for found in values] == [6, 6, 6]
    assert [sum(column) for column in zip(*(found.value for found in values), strict=True)] == [
        3, 3, 6, 0, 0, 0, 0, 6,
    ]  # fmt: skip
    with pytest.raises(CollectError, match="T828"):
        collector.collect(collector.next_batch(), patience=0.2)
    world.stop()


def test_the_draft_09_errors(tmp_path: Path) -> None:
    world = World(make_task(9, min_batch_size=12), tmp_path)
    [report] = world.client.reports([1])
    assert world.client.upload([report]) == []
    with pytest.raises(CollectError, match="T816"):
        world.client.upload([report])
    late = replace(report, metadata=replace(report.metadata, id=bytes(16), time=NOW + 1000))
    with pytest.raises(CollectError, match="T817"):
        world.client.upload([late])
    unknown = replace(report, leader=replace(report.leader, config_id=77))
    with pytest.raises(CollectError, match="T815"):
        world.client.upload([unknown])
    wire = Wire(world)
    media, body = "application/dap-collect-req", query(world, NOW // 100 * 100 + 1, 100)
    place = "/tasks/TASK/collection_jobs/" + to_base64(bytes(16))
    assert wire.error("leader", "PUT", place, media, body) == (400, "batchInvalid")
    found = wire.error("leader", "PUT", place, media, body, authorization="")
    assert found == (403, "unauthorizedRequest")
    right = query(world, NOW // 100 * 100, 100)
    assert wire("leader", "PUT", place, media, right).status == 201
    assert wire("leader", "PUT", place, media, right).status == 201
    assert wire.error("leader", "PUT", place, media, query(world, 0, 100))[0] == 409
    assert wire("leader", "POST", place).status == 202
    world.stop()


def test_a_client_with_an_outdated_key(world: World) -> None:
    """It is told so, fetches the new one, and its measurement arrives once."""
    from tacit.collect.dap.messages import Role
    from tacit.collect.dap.sealing import KeyPair

    world.client.send(1)
    world.keys[Role.LEADER] = [KeyPair.generate(88, RANDOM), *world.keys[Role.LEADER]]
    world.crash()
    world.client.send(2)  # the old key is still taken
    world.aggregate()
    world.keys[Role.LEADER] = world.keys[Role.LEADER][:1]
    world.crash()
    world.client.send(3)
    assert count(world, "seen", 0) == 3


def test_a_collector_is_kept_waiting_until_the_sum_is_there(world: World) -> None:
    world.upload(GOOD)
    world.leader._patience = 30.0
    job = world.leader.start_collection(query(world))
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(world.leader.awaited_collection, job) for _ in range(8)]
        done, _ = wait(waiting, 10, FIRST_COMPLETED)
        # As many wait as may; the others are told to come back.
        assert [one.result() for one in done] == [None] * len(done)
        assert done
        world.aggregate()
        assert world.collecting.work()
        answers = [one.result(10) for one in waiting]
    whole = world.leader.collection(job)
    assert whole is not None
    assert set(answers) == {None, whole}


def test_a_collector_without_patience_left_asks_again(world: World) -> None:
    world.upload(GOOD)
    world.leader._patience = 0.01
    job = world.leader.start_collection(query(world))
    assert world.leader.awaited_collection(job) is None
    with pytest.raises(CollectError, match="T813"):
        world.leader.awaited_collection(bytes(16))
    assert world.collect().value == TOTAL
