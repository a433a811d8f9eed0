"""No decoder crashes, hangs or takes memory out of proportion, whatever bytes it gets; what it does
read, it writes back as the same bytes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from dap_world import NOW, RANDOM, World, make_task
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples import changed, examples
from tacit.collect.dap.aggregator import read_ping_pong
from tacit.collect.dap.codec import Items, Opaque, Reader, decode, encode
from tacit.collect.dap.errors import ReportError, from_problem
from tacit.collect.dap.messages import (
    HPKE_CONFIG,
    HPKE_CONFIGS,
    BatchMode,
    Collection,
    HpkeCiphertext,
    HpkeConfig,
    Interval,
    JobInit,
    PlaintextInputShare,
    Report,
    ReportMetadata,
    RespKind,
    Selector,
    ShareRequest,
    UploadStatus,
    VerifyInit,
    VerifyResp,
)
from tacit.collect.dap.peer import media_type
from tacit.collect.dap.routes import Head
from tacit.collect.dap.task import Task, from_base64, to_base64
from tacit.errors import CollectError

SEALED = HpkeCiphertext(7, b"e" * 32, b"p" * 40)
METADATA = ReportMetadata(bytes(16), NOW // 100)
REPORT = Report(METADATA, b"public", SEALED, SEALED)
TASKS = {(v, m): make_task(v, mode=m) for v in (18, 9) for m in BatchMode}
Read = Callable[[bytes], Any]
Write = Callable[[Any], bytes]


def selector_of(task: Task) -> Selector:
    if task.mode is BatchMode.LEADER_SELECTED:
        return Selector(task.mode, batch_id=b"b" * 32)
    return Selector(task.mode, Interval(NOW // 100 * 100, 100))


def messages(task: Task) -> dict[str, tuple[bytes, Read, Write]]:
    """For each message: a good one, its reader, and its writer."""
    p, selector = task.profile, selector_of(task)
    asked = Selector(task.mode, selector.interval)
    request = p.read_query(p.write_query(task, asked), task)
    batch = selector.batch_id
    inits = tuple(VerifyInit(ReportMetadata(bytes([i] * 16), 5), b"", SEALED, b"x") for i in (1, 2))
    responses = [
        VerifyResp(bytes(16), RespKind.CONTINUE, b"m"),
        VerifyResp(bytes(16), RespKind.REJECT, error=ReportError.REPORT_REPLAYED),
        VerifyResp(bytes(16), RespKind.FINISH),
    ]
    share = ShareRequest(request, selector, b"", 5, bytes(32))
    collection = Collection(None if p.posts else batch, 9, Interval(1, 2), SEALED, SEALED)
    found: dict[str, tuple[bytes, Read, Write]] = {
        "report": (p.write_report(REPORT), p.read_report, p.write_report),
        "upload": (
            p.write_upload([REPORT]),
            p.read_upload,
            lambda all_: b"".join(raw for _, raw in all_),
        ),
        "input share": (
            p.write_input_share(PlaintextInputShare((), b"share")),
            p.read_input_share,
            p.write_input_share,
        ),
        "job": (
            p.write_job(JobInit(b"", batch, inits)),
            lambda body: p.read_job(body, task),
            p.write_job,
        ),
        "responses": (p.write_responses(responses), p.read_responses, p.write_responses),
        "query": (
            p.write_query(task, asked),
            lambda body: p.read_query(body, task),
            lambda one: bytes(one.raw),
        ),
        "share request": (
            p.write_share_request(share),
            lambda body: p.read_share_request(body, task),
            p.write_share_request,
        ),
        "collection": (
            p.write_collection(collection, task),
            lambda body: p.read_collection(body, task),
            lambda one: p.write_collection(one, task),
        ),
        "share": (p.write_share(SEALED), p.read_share, p.write_share),
        "continue": (b"\0\x01" + b"\0\0\0\0" * (not p.posts), p.read_continue, lambda _: b""),
    }
    if p.posts:
        statuses = [UploadStatus(bytes(16), ReportError.TASK_EXPIRED)]
        found["upload errors"] = (
            p.write_upload_errors(statuses),
            p.read_upload_errors,
            p.write_upload_errors,
        )
    return found


CONFIG = HpkeConfig(1, 32, 1, 1, bytes(32))
ALL = {
    (f"draft {v}, {m.name.lower()}, {name}"): case
    for (v, m), task in TASKS.items()
    for name, case in messages(task).items()
} | {
    "configs": (
        encode(HPKE_CONFIGS, (CONFIG,)),
        lambda body: decode(HPKE_CONFIGS, body),
        lambda value: encode(HPKE_CONFIGS, value),
    ),
    "config": (
        encode(HPKE_CONFIG, CONFIG),
        lambda body: decode(HPKE_CONFIG, body),
        lambda value: encode(HPKE_CONFIG, value),
    ),
}
REFUSALS = ("T801", "T804", "T810", "T811")
LISTS = ("upload", "upload errors", "responses", "job")
NO_REWRITE = ("continue", "responses")  # draft 09 reads two error codes as one


@contextmanager
def bounded(size: int) -> Iterator[None]:
    """What runs within allocates at most a hundred times the input, and a little."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 100 * size + 200_000
    finally:
        tracemalloc.stop()


def read(case: tuple[bytes, Read, Write], body: bytes, name: str) -> None:
    with bounded(len(body)):
        try:
            value = case[1](body)
        except CollectError as error:
            assert error.code in REFUSALS  # noqa: PT017 - most bytes are refused, some are not
            return
    if not name.endswith(NO_REWRITE):
        assert case[2](value) == body


