"""What differs between the drafts that are spoken: messages in bytes, and how resources are used.

Draft 18 is the standard as it is. Draft 09 is for older clients, such as the npm package
`@divviup/dap`. Everything else in this folder works with either and asks no version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol

from tacit.collect.dap.errors import refuse
from tacit.collect.dap.messages import (
    Collection,
    CollectionRequest,
    HpkeCiphertext,
    JobContinue,
    JobInit,
    PlaintextInputShare,
    Report,
    ReportMetadata,
    Role,
    Selector,
    ShareRequest,
    UploadStatus,
    VerifyResp,
)

if TYPE_CHECKING:
    from tacit.collect.dap.task import Task


class Profile(Protocol):
    """One draft. Every `read_` raises CollectError T801 for what is not its message; `read_upload`
    gives each report with its own bytes.

    `vdaf`: the VDAF wire version that goes with it. `label`: the beginning of its domain
    separation tags. `media`: media types by message. `posts`: resources are created by POST, and
    the server names them; otherwise by PUT, and the client does.
    """

    version: int
    vdaf: int
    label: bytes
    media: Mapping[str, str]
    posts: bool

    def context(self, task_id: bytes) -> bytes:
        """The application context of the VDAF."""
        ...

    def bucket(self, time: int, precision: int) -> int:
        """A time on the wire as a count of whole time precisions."""
        ...

    def time(self, bucket: int, precision: int) -> int:
        """A count of time precisions as a time on the wire."""
        ...

    def write_upload(self, reports: Sequence[Report]) -> bytes: ...
    def read_upload(self, body: bytes) -> list[tuple[Report, bytes]]: ...
    def write_upload_errors(self, statuses: Sequence[UploadStatus]) -> bytes: ...
    def read_upload_errors(self, body: bytes) -> tuple[UploadStatus, ...]: ...
    def write_report(self, report: Report) -> bytes: ...
    def read_report(self, body: bytes) -> Report: ...
    def write_input_share(self, share: PlaintextInputShare) -> bytes: ...
    def read_input_share(self, body: bytes) -> PlaintextInputShare: ...
    def write_job(self, job: JobInit) -> bytes: ...
    def read_job(self, body: bytes, task: Task) -> JobInit: ...
    def read_continue(self, body: bytes) -> JobContinue: ...
    def write_responses(self, responses: Sequence[VerifyResp]) -> bytes: ...
    def read_responses(self, body: bytes) -> tuple[VerifyResp, ...]: ...
    def write_query(self, task: Task, selector: Selector) -> bytes: ...
    def read_query(self, body: bytes, task: Task) -> CollectionRequest: ...
    def write_share_request(self, request: ShareRequest) -> bytes: ...
    def read_share_request(self, body: bytes, task: Task) -> ShareRequest: ...
    def write_collection(self, collection: Collection, task: Task) -> bytes: ...
    def read_collection(self, body: bytes, task: Task) -> Collection: ...
    def write_share(self, share: HpkeCiphertext) -> bytes: ...
    def read_share(self, body: bytes) -> HpkeCiphertext: ...

    def input_share_aad(self, task: Task, metadata: ReportMetadata, public_share: bytes) -> bytes:
        """The associated data of a sealed input share."""
        ...

    def agg_share_aad(
        self, task: Task, request: CollectionRequest | None, selector: Selector, agg_param: bytes
    ) -> bytes:
        """The associated data of a sealed aggregate share."""
        ...


_PROFILES: Final = {18: "tacit.collect.dap.draft18", 9: "tacit.collect.dap.draft09"}


def profile(version: int) -> Profile:
    """The profile of a draft. Raises CollectError T822 for one that is not spoken here."""
    if version not in _PROFILES:
        raise refuse(
            "T822",
            f"draft {version} of DAP is not spoken here",
            f"use one of: {', '.join(map(str, _PROFILES))}",
        )
    found: Profile = import_module(_PROFILES[version]).PROFILE
    return found


def input_share_info(label: bytes, receiver: Role) -> bytes:
    """HPKE's info of an input share (§ Upload Request)."""
    return label + b" input share" + bytes((Role.CLIENT, receiver))


def agg_share_info(label: bytes, sender: Role) -> bytes:
    """HPKE's info of an aggregate share (§ Aggregate Share Encryption)."""
    return label + b" aggregate share" + bytes((sender, Role.COLLECTOR))
