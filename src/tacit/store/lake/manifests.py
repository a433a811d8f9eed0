"""Manifests that were read already: they never change, and one costs milliseconds of Avro.

A deletion looks through all manifests of a table five times, from a new state each time, in which
nearly all are the same. They have paths, partitions and bounds of time, and nothing of anybody.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, ManifestFile

MOST = 100_000
"""Data files that are remembered, over all manifests; those that were asked for last."""

_lock = threading.Lock()
_read: OrderedDict[str, list[DataFile]] = OrderedDict()


def live_files(manifest: ManifestFile, io: FileIO) -> list[DataFile]:
    """The data files of a manifest that are not deleted in it; not to be changed."""
    with _lock:
        found = _read.get(manifest.manifest_path)
        if found is not None:
            _read.move_to_end(manifest.manifest_path)
            return found
    entries = manifest.fetch_manifest_entry(io, discard_deleted=True)
    found = [entry.data_file for entry in entries]
    with _lock:
        _read[manifest.manifest_path] = found
        while len(_read) > 1 and sum(map(len, _read.values())) > MOST:
            _read.popitem(last=False)
    return found