@pytest.mark.parametrize("name", ALL)
def test_the_good_message_is_read(name: str) -> None:
    body, reader, writer = ALL[name]
    if not name.endswith("continue"):
        assert writer(reader(body)) == body


@pytest.mark.parametrize("name", ALL)
def test_every_cut_and_any_more_is_refused(name: str) -> None:
    body, reader, _ = ALL[name]
    for bad in [body[:at] for at in range(len(body))] + [body + b"\0"]:
        if name.startswith("draft 18") and name.endswith(LISTS):
            # A list that goes on to the message's end may be cut between two of its items.
            read(ALL[name], bad, name)
            continue
        with pytest.raises(CollectError):
            reader(bad)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=examples(60))
@given(data=st.data())
def test_changed_messages(name: str, data: st.DataObject) -> None:
    read(ALL[name], changed(data, ALL[name][0]), name)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=examples(30))
@given(body=st.binary(max_size=300))
def test_any_bytes(name: str, body: bytes) -> None:
    read(ALL[name], body, name)


def test_a_long_list_of_nothing_is_refused_early() -> None:
    """Megabytes of the shortest possible reports: refused after 8192 of them, not after all."""
    least = METADATA_LEAST + b"\0\0\0\0" + 2 * (b"\0" + b"\0\x01x" + b"\0\0\0\x01x")
    profile = TASKS[18, BatchMode.TIME_INTERVAL].profile
    assert len(profile.read_upload(least * 8192)) == 8192
    body = least * 200_000
    tracemalloc.start()
    with pytest.raises(CollectError, match="more than 8192"):
        profile.read_upload(body)
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


METADATA_LEAST = bytes(16) + bytes(8) + b"\0\0"


@given(body=st.binary(max_size=40), kind=st.integers(0, 2))
def test_ping_pong(body: bytes, kind: int) -> None:
    try:
        part = read_ping_pong(kind, body)
    except CollectError as error:
        assert error.code == "T801"  # noqa: PT017
    else:
        assert bytes([kind]) + len(part).to_bytes(4, "big") + part == body


@given(text=st.text(max_size=60), raw=st.binary(min_size=16, max_size=16))
def test_base_64(text: str, raw: bytes) -> None:
    assert from_base64(to_base64(raw), 16) == raw
    with suppress(ValueError):
        assert to_base64(from_base64(text, 16)) == text


@given(body=st.binary(max_size=200), status=st.integers(400, 599))
def test_problem_documents(body: bytes, status: int) -> None:
    assert from_problem(status, body, "here").code == "T821"


def test_problem_documents_that_are_none() -> None:
    for body in (b"[]", b'"x"', b"[" * 100_000, b'{"type": 7}', b'{"type": "urn:other"}', b"null"):
        assert from_problem(400, body, "here").code == "T821"


@given(st.text(max_size=60))
def test_media_types(text: str) -> None:
    kind, _ = media_type(text)
    assert kind == kind.strip().lower()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = World(TASKS[18, BatchMode.TIME_INTERVAL], tmp_path_factory.mktemp("fuzz"))
    yield made
    made.stop()


PATHS = ["/tasks/{t}/reports", "/tasks/{t}/collection_jobs", "/tasks/{t}/collection_jobs/{j}"]
PATHS += ["/tasks/{t}/aggregation_jobs", "/tasks/{t}/aggregation_jobs/{j}", "/hpke_config"]
PATHS += ["/tasks/{t}/aggregate_shares", "/tasks/{t}/aggregate_shares/{j}", "/health", "/{j}"]
KINDS = ["upload-req", "aggregation-job-init-req", "aggregation-job-continue-req"]
KINDS += ["aggregate-share-req", "collection-job-req", "nothing"]


@settings(max_examples=examples(150), suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_request(world: World, data: st.DataObject) -> None:
    """Whatever is asked, the answer is a success or a client error: never a failure of ours."""
    path = data.draw(st.sampled_from(PATHS) | st.text(max_size=40))
    names = {"{t}": world.task.name, "{j}": to_base64(RANDOM.bytes(16))}
    for key, value in names.items():
        path = path.replace(key, data.draw(st.just(value) | st.text(max_size=10)))
    token = data.draw(st.sampled_from([world.peer_token, world.collector_token]))
    kind = data.draw(st.sampled_from(KINDS))
    headers = {"content-type": f"application/ppm-dap;message={kind}", **token.headers()}
    method = data.draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]))
    good = [case[0] for case in messages(world.task).values()]
    body = data.draw(st.sampled_from(good) | st.binary(max_size=100))
    query = data.draw(st.sampled_from(["", "step=0", "step=9", "task_id=x"]) | st.text(max_size=9))
    for service in world.network.services.values():
        response = service.handle(Head(method, path, headers, query), body)
        assert 200 <= response.status < 500, response.body


@pytest.mark.parametrize("inner", [b"", b"\0", b"\0\0", b"\0\3ab", b"\1", b"\0\2ab\0"])
def test_a_field_that_is_cut_short_takes_nothing_of_what_follows(inner: bytes) -> None:
    """The list ends within its last item; the bytes behind it would complete that."""
    codec = Items(Opaque(2, 1), prefix=2, most=9)
    reader = Reader(len(inner).to_bytes(2, "big") + inner + b"\0\1\0\1" * 8)
    if not inner:
        assert codec.read(reader) == ()
        return
    with pytest.raises(CollectError, match="T801"):
        codec.read(reader)
