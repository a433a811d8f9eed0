"""Draft 18, section by section: what each says that no other test here holds us to.

A test is named by the section's title. What is done otherwise than the draft says, and why, stands
in docs/collect.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dap_world import NOW, RANDOM, World, make_task
from test_dap_protocol import BUCKET, GOOD, MEDIA, TOTAL, Wire, query, share_request

from tacit.collect.dap import peer
from tacit.collect.dap.client import lifetime
from tacit.collect.dap.codec import encode
from tacit.collect.dap.errors import ReportError
from tacit.collect.dap.messages import HPKE_CONFIGS, BatchMode, Role, Selector
from tacit.collect.dap.peer import Response, Token, settled
from tacit.collect.dap.sealing import KeyPair
from tacit.collect.dap.settings import new_task, read_settings
from tacit.collect.dap.task import Vdaf
from tacit.errors import CollectError, PrivacyError
from tacit.values import Secret


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(make_task(min_batch_size=12), tmp_path)
    yield made
    made.stop()


class Slow:
    """A helper that defers what it is asked: the answer is there at the n-th look."""

    def __init__(self, world: World, resource: str, looks: int) -> None:
        self.resource, self.looks, self.asked = resource, looks, list[str]()
        world.network.taps.append(self)

    def __call__(self, method: str, url: str, body: bytes, response: Response) -> Response:
        if self.resource not in url or response.status != 200:
            return response
        self.asked.append(f"{method} {url.partition('?')[2]}".strip())
        if self.asked.count("GET step=0") + self.asked.count("GET") > self.looks:
            return response
        kept = {name: response.headers[name] for name in response.headers if name == "location"}
        return Response(200, {**kept, "retry-after": "3"})


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept between looks; no test sleeps so long."""
    waits: list[float] = []
    monkeypatch.setattr(peer.settled, "__kwdefaults__", {"query": "", "sleep": waits.append})
    return waits


def test_asynchronous_request_handling(world: World, slept: list[float]) -> None:
    """A helper that defers is polled at the resource that it named, as often as it wants."""
    world.upload(GOOD)
    jobs = Slow(world, "/aggregation_jobs", looks=2)
    shares = Slow(world, "/aggregate_shares", looks=1)
    assert world.collect().value == TOTAL
    assert jobs.asked == ["POST", *["GET step=0"] * 3]
    assert shares.asked == ["POST", "GET", "GET"]
    assert slept == [3.0] * 5


def test_asynchronous_request_handling_never_ends(world: World, slept: list[float]) -> None:
    """What is deferred for too long is left, and asked for again with the same bytes."""
    world.upload(GOOD)
    jobs = Slow(world, "/aggregation_jobs", looks=99)
    with pytest.raises(CollectError, match="T828"):
        world.aggregation.work()
    assert sum(slept) < 25
    world.network.taps.clear()
    world.crash()
    assert world.collect().value == TOTAL
    assert jobs.asked[0] == "POST"


def test_asynchronous_request_handling_without_a_location(world: World, slept: list[float]) -> None:
    deferred = Response(200, {})
    with pytest.raises(CollectError, match="T823"):
        settled(world.network, deferred, "http://helper.test/x", world.peer_token)
    # A Location elsewhere sends no token there: only its name is taken.
    world.network.services["evil.test"] = None
    deferred = Response(200, {"location": "http://evil.test/steal/AAAA"})
    url = world.task.url(world.task.helper, "aggregate_shares")
    with pytest.raises(CollectError, match="T821"):
        settled(world.network, deferred, url, world.peer_token)
    assert slept


def test_obtaining_aggregate_shares_aggregation_parameter(world: World) -> None:
    """The leader's parameter must be that of the jobs: else invalidMessage, at the helper; the
    leader says invalidAggregationParameter of the collector's."""
    wire = Wire(world)
    ids = [report.metadata.id for report in world.upload(GOOD)]
    world.aggregate()
    plain = query(world)
    other = plain[:-6] + b"\0\0\0\x01x" + plain[-2:]
    assert wire.error(*wire.share(share_request(world, ids, query=other))) == (
        400,
        "invalidMessage",
    )
    assert wire.error(*wire.collect(other)) == (400, "invalidAggregationParameter")
    assert world.collect().value == TOTAL


def broken_share(world: World) -> None:
    """A helper that refuses every aggregate share with another error of the standard."""

    def tap(method: str, url: str, body: bytes, response: Response) -> Response:
        if "/aggregate_shares" not in url:
            return response
        document = {"type": "urn:ietf:params:ppm:dap:error:unrecognizedTask", "status": 404}
        return Response(404, {}, json.dumps(document).encode())

    world.network.taps.append(tap)


