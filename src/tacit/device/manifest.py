"""What a bundle says about itself, and the reasons for which one is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tacit.errors import BundleError
from tacit.values import canonical_json

FORMAT = 1
MAX_BYTES = 256 << 20
MAX_MANIFEST = 4 << 20
MAX_FILES = 4096
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_EXACT = 2**53  # JSON numbers below this are the same in JavaScript


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a bundle: its size in bytes and the SHA-256 of its bytes, in hex."""

    name: str
    size: int
    sha256: str
    media: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is signed. Times are microseconds UTC; `plan` is the hash of the plan it was made from.

    `contents` says what the files mean to the agent: anything JSON holds. `write` fills in `files`.
    """

    project: str
    name: str
    version: int
    created: int
    expires: int
    plan: str
    contents: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Entry, ...] = ()


def parse_manifest(raw: bytes, where: str) -> Manifest:
    """Raises T627 unless the bytes are the one canonical form of a manifest."""
    try:
        held = json.loads(raw, parse_constant=no_constant)
        if canonical_json(held) != raw:
            raise ValueError("it is not canonical JSON")
        if held.pop("format") != FORMAT:
            raise ValueError("it is of another format; update the app")
        files = tuple(Entry(**entry) for entry in held.pop("files"))
        manifest = Manifest(**held, files=files)
        _check(manifest)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise malformed(where, f"its manifest is malformed ({error})") from None
    return manifest


def _check(manifest: Manifest) -> None:
    texts = (manifest.project, manifest.name, manifest.plan)
    if not all(isinstance(text, str) and text for text in texts):
        raise ValueError("project, name and plan are texts, not empty")
    numbers = (manifest.version, manifest.created, manifest.expires)
    if not all(type(number) is int and 0 <= number < _EXACT for number in numbers):
        raise ValueError("version, created and expires are whole numbers below 2^53")
    if manifest.version < 1 or manifest.expires <= manifest.created:
        raise ValueError("versions count from 1, and expires comes after created")
    if not isinstance(manifest.contents, dict) or len(manifest.files) > MAX_FILES:
        raise ValueError(f"contents is an object, and there are at most {MAX_FILES} files")
    for entry in manifest.files:
        if not (isinstance(entry.name, str) and _NAME.fullmatch(entry.name)):
            raise ValueError(f"{entry.name!r} is no file name: use letters, digits and _ . - /")
        if type(entry.size) is not int or not 0 <= entry.size <= MAX_BYTES:
            raise ValueError(f"{entry.name}: its size is out of bounds")
        if not isinstance(entry.sha256, str) or not re.fullmatch("[0-9a-f]{64}", entry.sha256):
            raise ValueError(f"{entry.name}: its sha256 is not 64 hex digits")
        if not isinstance(entry.media, str):
            raise ValueError(f"{entry.name}: its media type is no text")
    if len({entry.name.lower() for entry in manifest.files}) != len(manifest.files):
        raise ValueError("two files have the same name")


def no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _refusal(code: str, where: str, message: str, fix: str) -> BundleError:
    return BundleError(message, code=code, where=where, fix=fix)


def tampered(where: str, why: str) -> BundleError:
    return _refusal("T622", where, f"it was changed: {why}", "fetch the bundle again")


def truncated(where: str, why: str) -> BundleError:
    return _refusal("T623", where, f"it is cut off: {why}", "fetch the bundle again, to its end")


def malformed(where: str, why: str) -> BundleError:
    return _refusal(
        "T627", where, f"it cannot be used: {why}", "build the bundle anew, or fetch the right one"
    )


def oversize(where: str, why: str) -> BundleError:
    return _refusal("T628", where, f"it is too large: {why}", "make it smaller, or raise the limit")


def content(where: str, name: str, why: str) -> BundleError:
    return _refusal(
        "T629", f"{where}, file {name}", why, "build the bundle anew; its publisher signed this"
    )
