"""The messages of draft-ietf-ppm-dap-09, in bytes: for clients that speak no later one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tacit.collect.dap.codec import (
    U16,
    U64,
    Fixed,
    Items,
    Number,
    Opaque,
    Reader,
    Struct,
    decode,
    encode,
)
from tacit.collect.dap.errors import ReportError, malformed
from tacit.collect.dap.messages import (
    BATCH_ID,
    BATCH_MODE,
    CHECKSUM_BYTES,
    CIPHERTEXT,
    EXTENSIONS,
    INTERVAL,
    MOST_REPORTS,
    REPORT_ID,
    BatchMode,
    Collection,
    CollectionRequest,
    Continue,
    ErrorCode,
    HpkeCiphertext,
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

if TYPE_CHECKING:
    from tacit.collect.dap.task import Task

_ERRORS: Final[Mapping[ReportError, int]] = {
    ReportError.BATCH_COLLECTED: 0,
    ReportError.REPORT_REPLAYED: 1,
    ReportError.REPORT_DROPPED: 2,
    ReportError.HPKE_UNKNOWN_CONFIG_ID: 3,
    ReportError.HPKE_DECRYPT_ERROR: 4,
    ReportError.VDAF_VERIFY_ERROR: 5,
    ReportError.TASK_EXPIRED: 7,
    ReportError.INVALID_MESSAGE: 8,
    ReportError.REPORT_TOO_EARLY: 9,
    # Draft 09 knows no start of a task.
    ReportError.TASK_NOT_STARTED: 2,
    ReportError.OUTDATED_CONFIG: 3,
}
_SATURATED: Final = 6  # a batch with a greatest size, which no task here has
_READ: Final = {
    **{code: error for error, code in reversed(list(_ERRORS.items()))},
    _SATURATED: ReportError.REPORT_DROPPED,
}
_CURRENT_BATCH: Final = 1  # by_batch_id, 0, would collect a batch a second time


class _Metadata:
    """`ReportMetadata`: an id and a time in seconds."""

    def write(self, out: bytearray, value: ReportMetadata) -> None:
        if value.extensions:
            raise malformed("draft 09 has no public extensions")
        REPORT_ID.write(out, value.id)
        U64.write(out, value.time)

    def read(self, reader: Reader) -> ReportMetadata:
        return ReportMetadata(REPORT_ID.read(reader), U64.read(reader))


class _SelectorCodec:
    """`BatchSelector`: a mode, and an interval or a batch id."""

    def write(self, out: bytearray, value: Selector) -> None:
        out.append(value.mode)
        if value.interval is not None:
            INTERVAL.write(out, value.interval)
        else:
            assert value.batch_id is not None
            BATCH_ID.write(out, value.batch_id)

    def read(self, reader: Reader) -> Selector:
        mode = BatchMode(BATCH_MODE.read(reader))
        if mode is BatchMode.TIME_INTERVAL:
            return Selector(mode, interval=INTERVAL.read(reader))
        return Selector(mode, batch_id=BATCH_ID.read(reader))


class _Partial:
    """`PartialBatchSelector`: the batch id in the fixed-size mode, nothing otherwise."""

    def write(self, out: bytearray, value: bytes | None) -> None:
        out.append(BatchMode.LEADER_SELECTED if value is not None else BatchMode.TIME_INTERVAL)
        if value is not None:
            BATCH_ID.write(out, value)

    def read(self, reader: Reader) -> bytes | None:
        if BATCH_MODE.read(reader) == BatchMode.TIME_INTERVAL:
            return None
        return BATCH_ID.read(reader)


@dataclass(frozen=True, slots=True)
class _JobInitReq:
    agg_param: bytes
    batch_id: bytes | None
    inits: tuple[VerifyInit, ...]


@dataclass(frozen=True, slots=True)
class _ShareReq:
    selector: Selector
    agg_param: bytes
    report_count: int
    checksum: bytes


_BYTES = Opaque(4)
_METADATA = _Metadata()
_SELECTOR = _SelectorCodec()
_REPORT = Struct(
    Report, metadata=_METADATA, public_share=_BYTES, leader=CIPHERTEXT, helper=CIPHERTEXT
)
_INPUT = Struct(PlaintextInputShare, extensions=EXTENSIONS, payload=_BYTES)
_INIT = Struct(
    VerifyInit, metadata=_METADATA, public_share=_BYTES, encrypted=CIPHERTEXT, payload=_BYTES
)
_JOB = Struct(
    _JobInitReq,
    agg_param=_BYTES,
    batch_id=_Partial(),
    inits=Items(_INIT, prefix=4, least=1, most=MOST_REPORTS),
)
_CONTINUES = Items(
    Struct(Continue, id=REPORT_ID, payload=_BYTES), prefix=4, least=1, most=MOST_REPORTS
)
_JOB_CONTINUE = Struct(JobContinue, step=U16, continues=_CONTINUES)
_RESPONSES = Items(
    Response(_BYTES, ErrorCode(_ERRORS, _READ)), prefix=4, least=1, most=MOST_REPORTS
)
_SHARE_REQ = Struct(
    _ShareReq,
    selector=_SELECTOR,
    agg_param=_BYTES,
    report_count=U64,
    checksum=Fixed(CHECKSUM_BYTES),
)
_MEDIA: Final = {
    "hpke-config-list": "application/dap-hpke-config-list",
    "upload-req": "application/dap-report",
    "aggregation-job-init-req": "application/dap-aggregation-job-init-req",
    "aggregation-job-resp": "application/dap-aggregation-job-resp",
    "aggregation-job-continue-req": "application/dap-aggregation-job-continue-req",
    "aggregate-share-req": "application/dap-aggregate-share-req",
    "aggregate-share": "application/dap-aggregate-share",
    "collection-job-req": "application/dap-collect-req",
    "collection-job-resp": "application/dap-collection",
}


class Draft09:
    """See `profile.Profile`."""

    version, vdaf, label, posts = 9, 8, b"dap-09", False
    media: Mapping[str, str] = _MEDIA

    def context(self, task_id: bytes) -> bytes:
        return b""

    def bucket(self, time: int, precision: int) -> int:
        return time // precision

    def time(self, bucket: int, precision: int) -> int:
        return bucket * precision

    def write_upload(self, reports: Sequence[Report]) -> bytes:
        if len(reports) != 1:
            raise malformed("draft 09 uploads one report at a time")
        return encode(_REPORT, reports[0])

    def read_upload(self, body: bytes) -> list[tuple[Report, bytes]]:
        return [(decode(_REPORT, body), body)]

    def write_upload_errors(self, statuses: Sequence[UploadStatus]) -> bytes:
        raise malformed("draft 09 has no upload errors")

    def read_upload_errors(self, body: bytes) -> tuple[UploadStatus, ...]:
        if body:
            raise malformed("draft 09 has no upload errors")
        return ()

    def write_report(self, report: Report) -> bytes:
        return encode(_REPORT, report)

    def read_report(self, body: bytes) -> Report:
        return decode(_REPORT, body)

    def write_input_share(self, share: PlaintextInputShare) -> bytes:
        return encode(_INPUT, share)

    def read_input_share(self, body: bytes) -> PlaintextInputShare:
        return decode(_INPUT, body)

    def write_job(self, job: JobInit) -> bytes:
        return encode(_JOB, _JobInitReq(job.agg_param, job.batch_id, job.inits))

    def read_job(self, body: bytes, task: Task) -> JobInit:
        job = decode(_JOB, body)
        if (job.batch_id is not None) != (task.mode is BatchMode.LEADER_SELECTED):
            raise malformed(f"the task's query type is {task.mode.name.lower()}")
        return JobInit(job.agg_param, job.batch_id, job.inits)

    def read_continue(self, body: bytes) -> JobContinue:
        return decode(_JOB_CONTINUE, body)

    def write_responses(self, responses: Sequence[VerifyResp]) -> bytes:
        return encode(_RESPONSES, tuple(responses))

    def read_responses(self, body: bytes) -> tuple[VerifyResp, ...]:
        return decode(_RESPONSES, body)

    def write_query(self, task: Task, selector: Selector) -> bytes:
        out = bytearray((selector.mode,))
        if selector.interval is not None:
            INTERVAL.write(out, selector.interval)
        else:
            out.append(_CURRENT_BATCH)
        _BYTES.write(out, b"")
        return bytes(out)

    def read_query(self, body: bytes, task: Task) -> CollectionRequest:
        reader = Reader(body)
        mode, interval = BatchMode(BATCH_MODE.read(reader)), None
        if mode is BatchMode.TIME_INTERVAL:
            interval = INTERVAL.read(reader)
        else:
            Number(1, (_CURRENT_BATCH,)).read(reader)
        agg_param = _BYTES.read(reader)
        if reader.at != reader.end or mode is not task.mode:
            raise malformed("this is no query of the task's type")
        return CollectionRequest(mode, interval, agg_param, body)

    def write_share_request(self, request: ShareRequest) -> bytes:
        return encode(
            _SHARE_REQ,
            _ShareReq(request.selector, request.agg_param, request.report_count, request.checksum),
        )

    def read_share_request(self, body: bytes, task: Task) -> ShareRequest:
        found = decode(_SHARE_REQ, body)
        if found.selector.mode is not task.mode:
            raise malformed(f"the task's query type is {task.mode.name.lower()}")
        return ShareRequest(
            None, found.selector, found.agg_param, found.report_count, found.checksum
        )

    def write_collection(self, collection: Collection, task: Task) -> bytes:
        out = bytearray()
        _Partial().write(out, collection.batch_id)
        U64.write(out, collection.report_count)
        INTERVAL.write(out, collection.interval)
        CIPHERTEXT.write(out, collection.leader)
        CIPHERTEXT.write(out, collection.helper)
        return bytes(out)

    def read_collection(self, body: bytes, task: Task) -> Collection:
        reader = Reader(body)
        found = Collection(
            _Partial().read(reader),
            U64.read(reader),
            INTERVAL.read(reader),
            CIPHERTEXT.read(reader),
            CIPHERTEXT.read(reader),
        )
        if reader.at != reader.end:
            raise malformed("a message has bytes too many")
        if (found.batch_id is not None) != (task.mode is BatchMode.LEADER_SELECTED):
            raise malformed("the collection is of another query type")
        return found

    def write_share(self, share: HpkeCiphertext) -> bytes:
        return encode(CIPHERTEXT, share)

    def read_share(self, body: bytes) -> HpkeCiphertext:
        return decode(CIPHERTEXT, body)

    def input_share_aad(self, task: Task, metadata: ReportMetadata, public_share: bytes) -> bytes:
        out = bytearray(task.id)
        _METADATA.write(out, metadata)
        _BYTES.write(out, public_share)
        return bytes(out)

    def agg_share_aad(
        self, task: Task, request: CollectionRequest | None, selector: Selector, agg_param: bytes
    ) -> bytes:
        out = bytearray(task.id)
        _BYTES.write(out, agg_param)
        _SELECTOR.write(out, selector)
        return bytes(out)


PROFILE = Draft09()
