"""The messages of draft-ietf-ppm-dap-18, in bytes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tacit.collect.dap.codec import (
    U8,
    U16,
    U64,
    Fixed,
    Items,
    Number,
    Opaque,
    Reader,
    Struct,
    decode,
    decode_each,
    encode,
)
from tacit.collect.dap.errors import ReportError, malformed, refuse
from tacit.collect.dap.messages import (
    BATCH_ID,
    BATCH_MODE,
    CHECKSUM_BYTES,
    CIPHERTEXT,
    EXTENSION,
    EXTENSIONS,
    INTERVAL,
    MOST_REPORTS,
    REPORT_ID,
    REPORT_ID_BYTES,
    TASK_ID_BYTES,
    BatchMode,
    Collection,
    CollectionRequest,
    Continue,
    ErrorCode,
    Extension,
    HpkeCiphertext,
    Interval,
    JobContinue,
    JobInit,
    PlaintextInputShare,
    Report,
    ReportMetadata,
    Response,
    Selector,
    ShareRequest,
    UploadStatus,
    VerifyInit,
    VerifyResp,
)
from tacit.errors import CollectError

if TYPE_CHECKING:
    from tacit.collect.dap.task import Task

LEADER_SELECTED_BATCH_ID: Final = 1  # an aggregation job extension


@dataclass(frozen=True, slots=True)
class _Config:
    """`Query` and `BatchSelector`: a batch mode with its own configuration."""

    mode: int
    config: bytes


@dataclass(frozen=True, slots=True)
class _CollectionJobReq:
    query: _Config
    agg_param: bytes
    extensions: tuple[Extension, ...]


@dataclass(frozen=True, slots=True)
class _JobInitReq:
    key_id: int
    agg_param: bytes
    extensions: tuple[Extension, ...]
    inits: tuple[VerifyInit, ...]


@dataclass(frozen=True, slots=True)
class _CollectionJobResp:
    report_count: int
    interval: Interval
    leader: HpkeCiphertext
    helper: HpkeCiphertext


_PAYLOAD, _SHARE = Opaque(4, 1), Opaque(4)
_ERROR = ErrorCode({one: one for one in ReportError}, {int(one): one for one in ReportError})


class _Metadata(Struct[ReportMetadata]):
    """`ReportMetadata`, which mostly has no extensions: that is read, and written, in one go."""

    def write(self, out: bytearray, value: ReportMetadata) -> None:
        if value.extensions or len(value.id) != REPORT_ID_BYTES:
            super().write(out, value)
            return
        out += value.id
        U64.write(out, value.time)
        out += b"\0\0"

    def read(self, reader: Reader) -> ReportMetadata:
        data, at = reader.data, reader.at
        time = at + REPORT_ID_BYTES
        after = time + 8
        stop = after + 2
        if stop > reader.end or data[after:stop] != b"\0\0":
            return super().read(reader)
        reader.at = stop
        return ReportMetadata(data[at:time], int.from_bytes(data[time:after], "big"))


METADATA = _Metadata(ReportMetadata, id=REPORT_ID, time=U64, extensions=EXTENSIONS)
REPORT = Struct(
    Report, metadata=METADATA, public_share=_SHARE, leader=CIPHERTEXT, helper=CIPHERTEXT
)
_UPLOAD = Items(REPORT, most=MOST_REPORTS)
_STATUSES = Items(Struct(UploadStatus, id=REPORT_ID, error=_ERROR), most=MOST_REPORTS)
_INPUT = Struct(PlaintextInputShare, extensions=EXTENSIONS, payload=Opaque(4, 1))
_INIT = Struct(
    VerifyInit, metadata=METADATA, public_share=_SHARE, encrypted=CIPHERTEXT, payload=_PAYLOAD
)
_JOB = Struct(
    _JobInitReq,
    key_id=U8,
    agg_param=_SHARE,
    extensions=EXTENSIONS,
    inits=Items(_INIT, most=MOST_REPORTS),
)
_CONTINUES = Items(Struct(Continue, id=REPORT_ID, payload=_PAYLOAD), most=MOST_REPORTS)
_JOB_CONTINUE = Struct(JobContinue, step=U16, continues=_CONTINUES)
_RESPONSES = Items(Response(_PAYLOAD, _ERROR), most=MOST_REPORTS)
_CONFIG = Struct(_Config, mode=BATCH_MODE, config=Opaque(2))
_QUERY = Struct(_CollectionJobReq, query=_CONFIG, agg_param=_SHARE, extensions=EXTENSIONS)
_COLLECTION = Struct(
    _CollectionJobResp, report_count=U64, interval=INTERVAL, leader=CIPHERTEXT, helper=CIPHERTEXT
)
_CHECKSUM = Fixed(CHECKSUM_BYTES)
_TASK_ID = Fixed(TASK_ID_BYTES)


class Draft18:
    """See `profile.Profile`."""

    version, vdaf, label, posts = 18, 18, b"dap-18", True
    media: Mapping[str, str] = {
        name: f"application/ppm-dap;message={name}"
        for name in (
            "hpke-config-list",
            "upload-req",
            "upload-errors",
            "aggregation-job-init-req",
            "aggregation-job-resp",
            "aggregation-job-continue-req",
            "aggregate-share-req",
            "aggregate-share",
            "collection-job-req",
            "collection-job-resp",
        )
    }

    def context(self, task_id: bytes) -> bytes:
        return self.label + task_id

    def bucket(self, time: int, precision: int) -> int:
        return time

    def time(self, bucket: int, precision: int) -> int:
        return bucket

    def write_upload(self, reports: Sequence[Report]) -> bytes:
        return encode(_UPLOAD, tuple(reports))

    def read_upload(self, body: bytes) -> list[tuple[Report, bytes]]:
        return decode_each(REPORT, body, MOST_REPORTS)

    def write_upload_errors(self, statuses: Sequence[UploadStatus]) -> bytes:
        return encode(_STATUSES, tuple(statuses))

    def read_upload_errors(self, body: bytes) -> tuple[UploadStatus, ...]:
        return decode(_STATUSES, body)

    def write_report(self, report: Report) -> bytes:
        return encode(REPORT, report)

    def read_report(self, body: bytes) -> Report:
        return decode(REPORT, body)

    def write_input_share(self, share: PlaintextInputShare) -> bytes:
        return encode(_INPUT, share)

    def read_input_share(self, body: bytes) -> PlaintextInputShare:
        return decode(_INPUT, body)

    def write_job(self, job: JobInit) -> bytes:
        extensions: tuple[Extension, ...] = ()
        if job.batch_id is not None:
            extensions = (Extension(LEADER_SELECTED_BATCH_ID, job.batch_id),)
        return encode(_JOB, _JobInitReq(job.key_id, job.agg_param, extensions, job.inits))

    def read_job(self, body: bytes, task: Task) -> JobInit:
        """Also raises T810 for an extension that is not known."""
        job = decode(_JOB, body)
        check_order(job.extensions, "T801")
        leader_selected = task.mode is BatchMode.LEADER_SELECTED
        known = (LEADER_SELECTED_BATCH_ID,) if leader_selected else ()
        check_known(job.extensions, known)
        batch_id = None
        if leader_selected:
            if not job.extensions:
                raise malformed("the job does not say to which batch its reports belong")
            batch_id = decode(BATCH_ID, job.extensions[0].data)
        return JobInit(job.agg_param, batch_id, job.inits, job.key_id)

    def read_continue(self, body: bytes) -> JobContinue:
        return decode(_JOB_CONTINUE, body)

    def write_responses(self, responses: Sequence[VerifyResp]) -> bytes:
        return encode(_RESPONSES, tuple(responses))

    def read_responses(self, body: bytes) -> tuple[VerifyResp, ...]:
        return decode(_RESPONSES, body)

    def write_query(self, task: Task, selector: Selector) -> bytes:
        config = encode(INTERVAL, selector.interval) if selector.interval else b""
        return encode(_QUERY, _CollectionJobReq(_Config(selector.mode, config), b"", ()))

    def read_query(self, body: bytes, task: Task) -> CollectionRequest:
        """Also raises T810 and T811 for extensions."""
        return _request(decode(_QUERY, body), body, task)

    def write_share_request(self, request: ShareRequest) -> bytes:
        assert request.request is not None
        out = bytearray(request.request.raw)
        _CONFIG.write(out, _selector(request.selector))
        U64.write(out, request.report_count)
        _CHECKSUM.write(out, request.checksum)
        return bytes(out)

    def read_share_request(self, body: bytes, task: Task) -> ShareRequest:
        """Also raises T810 and T811 for extensions, T804 for a selector outside the query."""
        reader = Reader(body)
        query = _QUERY.read(reader)
        raw = reader.since(0)
        config = _CONFIG.read(reader)
        count, checksum = U64.read(reader), _CHECKSUM.read(reader)
        if reader.at != reader.end:
            raise malformed("a message has bytes too many")
        request = _request(query, raw, task)
        _check_mode(config.mode, task)
        if task.mode is BatchMode.LEADER_SELECTED:
            selector = Selector(task.mode, batch_id=decode(BATCH_ID, config.config))
        else:
            selector = Selector(task.mode, interval=decode(INTERVAL, config.config))
            _check_within(selector.interval, request.interval)
        return ShareRequest(request, selector, request.agg_param, count, checksum)

    def write_collection(self, collection: Collection, task: Task) -> bytes:
        return encode(
            _COLLECTION,
            _CollectionJobResp(
                collection.report_count, collection.interval, collection.leader, collection.helper
            ),
        )

    def read_collection(self, body: bytes, task: Task) -> Collection:
        found = decode(_COLLECTION, body)
        return Collection(None, found.report_count, found.interval, found.leader, found.helper)

    def write_share(self, share: HpkeCiphertext) -> bytes:
        return encode(CIPHERTEXT, share)

    def read_share(self, body: bytes) -> HpkeCiphertext:
        return decode(CIPHERTEXT, body)

    def input_share_aad(self, task: Task, metadata: ReportMetadata, public_share: bytes) -> bytes:
        out = bytearray(task.id + task.configuration)
        METADATA.write(out, metadata)
        _SHARE.write(out, public_share)
        return bytes(out)

    def agg_share_aad(
        self, task: Task, request: CollectionRequest | None, selector: Selector, agg_param: bytes
    ) -> bytes:
        assert request is not None
        return task.id + task.configuration + request.raw


def check_order(extensions: Sequence[Extension], code: str) -> None:
    """Raises CollectError of that code unless types are strictly increasing."""
    kinds = [extension.kind for extension in extensions]
    if any(second <= first for first, second in itertools.pairwise(kinds)):
        raise refuse(code, "extensions are not in strictly increasing order", "sort them by type")


def check_known(extensions: Sequence[Extension], known: Sequence[int]) -> None:
    """Raises CollectError T810, whose path lists the types that are not known."""
    unknown = [str(extension.kind) for extension in extensions if extension.kind not in known]
    if unknown:
        raise CollectError(
            f"extensions of the types {', '.join(unknown)} are not known here",
            code="T810",
            fix="leave them out: extensions are mandatory to support",
            path=unknown,
        )


def _request(query: _CollectionJobReq, raw: bytes, task: Task) -> CollectionRequest:
    _check_mode(query.query.mode, task)
    interval = None
    if task.mode is BatchMode.TIME_INTERVAL:
        interval = decode(INTERVAL, query.query.config)
    elif query.query.config:
        raise malformed("a leader-selected query has no configuration")
    check_order(query.extensions, "T811")
    check_known(query.extensions, ())
    return CollectionRequest(task.mode, interval, query.agg_param, raw)


def _selector(selector: Selector) -> _Config:
    if selector.interval is not None:
        return _Config(selector.mode, encode(INTERVAL, selector.interval))
    assert selector.batch_id is not None
    return _Config(selector.mode, selector.batch_id)


def _check_mode(mode: int, task: Task) -> None:
    if mode != task.mode:
        raise malformed(f"the task's batch mode is {task.mode.name.lower()}")


def _check_within(inner: Interval | None, outer: Interval | None) -> None:
    assert inner is not None
    assert outer is not None
    if inner.start < outer.start or inner.end > outer.end:
        raise refuse(
            "T804", "the batch is not within the collector's query", "ask for what was queried"
        )


def write_task_configuration(task: Task) -> bytes:
    """`TaskConfiguration` (§ Task Configuration), for `Task.configuration`."""
    out = bytearray()
    Opaque(1, 1).write(out, task.info)
    for url in (task.leader, task.helper):
        Opaque(2, 1).write(out, url.encode("ascii"))
    U64.write(out, task.time_precision)
    U64.write(out, task.min_batch_size)
    out.append(task.mode)
    Opaque(2).write(out, b"")
    Number(4).write(out, task.vdaf.algorithm)
    Opaque(2).write(out, task.vdaf.configuration)
    extensions: tuple[Extension, ...] = ()
    if task.interval is not None:
        extensions = (Extension(_TASK_INTERVAL, encode(INTERVAL, task.interval)),)
    Items(EXTENSION, prefix=2, most=1).write(out, extensions)
    return bytes(out)


_TASK_INTERVAL: Final = 1  # a task extension
PROFILE = Draft18()
