"""What a device installs: SQL, models and tables in one signed file, versioned and dated.

::

    offset  length
         0       8   magic "TACITB", 0, 1
         8      16   id of the signing key
        24      64   Ed25519 signature of "tacit.bundle.v1", 0, manifest
        88       4   length of the manifest, big-endian
        92       …   manifest: canonical JSON
                 …   the files' bytes, in the manifest's order, and then the end

A format of our own, and not a zip, because there is then one reading of it. Only the 92 bytes of
fixed layout are looked at before the signature is checked; no name, size or offset is believed that
was not signed; nothing is compressed, so nothing inflates; nothing is ever written under a name
from the file. A zip says everything twice (local header and directory), and two readers may choose
differently. It is also a dozen lines in any language, which the browser's device wants.

The version counts up and the bundle expires (The Update Framework, sections 5.3 and 5.4: rollback
and freeze attacks), so neither an older nor a stale bundle can be passed off as the current one.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.device.keys import SIGNATURE_BYTES, PublicKey, SigningKey
from tacit.device.manifest import (
    FORMAT,
    MAX_BYTES,
    MAX_MANIFEST,
    Entry,
    Manifest,
    content,
    malformed,
    no_constant,
    oversize,
    parse_manifest,
    tampered,
    truncated,
)
from tacit.errors import BundleError, SecurityError
from tacit.store.atomic import replace_file
from tacit.values import DAY, canonical_json

__all__ = ["Bundle", "Entry", "Manifest", "PublicKey", "SigningKey", "open_bundle", "write"]

MAGIC = b"TACITB\x00\x01"
DOMAIN = "tacit.bundle.v1"
_HEADER = struct.Struct(">8s16s64sI")
_MEDIA = {
    ".sql": "application/sql",
    ".json": "application/json",
    ".npy": "application/x-npy",
    ".onnx": "application/x-onnx",
    ".txt": "text/plain",
}

_NPY = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

File = bytes | str | npt.NDArray[Any] | Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that has verified: signature, sizes, hashes, dates and version."""

    manifest: Manifest
    key: PublicKey
    where: str
    _files: Mapping[str, memoryview] = field(repr=False)

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises BundleError T629 if the bundle has none of that name."""
        if name not in self._files:
            raise content(
                self.where,
                name,
                f"there is no such file; it has {', '.join(self._files) or 'none'}",
            )
        return bytes(self._files[name])

    def text(self, name: str) -> str:
        """A file of UTF-8, such as SQL."""
        try:
            return self.read(name).decode()
        except UnicodeDecodeError:
            raise content(self.where, name, "it is not UTF-8") from None

    def json(self, name: str) -> Any:
        """A file of JSON."""
        try:
            return json.loads(self.text(name), parse_constant=no_constant)
        except (ValueError, RecursionError):
            raise content(self.where, name, "it is not JSON") from None

    def array(self, name: str) -> npt.NDArray[Any]:
        """A numpy array, read-only. Pickled objects and lying shapes are refused."""
        raw = io.BytesIO(self.read(name))
        try:
            shape, fortran, dtype = _NPY[np.lib.format.read_magic(raw)](raw)
        except Exception:  # the header is Python's own syntax: its parser may raise anything
            raise content(self.where, name, "it is not a numpy array") from None
        body = raw.getbuffer()[raw.tell() :]
        if dtype.kind not in "biufSU" or math.prod(shape) * dtype.itemsize != len(body):
            raise content(self.where, name, "its shape or type does not fit its bytes")
        flat = np.frombuffer(body, dtype) if len(body) else np.empty(0, dtype)
        flat.flags.writeable = False
        return flat.reshape(shape, order="F" if fortran else "C")


def write(
    path: str | Path, manifest: Manifest, files: Mapping[str, File], key: SigningKey
) -> Manifest:
    """Write the signed bundle, whole or not at all, and return its completed manifest.

    A file is bytes, text, a numpy array (under a name in `.npy`), or what JSON holds. Raises
    BundleError T627 if the manifest or a name is malformed, T628 if it is too large, StoreError
    T701 if the disk is full, T704 if the path cannot be written; in each case the path still holds
    what it held before.
    """
    where = str(path)
    bodies = {name: _encode(where, name, value) for name, value in files.items()}
    entries = tuple(
        Entry(n, len(b), hashlib.sha256(b).hexdigest(), _media(n)) for n, b in bodies.items()
    )
    try:
        raw = canonical_json({"format": FORMAT, **asdict(replace(manifest, files=entries))})
    except (ValueError, TypeError, RecursionError):
        raise malformed(
            where, "its contents are not JSON (NaN, bytes, or keys that are no text)"
        ) from None
    signed = parse_manifest(raw, where)  # what is written must open
    total = _HEADER.size + len(raw) + sum(map(len, bodies.values()))
    if total > MAX_BYTES or len(raw) > MAX_MANIFEST:
        raise oversize(where, f"{total} bytes, {len(raw)} of them manifest")
    head = _HEADER.pack(MAGIC, key.public.id, key.sign(DOMAIN, raw), len(raw))
    replace_file(Path(path), [head, raw, *bodies.values()])
    return signed


def open_bundle(
    path: str | Path,
    trusted: PublicKey | Iterable[PublicKey],
    *,
    project: str,
    now: int,
    at_least_version: int,
    max_bytes: int = MAX_BYTES,
) -> Bundle:
    """Read and verify a bundle; it returns one that may be used, or raises BundleError.

    `now` is in microseconds; `at_least_version` is the installed version (0 for none). In the order
    of checking: T620 unreadable, T628 too large, T623 truncated, T627 not a bundle, T626 signed by
    no trusted key, T621 bad signature; then T627 malformed, another format or project, T623 and
    T622 files cut off, changed or added, T625 older than the installed one, T624 expired, or dated
    more than a day ahead of the clock.
    """
    where = str(path)
    data = memoryview(_read(Path(path), max_bytes))
    key, raw = _verified(data, trusted, where)
    manifest = parse_manifest(raw, where)
    if manifest.project != project:
        raise malformed(where, f"it is of project {manifest.project!r}, not {project!r}")
    files = _files(manifest, data[_HEADER.size + len(raw) :], where)
    _current(manifest, now, at_least_version, where)
    return Bundle(manifest, key, where, files)


def _verified(
    data: memoryview, trusted: PublicKey | Iterable[PublicKey], where: str
) -> tuple[PublicKey, bytes]:
    """The signed bytes and their signer. Nothing else has been looked at when this returns."""
    if len(data) < _HEADER.size:
        raise truncated(where, f"{len(data)} bytes are no header")
    magic, key_id, signature, length = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise malformed(where, "it does not begin like a bundle of this format")
    keys = {key.id: key for key in ([trusted] if isinstance(trusted, PublicKey) else trusted)}
    if key_id not in keys:
        raise BundleError(
            f"it is signed by an unknown key, {key_id.hex()}",
            code="T626",
            where=f"{where}, byte 8",
            fix="install the publisher's public key, or refuse the bundle",
        )
    if length > MAX_MANIFEST:
        raise oversize(where, f"a manifest of {length} bytes")
    if length > len(data) - _HEADER.size:
        raise truncated(where, "it ends within the manifest")
    raw = bytes(data[_HEADER.size : _HEADER.size + length])
    assert len(signature) == SIGNATURE_BYTES
    try:
        keys[key_id].verify(DOMAIN, raw, signature)
    except SecurityError:
        raise BundleError(
            "its signature does not verify",
            code="T621",
            where=f"{where}, byte 24",
            fix="fetch the bundle again; if that does not help, its publisher did not make it",
        ) from None
    return keys[key_id], raw


def _files(manifest: Manifest, body: memoryview, where: str) -> dict[str, memoryview]:
    expected = sum(entry.size for entry in manifest.files)
    if len(body) < expected:
        raise truncated(where, f"{expected - len(body)} bytes are missing at the end")
    if len(body) > expected:
        raise tampered(where, f"{len(body) - expected} bytes follow the last file")
    files, offset = {}, 0
    for entry in manifest.files:
        part = body[offset : offset + entry.size]
        if hashlib.sha256(part).hexdigest() != entry.sha256:
            raise tampered(f"{where}, file {entry.name}", "its bytes are not those signed")
        files[entry.name] = part
        offset += entry.size
    return files


def _current(manifest: Manifest, now: int, at_least_version: int, where: str) -> None:
    if manifest.version < at_least_version:
        raise BundleError(
            f"it is version {manifest.version}, older than the installed {at_least_version}",
            code="T625",
            where=where,
            fix=f"publish what is wanted as version {at_least_version + 1} or later",
        )
    if manifest.expires <= now:
        raise BundleError(
            f"it expired {(now - manifest.expires) / DAY:.1f} days ago",
            code="T624",
            where=where,
            fix="fetch the current bundle",
        )
    if manifest.created > now + DAY:
        raise BundleError(
            f"it was made {(manifest.created - now) / DAY:.1f} days after the device's clock",
            code="T624",
            where=where,
            fix="set the device's clock: its expiry could not be judged by this one",
        )


def _encode(where: str, name: str, value: File) -> bytes:
    if isinstance(value, np.ndarray):
        if not name.endswith(".npy") or value.dtype.kind not in "biufSU":
            raise malformed(where, f"{name}: an array of numbers or text goes under a name in .npy")
        raw = io.BytesIO()
        np.lib.format.write_array(raw, value, allow_pickle=False)
        return raw.getvalue()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    try:
        return value.encode() if isinstance(value, str) else canonical_json(value)
    except (ValueError, TypeError, RecursionError):
        raise malformed(where, f"{name}: it is neither bytes, text, an array nor JSON") from None


def _media(name: str) -> str:
    return _MEDIA.get(Path(name).suffix, "application/octet-stream")


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = b"" if size > limit else file.read(limit + 1)
    except OSError as error:
        raise BundleError(
            f"it cannot be read: {error.strerror}", where=str(path), fix="check the path"
        ) from None
    if max(size, len(data)) > limit:
        raise oversize(str(path), f"{size} bytes, and the limit is {limit}")
    return data