@pytest.mark.parametrize("mode", list(BatchMode))
def test_collection_job_initialization_after_a_failure(tmp_path: Path, mode: BatchMode) -> None:
    """A job fails with the error of the helper. The same request again asks the helper the same
    again: nothing is lost by a helper that knew a task too late, and noise is drawn once."""
    world = World(make_task(min_batch_size=12, mode=mode), tmp_path)
    world.upload(GOOD)
    broken_share(world)
    collector = world.collector()
    asked = collector.next_batch() if mode is BatchMode.LEADER_SELECTED else world.everything()
    for _ in range(2):
        with pytest.raises(CollectError, match="T802"):
            collector.collect(asked, patience=5)
    world.network.taps.clear()
    assert collector.collect(asked, patience=5).value == TOTAL
    world.stop()


def test_collection_job_deletion_after_a_failure(tmp_path: Path) -> None:
    """A batch that the helper never gives up keeps no later one back."""
    world = World(make_task(min_batch_size=12, mode=BatchMode.LEADER_SELECTED), tmp_path)
    world.upload(GOOD)
    broken_share(world)
    collector = world.collector()
    with pytest.raises(CollectError, match="T802"):
        collector.collect(collector.next_batch(), patience=5)
    world.network.taps.clear()
    collector.forget(collector.next_batch())
    world.upload([7] * 12)
    assert collector.collect(collector.next_batch(), patience=5).value == [0] * 7 + [12]
    world.stop()


def test_batch_parameters_small_batches_tell_no_count(world: World) -> None:
    """Attack: a collector asks for ever longer intervals, and reads from each refusal how many
    reports there are, so when each client reported."""
    wire, said = Wire(world), set()
    for reports in (0, 3, 8):
        if reports:
            world.upload(GOOD[:reports])
            world.aggregate()
        place = wire(*wire.collect(query(world))).headers["location"]
        world.collecting.work()
        answer = wire("leader", "GET", place)
        assert answer.status == 400
        said.add(answer.body)
        ids: list[bytes] = []
        said.add(wire(*wire.share(share_request(world, ids))).body)
    assert len({json.loads(body)["detail"] for body in said}) == 1


def test_hpke_configuration_request_ids_are_distinct(tmp_path: Path) -> None:
    """Aggregators MUST allocate distinct ids; a client refuses a list where they are not."""
    task = make_task()
    new_task(tmp_path / "new", task, RANDOM, ["127.0.0.1:1", "127.0.0.1:2"])
    path = tmp_path / "new" / "leader.toml"
    text = path.read_text()
    _, key = text.split("[[keys]]")
    key = key.partition("[[tasks]]")[0]
    assert len(read_settings(path, "leader").keys) == 1
    path.write_text(text.replace("[[tasks]]", "[[keys]]" + key + "[[tasks]]"))
    with pytest.raises(CollectError, match="two keys have one id") as caught:
        read_settings(path, "leader")
    assert caught.value.code == "T825"
    for size in ("0", "8193"):
        path.write_text(f"job_size = {size}\n" + text)
        with pytest.raises(CollectError, match="T825"):
            read_settings(path, "leader")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 86_400),
        ({"cache-control": "max-age=60"}, 60),
        ({"cache-control": "public, Max-Age=60", "age": "20"}, 40),
        ({"cache-control": "max-age=60", "age": "90"}, 0),
        ({"cache-control": "max-age=60, no-store"}, 0),
        ({"cache-control": "no-cache"}, 0),
        ({"cache-control": "max-age=-1"}, 0),
        ({"cache-control": 'max-age="7", max-age=9'}, 7),
        ({"cache-control": "max-age=99999999999999999999"}, 0),
        ({"cache-control": "s-maxage=5"}, 86_400),
    ],
)
def test_hpke_configuration_request_caching(headers: dict[str, str], seconds: float) -> None:
    assert lifetime(Response(200, headers)) == seconds


def test_hpke_configuration_request_old_keys(world: World) -> None:
    """Attack on oneself: the helper gives up a key after twice the cache's lifetime. A client that
    keeps it any longer loses every measurement, and is never told."""
    world.client.send(1)
    old = world.keys[Role.HELPER][0]
    world.keys[Role.HELPER] = [KeyPair.generate(77, RANDOM), old]
    world.crash()
    world.now += 86_399
    world.client.send(1)  # within the day: the old key, which is still taken
    world.keys[Role.HELPER] = world.keys[Role.HELPER][:1]
    world.crash()
    world.now += 1
    for _ in range(12):
        world.client.send(2)
    world.aggregate()
    found = world.collect()
    assert (found.value[2], found.reports) == (12, 12)
    # A clock that is put back makes no key fresh.
    world.now -= 40_000
    asked: list[str] = []
    world.network.taps.append(lambda m, u, b, r: (asked.append(u), r)[1])
    world.client.configs()
    assert len(asked) == 2
    world.client.configs()
    assert len(asked) == 2


