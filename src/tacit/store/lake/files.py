"""Files of the lake: private, and on the disk before anything refers to them.

The stock implementation of pyiceberg neither syncs what it writes to a local disk nor keeps others
from reading it. Object stores are left to it: they acknowledge what is durable.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from pyarrow.fs import FileSelector, FileType
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from pyiceberg.typedef import EMPTY_DICT

from tacit.store.atomic import PRIVATE, sync_folder, unwritable

IMPLEMENTATION = "tacit.store.lake.files.LakeIO"


class _Synced(io.BufferedWriter):
    """A file that is on the disk, under its name, when it is closed."""

    def __init__(self, path: Path, mode: str) -> None:
        self._path = path
        raw = io.FileIO(path, mode, opener=lambda name, flags: os.open(name, flags, PRIVATE))
        super().__init__(raw, 1 << 20)

    def close(self) -> None:
        if not self.closed:
            try:
                self.flush()
                os.fsync(self.fileno())
            finally:
                super().close()
            sync_folder(self._path.parent)


class _LocalFile(PyArrowFile):
    def create(self, overwrite: bool = False) -> Any:
        path = Path(self._path)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return _Synced(path, "wb" if overwrite else "xb")
        except FileExistsError:
            raise
        except OSError as error:
            raise unwritable(error, path) from None


class LakeIO(PyArrowFileIO):
    """Files by their location: those of a local disk as above, all others as pyiceberg has them."""

    def new_output(self, location: str) -> PyArrowFile:
        path = local_path(location)
        if path is None:
            return super().new_output(location)
        scheme, netloc, name = self.parse_location(location, self.properties)
        return _LocalFile(fs=self.fs_by_scheme(scheme, netloc), location=location, path=name)

    def below(self, location: str) -> dict[str, float]:
        """Every file below a location → when it was written, in seconds since the epoch."""
        scheme, netloc, name = self.parse_location(location, self.properties)
        selector = FileSelector(name, allow_not_found=True, recursive=True)
        infos = self.fs_by_scheme(scheme, netloc).get_file_info(selector)
        prefix = location.removesuffix(name) if location.endswith(name) else ""
        return {
            prefix + info.path: info.mtime.timestamp() if info.mtime else 0.0
            for info in infos
            if info.type is FileType.File
        }


def local_path(location: str) -> Path | None:
    """The path of a location on a local disk; None for any other."""
    scheme, _, path = PyArrowFileIO.parse_location(location, EMPTY_DICT)
    return Path(path) if scheme == "file" else None
