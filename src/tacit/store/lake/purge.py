"""Forgetting what nothing refers to: snapshots expire, and their files leave the disk.

Iceberg's expiry is metadata alone. What a table can reach from its one current metadata file is
kept: the manifest lists of its snapshots, their manifests, the data files in them. All else below
its location goes, half-written files of killed ingestions included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ExpireSnapshots

from tacit.errors import StoreError
from tacit.store.lake.files import LakeIO, local_path
from tacit.store.lake.manifests import live_files
from tacit.store.lake.table import LakeTable

Settle = Callable[[Snapshot], None]
"""What is to happen before a snapshot goes: the receipt of its ingestion is made sure of."""


def reachable(table: Table) -> set[str]:
    """Every file that the table's current metadata leads to, itself included, and the metadata file
    before it, which has no rows and which the next commit removes."""
    metadata = table.metadata
    found = {table.metadata_location, *(each.statistics_path for each in metadata.statistics)}
    found |= {each.statistics_path for each in metadata.partition_statistics}
    found |= {each.metadata_file for each in metadata.metadata_log}
    seen: set[str] = set()
    for snapshot in metadata.snapshots:
        found.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path in seen:
                continue
            seen.add(manifest.manifest_path)
            found |= {file.file_path for file in live_files(manifest, table.io)}
    return found | seen


def holding(table: LakeTable, gone: Iterable[DataFile]) -> list[Snapshot]:
    """The snapshots, but the current one, from which any of these files can be reached."""
    paths = {file.file_path for file in gone}
    now = table.table.current_snapshot()
    others = [each for each in table.snapshots() if now and each.snapshot_id != now.snapshot_id]
    seen: dict[str, bool] = {}

    def holds(snapshot: Snapshot) -> bool:
        for manifest in snapshot.manifests(table.table.io):
            if manifest.manifest_path not in seen:
                held = live_files(manifest, table.table.io)
                seen[manifest.manifest_path] = any(file.file_path in paths for file in held)
            if seen[manifest.manifest_path]:
                return True
        return False

    return [each for each in others if holds(each)]


def past(table: LakeTable) -> list[DataFile]:
    """The data files that only snapshots of before lead to."""
    live = {file.file_path for file in table.files(table.table.current_snapshot())}
    found: dict[str, DataFile] = {}
    seen: set[str] = set()
    for snapshot in table.snapshots():
        for manifest in snapshot.manifests(table.table.io):
            if manifest.manifest_path not in seen:
                seen.add(manifest.manifest_path)
                held = live_files(manifest, table.table.io)
                found |= {file.file_path: file for file in held}
    return [file for path, file in found.items() if path not in live]


def expire(table: LakeTable, snapshots: Iterable[Snapshot], settle: Settle) -> int:
    """Takes snapshots out of the table's history; how many.

    Raises StoreError T714 where a tag or a branch, which Tacit never makes, holds one of them.
    """
    chosen = {each.snapshot_id: each for each in snapshots}
    if not chosen:
        return 0
    for snapshot in chosen.values():
        settle(snapshot)

    def change(transaction: Transaction) -> None:
        metadata = table.table.metadata
        for name, ref in metadata.refs.items():
            if ref.snapshot_id in chosen:
                raise StoreError(
                    f"the {ref.snapshot_ref_type} {name!r} holds a snapshot that must go",
                    code="T714",
                    where=table.layout.name,
                    fix="drop it with the engine that made it, then do this again",
                )
        left = {each.snapshot_id for each in metadata.snapshots}
        still = [each for each in chosen if each in left]
        if still:
            ExpireSnapshots(transaction).by_ids(still).commit()

    table.commit(change)
    return len(chosen)


def sweep(table: LakeTable, led: Collection[str] = (), *, grace: float = 0.0) -> list[str]:
    """Removes every file of the table that nothing refers to, if it is older than `grace` seconds,
    or one that the table `led` to before; which.

    None may read or write meanwhile. Raises StoreError T717 where files cannot be listed.
    """
    io = table.table.io
    if not isinstance(io, LakeIO):
        raise StoreError(
            f"files of the lake cannot be listed through {type(io).__name__}",
            code="T717",
            where=table.layout.name,
            fix="leave py-io-impl out of [lake] in tacit.toml",
        )
    kept = {_plain(location) for location in reachable(table.table)}
    limit = time.time() - grace
    before = {_plain(location) for location in led}
    gone = [
        location
        for location, written in io.below(table.table.metadata.location).items()
        if (plain := _plain(location)) not in kept
        if not grace or written < limit or plain in before
    ]
    for location in gone:
        io.delete(location)
    return gone


def _plain(location: str) -> str:
    """One spelling of a location: file:///a and /a are one file."""
    path = local_path(location)
    return location if path is None else str(path)
