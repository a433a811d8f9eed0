"""A task: what every party agrees on before the first report (§ Task Configuration)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

from tacit.collect.dap.codec import U32, U64, encode
from tacit.collect.dap.draft18 import write_task_configuration
from tacit.collect.dap.errors import refuse
from tacit.collect.dap.messages import TASK_ID_BYTES, BatchMode, Interval
from tacit.collect.dap.profile import Profile, profile
from tacit.errors import CollectError, PrivacyError
from tacit.privacy import prio3
from tacit.privacy.prio3 import Prio3
from tacit.privacy.sum_noise import SumNoise, check_range

_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "count": (),
    "sum": ("max_measurement",),
    "sum_vec": ("length", "max_measurement", "chunk_length"),
    "histogram": ("length", "chunk_length"),
    "multihot_count_vec": ("length", "chunk_length", "max_weight"),
}
"""The parameters of each VDAF, in the order of its configuration (§ VDAF Configuration)."""

_WIDE: Final = {"max_measurement", "max_weight"}


@dataclass(frozen=True)
class Vdaf:
    """A variant of Prio3 by name, with its parameters, in one wire version of VDAF.

    Raises CollectError T822 for parameters that make none.
    """

    name: str
    parameters: Mapping[str, int]
    version: int = 18

    def __post_init__(self) -> None:
        expected = set(_PARAMETERS.get(self.name, ()))
        if self.name not in _PARAMETERS:
            raise _wrong(f"there is no VDAF {self.name!r}", f"use one of: {', '.join(_PARAMETERS)}")
        if expected != set(self.parameters):
            raise _wrong(
                f"the VDAF {self.name} has the parameters {sorted(self.parameters)}",
                f"give {', '.join(sorted(expected)) or 'none'}",
            )
        if any(type(value) is not int for value in self.parameters.values()):
            raise _wrong("a parameter of the VDAF is no whole number", "give whole numbers")
        try:
            _ = self.prio3
        except PrivacyError as error:
            raise _wrong(error.message, error.fix) from error

    @cached_property
    def prio3(self) -> Prio3[Any, Any]:
        """The VDAF, for two aggregators."""
        named = {
            "count": prio3.count,
            "sum": prio3.sum_,
            "sum_vec": prio3.sum_vec,
            "histogram": prio3.histogram,
            "multihot_count_vec": prio3.multihot_count_vec,
        }
        make: Any = named[self.name]
        found: Prio3[Any, Any] = make(**self.parameters, version=self.version)
        return found

    @property
    def algorithm(self) -> int:
        """Its code point (draft-irtf-cfrg-vdaf, section 10)."""
        return self.prio3.layout.algorithm

    @property
    def configuration(self) -> bytes:
        """Its parameters in bytes (§ VDAF Configuration Encodings)."""
        return b"".join(
            encode(U64 if name in _WIDE else U32, self.parameters[name])
            for name in _PARAMETERS[self.name]
        )


@dataclass(frozen=True)
class Task:
    """A task. Immutable for its lifetime: to change anything, make another one.

    `leader` and `helper` are the URLs below which their resources are, exactly as all parties
    write them. `time_precision` is in seconds; `interval` counts in it, and is None for a task
    without start and end. `noise` is what each aggregator adds, or None. `version` is the draft.
    Raises CollectError T822 for what makes no task.
    """

    id: bytes
    leader: str
    helper: str
    time_precision: int
    min_batch_size: int
    mode: BatchMode
    vdaf: Vdaf
    info: bytes = b"tacit"
    interval: Interval | None = None
    noise: SumNoise | None = None
    version: int = 18

    def __post_init__(self) -> None:
        numbers = (self.time_precision, self.min_batch_size, self.version)
        checks = (
            (all(type(number) is int for number in numbers), "a number of it is not whole"),
            (len(self.id) == TASK_ID_BYTES, f"a task id has {TASK_ID_BYTES} bytes"),
            (0 < self.time_precision < 1 << 32, "the time precision is no number of seconds"),
            (0 < self.min_batch_size < 1 << 63, "the least batch size is not positive"),
            (1 <= len(self.info) <= 255, "the task's info has not from 1 to 255 bytes"),
            (self.leader.isascii() and self.helper.isascii(), "a URL is not ASCII"),
            (self.vdaf.version == self.profile.vdaf, "the VDAF is of another draft's version"),
        )
        for right, complaint in checks:
            if not right:
                raise _wrong(complaint, "correct the task; all parties must have the same")
        for url in (self.leader, self.helper):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
                raise _wrong(f"{url!r} is no URL of an aggregator", "write https://host/path/")
        if (
            self.interval is not None
            and not 0 < self.interval.duration <= self.interval.end < 1 << 63
        ):
            raise _wrong("the task ends before it begins", "give a duration of 1 or more")
        if self.noise is not None:
            self.noise.check(self.vdaf.prio3, self.min_batch_size)
        check_range(self.vdaf.prio3, self.min_batch_size, 0.0)

    @cached_property
    def profile(self) -> Profile:
        """How its messages are written."""
        return profile(self.version)

    @cached_property
    def configuration(self) -> bytes:
        """`TaskConfiguration`: what binds every sealed share to these parameters."""
        return write_task_configuration(self)

    @cached_property
    def name(self) -> str:
        """The id as it stands in URLs."""
        return to_base64(self.id)

    def url(self, party: str, *path: str) -> str:
        """A resource of the task at the leader's or the helper's URL."""
        return "/".join((party.rstrip("/"), "tasks", self.name, *path))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads. It holds no secret."""
        written: dict[str, Any] = {
            "id": self.name,
            "leader": self.leader,
            "helper": self.helper,
            "time_precision": self.time_precision,
            "min_batch_size": self.min_batch_size,
            "batch_mode": self.mode.name.lower(),
            "vdaf": {"name": self.vdaf.name, **self.vdaf.parameters},
            "info": self.info.hex(),
            "version": self.version,
        }
        if self.interval is not None:
            written["interval"] = [self.interval.start, self.interval.duration]
        if self.noise is not None:
            written["noise"] = self.noise.to_json()
        return written

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Task:
        """The task that `to_json` wrote. Raises CollectError T822; PrivacyError T510, T520 or T534
        for noise that cannot be added, T556 for a smallest batch that the field has no room for."""
        try:
            fields = dict(raw)
            vdaf = dict(fields.pop("vdaf"))
            version = fields.pop("version", 18)
            name = vdaf.pop("name")
            interval, noise = fields.pop("interval", None), fields.pop("noise", None)
            return cls(
                id=from_base64(fields.pop("id"), TASK_ID_BYTES),
                mode=BatchMode[fields.pop("batch_mode").upper()],
                vdaf=Vdaf(name, vdaf, profile(version).vdaf),
                info=bytes.fromhex(fields.pop("info", b"tacit".hex())),
                interval=None if interval is None else Interval(*map(int, interval)),
                noise=None if noise is None else SumNoise.from_json(noise),
                version=version,
                **fields,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _wrong(
                f"this describes no task: {error!r}", "write what Task.to_json does"
            ) from error


def to_base64(raw: bytes) -> str:
    """Base 64 with the URL-safe alphabet, unpadded (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64(text: str, size: int) -> bytes:
    """`size` bytes. Raises ValueError for anything but the one text that `to_base64` gives."""
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError(f"{text!r} is not in base 64") from None
    if len(raw) != size or to_base64(raw) != text:
        raise ValueError(f"{text!r} is not {size} bytes in base 64")
    return raw


def _wrong(message: str, fix: str) -> CollectError:
    return refuse("T822", message, fix, "task")
