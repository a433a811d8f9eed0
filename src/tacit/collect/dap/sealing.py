"""Input shares between client and aggregator: sealed, opened, and checked (§ Input Share
Decryption, § Input Share Validation)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tacit.collect.dap.errors import ReportError, refuse
from tacit.collect.dap.messages import (
    Extension,
    HpkeCiphertext,
    HpkeConfig,
    PlaintextInputShare,
    ReportMetadata,
    Role,
)
from tacit.collect.dap.profile import input_share_info
from tacit.collect.dap.task import Task
from tacit.errors import CollectError, SecurityError
from tacit.privacy import hpke
from tacit.privacy.hpke import PrivateKey, Recipient, Suite
from tacit.privacy.randomness import Randomness

SKEW: Final = 300
"""Seconds that a report may lie ahead of an aggregator's clock: "a few minutes"."""

Share = tuple[ReportMetadata, bytes, HpkeCiphertext]
"""A report's metadata and public share, and the input share sealed to one aggregator."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An HPKE configuration and its private key."""

    config: HpkeConfig
    key: PrivateKey

    @classmethod
    def generate(cls, id: int, randomness: Randomness, suite: Suite | None = None) -> KeyPair:
        """A new pair under the one-byte name `id`."""
        return cls.of(id, PrivateKey.generate(randomness), suite or Suite())

    @classmethod
    def of(cls, id: int, key: PrivateKey, suite: Suite) -> KeyPair:
        """The pair of a private key. Raises SecurityError T640 for a suite not spoken here."""
        suite.check()
        return cls(HpkeConfig(id, suite.kem, suite.kdf, suite.aead, key.public), key)


@dataclass(slots=True)
class Opened:
    """What became of each share, by its position: its payload, or the error it is refused with."""

    accepted: dict[int, bytes] = field(default_factory=dict)
    refused: dict[int, ReportError] = field(default_factory=dict)


class Opener:
    """Opens the shares of one task for one aggregator.

    `keys` holds the current configurations, preferred first, and old ones as long as clients may
    still have them.
    """

    def __init__(self, task: Task, role: Role, keys: Sequence[KeyPair]) -> None:
        self._task, self._profile = task, task.profile
        info = input_share_info(task.profile.label, role)
        self._keys = {
            pair.config.id: Recipient(suite_of(pair.config), pair.key, info) for pair in keys
        }

    def knows(self, config_id: int) -> bool:
        """Whether a ciphertext's configuration is one of these."""
        return config_id in self._keys

    def open_all(self, shares: Iterable[Share], now: int) -> Opened:
        """Opens and checks each share; `now` in seconds. A bad one never stops the others."""
        opened = Opened()
        for position, share in enumerate(shares):
            found = self._open(share, now)
            if isinstance(found, ReportError):
                opened.refused[position] = found
            else:
                opened.accepted[position] = found
        return opened

    def _open(self, share: Share, now: int) -> bytes | ReportError:
        metadata, public_share, sealed = share
        recipient = self._keys.get(sealed.config_id)
        if recipient is None:
            return ReportError.HPKE_DECRYPT_ERROR
        aad = self._profile.input_share_aad(self._task, metadata, public_share)
        try:
            plain = recipient.open(aad, sealed.enc, sealed.payload)
        except SecurityError:
            return ReportError.HPKE_DECRYPT_ERROR
        try:
            input_share = self._profile.read_input_share(plain)
        except CollectError:
            return ReportError.INVALID_MESSAGE
        if (late := check_time(self._task, metadata.time, now)) is not None:
            return late
        if not _extensions_sound(metadata.extensions, input_share.extensions):
            return ReportError.INVALID_MESSAGE
        return input_share.payload


def check_time(task: Task, time: int, now: int) -> ReportError | None:
    """Whether a report of that time may be aggregated; `now` in seconds."""
    bucket = task.profile.bucket(time, task.time_precision)
    if bucket * task.time_precision > now + SKEW or time >= 1 << 63:
        return ReportError.REPORT_TOO_EARLY
    if task.interval is not None:
        if bucket < task.interval.start:
            return ReportError.TASK_NOT_STARTED
        if bucket >= task.interval.end:
            return ReportError.TASK_EXPIRED
    return None


def _extensions_sound(public: Sequence[Extension], private: Sequence[Extension]) -> bool:
    """No report extension is known here, so any is unrecognised; and their order is moot."""
    return not public and not private


def seal_share(
    task: Task,
    role: Role,
    config: HpkeConfig,
    metadata: ReportMetadata,
    public_share: bytes,
    payload: bytes,
    randomness: Randomness,
) -> HpkeCiphertext:
    """An input share sealed to one aggregator (§ Client Behavior)."""
    profile = task.profile
    plain = profile.write_input_share(PlaintextInputShare((), payload))
    enc, sealed = hpke.seal(
        suite_of(config),
        config.public_key,
        input_share_info(profile.label, role),
        profile.input_share_aad(task, metadata, public_share),
        plain,
        randomness,
    )
    return HpkeCiphertext(config.id, enc, sealed)


def suite_of(config: HpkeConfig) -> Suite:
    """The algorithms of a configuration."""
    return Suite(config.kem, config.kdf, config.aead)


def choose(configs: Sequence[HpkeConfig]) -> HpkeConfig:
    """The first configuration that is spoken here (§ HPKE Configuration Request).

    Raises CollectError T823 if none is, or if two have one id.
    """
    if len({config.id for config in configs}) != len(configs):
        raise refuse("T823", "two HPKE configurations have one id", "ask another aggregator")
    for config in configs:
        if suite_of(config).spoken:
            return config
    raise refuse(
        "T823",
        "no HPKE configuration of the aggregator is spoken here",
        "the aggregator must offer X25519, HKDF-SHA256 and AES-GCM or ChaCha20-Poly1305",
    )
