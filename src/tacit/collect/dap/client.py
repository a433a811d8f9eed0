"""The client: it shards a measurement, seals the shares, and uploads them (§ Client Behavior)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tacit.collect.dap.codec import decode
from tacit.collect.dap.errors import ReportError, refuse
from tacit.collect.dap.messages import (
    HPKE_CONFIGS,
    REPORT_ID_BYTES,
    HpkeConfig,
    Report,
    ReportMetadata,
    Role,
    UploadStatus,
)
from tacit.collect.dap.peer import Peer, Response, ask, check_media, retried
from tacit.collect.dap.sealing import choose, seal_share
from tacit.collect.dap.task import Task
from tacit.errors import CollectError
from tacit.privacy.randomness import Randomness, system

_DAY: Final = 86_400.0


class Client:
    """Reports of one task. It keeps the aggregators' HPKE configurations for as long as each says
    that they may be kept, or until the leader calls one outdated.

    `clock` gives seconds since the epoch; reports carry it cut down to the task's time precision,
    so that it links nobody. Raises nothing of its own; see the methods.
    """

    def __init__(
        self,
        task: Task,
        peer: Peer,
        *,
        randomness: Randomness | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._task, self._peer = task, peer
        self._randomness, self._clock = randomness or system(), clock
        self._prio3 = task.vdaf.prio3
        self._configs: dict[str, _Kept] = {}

    def configs(self) -> tuple[HpkeConfig, HpkeConfig]:
        """The leader's and the helper's configuration; fetched when it is not kept, or no longer.

        The helper refuses what is sealed to a key that it gave up, and no client hears of it: so a
        configuration is never kept past its time. Raises CollectError T820, T821, T823.
        """
        return self._config(self._task.leader), self._config(self._task.helper)

    def report(self, measurement: Any, *, at: float | None = None) -> Report:
        """One report. Raises PrivacyError T551 for a measurement out of range, and as `configs`."""
        nonce = self._randomness.bytes(REPORT_ID_BYTES)
        rand = self._randomness.bytes(self._prio3.rand_bytes)
        context = self._task.profile.context(self._task.id)
        public, shares = self._prio3.shard(context, measurement, nonce, rand)
        return self._seal(nonce, public, shares, self.configs(), at)

    def reports(self, measurements: Sequence[Any], *, at: float | None = None) -> list[Report]:
        """Many reports at once, in compiled code: for whoever uploads for many, and for tests."""
        from tacit.privacy.prio3.batch import Batch

        nonces = [self._randomness.bytes(REPORT_ID_BYTES) for _ in measurements]
        rands = [self._randomness.bytes(self._prio3.rand_bytes) for _ in measurements]
        context = self._task.profile.context(self._task.id)
        sharded = Batch(self._prio3).shard(context, measurements, nonces, rands)
        configs = self.configs()
        return [
            self._seal(nonce, *one, configs, at) for nonce, one in zip(nonces, sharded, strict=True)
        ]

    def upload(self, reports: Sequence[Report]) -> list[UploadStatus]:
        """Upload reports: those that the leader did not take, and why.

        A retry after a lost answer may say that a report was replayed: then it had arrived. Raises
        CollectError T801 to T823 for a leader that refuses, or is not there.
        """
        profile, task = self._task.profile, self._task
        groups = [list(reports)] if profile.posts else [[report] for report in reports]
        refused: list[UploadStatus] = []
        for group in groups:
            body = profile.write_upload(group)

            def send(body: bytes = body) -> list[UploadStatus]:
                response = ask(
                    self._peer,
                    "POST" if profile.posts else "PUT",
                    task.url(task.leader, "reports"),
                    body=body,
                    media=profile.media["upload-req"],
                )
                if response.body:
                    check_media(response, profile.media["upload-errors"])
                return list(profile.read_upload_errors(response.body))

            refused += retried(send)
        return refused

    def send(self, measurement: Any) -> None:
        """Report one measurement, once. If the leader's key was outdated, with a new one.

        Raises CollectError T816 when the leader refuses the report, and what `report` and `upload`
        raise.
        """
        for attempt in (1, 2):
            error = self._send(measurement)
            if error is None:
                return
            if error is ReportError.OUTDATED_CONFIG and attempt == 1:
                self._configs.clear()
                continue
            raise refuse(
                "T816",
                f"the leader refuses the report: {error.name.lower()}",
                "check the clock and the task's times; a replay needs no mending",
            )

    def _send(self, measurement: Any) -> ReportError | None:
        try:
            statuses = self.upload([self.report(measurement)])
        except CollectError as error:
            if error.code == "T815":
                return ReportError.OUTDATED_CONFIG
            raise
        return statuses[0].error if statuses else None

    def _config(self, url: str) -> HpkeConfig:
        now, held = self._clock(), self._configs.get(url)
        # A clock that was put back says nothing about how long it was kept.
        if held is None or not held.since <= now < held.until:
            config, seconds = fetch_config(self._task, self._peer, url)
            held = self._configs[url] = _Kept(config, now, now + seconds)
        return held.config

    def _seal(
        self,
        nonce: bytes,
        public: bytes,
        shares: Sequence[bytes],
        configs: Sequence[HpkeConfig],
        at: float | None,
    ) -> Report:
        task = self._task
        bucket = int(self._clock() if at is None else at) // task.time_precision
        metadata = ReportMetadata(nonce, task.profile.time(bucket, task.time_precision))
        leader, helper = (
            seal_share(task, role, config, metadata, public, share, self._randomness)
            for role, config, share in zip((Role.LEADER, Role.HELPER), configs, shares, strict=True)
        )
        return Report(metadata, public, leader, helper)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A configuration, and the seconds from and until which it may be used."""

    config: HpkeConfig
    since: float
    until: float


def fetch_config(task: Task, peer: Peer, url: str) -> tuple[HpkeConfig, float]:
    """An aggregator's configuration (§ HPKE Configuration Request), and for how many seconds it may
    be kept."""
    where = url.rstrip("/") + "/hpke_config"
    if not task.profile.posts:
        where += f"?task_id={task.name}"
    response = retried(lambda: ask(peer, "GET", where))
    check_media(response, task.profile.media["hpke-config-list"])
    return choose(decode(HPKE_CONFIGS, response.body)), lifetime(response)


def lifetime(response: Response) -> float:
    """For how many seconds an answer may be kept (RFC 9111, sections 4.2 and 5.2.2): a day where it
    does not say."""
    said = [part.strip().lower() for part in response.headers.get("cache-control", "").split(",")]
    if "no-store" in said or "no-cache" in said:
        return 0.0
    ages = [part.removeprefix("max-age=").strip('"') for part in said if part[:8] == "max-age="]
    most = min((_seconds(age) for age in ages), default=_DAY)
    return max(0.0, most - _seconds(response.headers.get("age", "0")))


def _seconds(text: str) -> float:
    """Delta-seconds; what is none counts as none."""
    return float(text) if text.isdecimal() and len(text) < 12 else 0.0