def test_hpke_configuration_request_malformed(world: World) -> None:
    """The client MUST abort for what is no list, an empty one, and algorithms it does not know."""
    config = world.keys[Role.LEADER][0].config
    other = replace(config, kem=0x0010)
    for body in (
        b"",
        b"\0\0",
        encode(HPKE_CONFIGS, (other,)),
        encode(HPKE_CONFIGS, (config, config)),
        encode(HPKE_CONFIGS, (config,)) + b"\0",
    ):
        world.network.taps[:] = [
            lambda m, u, b, r, body=body: replace(r, body=body) if u.endswith("/hpke_config") else r
        ]
        world.client._configs.clear()
        with pytest.raises(CollectError):
            world.client.report(1)
    world.network.taps[:] = [
        lambda m, u, b, r: (
            replace(r, body=encode(HPKE_CONFIGS, (replace(other, id=9), config)))
            if u.endswith("/hpke_config")
            else r
        )
    ]
    assert world.client.report(1).leader.config_id == config.id


def test_upload_request_is_idempotent(world: World) -> None:
    """The same upload again changes nothing, and every report is named, in order."""
    reports = world.upload(GOOD)
    statuses = world.client.upload(reports[::-1])
    assert [one.id for one in statuses] == [one.metadata.id for one in reports[::-1]]
    assert {one.error for one in statuses} == {ReportError.REPORT_REPLAYED}
    wire = Wire(world)
    empty = wire("leader", "POST", "/tasks/TASK/reports", MEDIA + "upload-req", b"")
    assert (empty.status, empty.body) == (200, b"")
    bad = ("leader", "POST", "/tasks/TASK/reports", MEDIA + "upload-req", b"\0")
    assert wire.error(*bad) == (400, "invalidMessage")
    assert world.collect().value == TOTAL


def test_upload_request_timestamps(world: World) -> None:
    """A few minutes of leeway, and no more."""
    soon = world.client.reports([1], at=NOW + 300)
    late = world.client.reports([1], at=NOW + 401)
    statuses = world.client.upload([*soon, *late])
    assert [(one.id, one.error) for one in statuses] == [
        (late[0].metadata.id, ReportError.REPORT_TOO_EARLY)
    ]


def test_request_authentication_covers_every_resource(world: World) -> None:
    """Nothing but uploads and configurations answers a stranger, whatever the method; and what it
    says is the same for what is there and what is not."""
    wire = Wire(world)
    world.upload(GOOD)
    world.collect()
    none, wrong = {"authorization": ""}, Token(Secret(b"x" * 32)).headers()
    nothing = "A" * 22
    for party, names in (
        ("leader", ("collection_jobs",)),
        ("helper", ("aggregation_jobs", "aggregate_shares")),
    ):
        for name in names:
            for path in (f"/tasks/TASK/{name}", f"/tasks/TASK/{name}/{nothing}"):
                for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"):
                    for headers in (none, wrong):
                        found = wire.error(party, method, path, "", b"", **headers)
                        assert found == (403, "about:blank"), (party, path, method)


def test_leader_selected_the_query_carries_nothing(tmp_path: Path) -> None:
    world = World(make_task(min_batch_size=12, mode=BatchMode.LEADER_SELECTED), tmp_path)
    wire = Wire(world)
    good = world.task.profile.write_query(world.task, Selector(BatchMode.LEADER_SELECTED))
    assert good == b"\x02\0\0" + b"\0\0\0\0" + b"\0\0"
    assert wire.error(*wire.collect(b"\x02\0\x01x\0\0\0\0\0\0")) == (400, "invalidMessage")
    assert wire.error(*wire.collect(query(world, BUCKET))) == (400, "invalidMessage")
    world.stop()


@pytest.mark.parametrize("noise", [False, True])
def test_vdaf_configuration_sums_that_could_wrap(tmp_path: Path, noise: bool) -> None:
    """Proofs bound a measurement, not the sum of many: one that may have wrapped is not given."""
    from fractions import Fraction

    from tacit.privacy.sum_noise import SumNoise

    parameters = {"max_measurement": (1 << 60) - 1}
    added = SumNoise("gaussian", Fraction(4)) if noise else None
    with pytest.raises(PrivacyError, match="T556"):
        make_task(name="sum", parameters=parameters, min_batch_size=17, noise=added)
    # The smallest batch fits; one with more reports is refused once it is there.
    world = World(make_task(name="sum", parameters=parameters, min_batch_size=7), tmp_path)
    world.upload([(1 << 60) - 1] * 18)
    with pytest.raises(PrivacyError, match="T556"):
        world.collect()
    world.stop()
    Vdaf("sum", parameters)  # the VDAF itself has no such bound
