"""Which rows a metric was asked of: the same question of the same rows has the same answer.

The name of a version stands in the ledger, and in answers, which many see. A plain hash of rows
would let each of them try files that they think of, and learn whether it is this one, with one
person's row or without. So it is a keyed one: HMAC-SHA256 under a secret of the project. Who loses
the secret loses no answer but pays again for the next one.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from hashlib import blake2b, sha256
from pathlib import Path

from tacit.plan.graph import Node
from tacit.privacy.randomness import system
from tacit.project.project import Project
from tacit.store.atomic import create_file
from tacit.values import fingerprint

_SECRET = 32
"""Bytes of a project's secret."""


def version(project: Project, node: Node) -> str:
    """Which rows there are: of a file its bytes, of the lake what was ingested.

    Rows that are erased, or whose retention ends, make no other version: what was answered of them
    stays as it was, private.
    """
    rows = fingerprint(*(_version(project, name) for name in node.inputs))
    return hmac.new(_secret(project), rows.encode(), sha256).hexdigest()


def _secret(project: Project) -> bytes:
    """Of several processes that have none, one makes it. Raises StoreError T701 or T704."""
    path = project.state / "answers" / "versions.secret"
    if not path.exists():
        create_file(path, [system().bytes(_SECRET)])
    return path.read_bytes()


@lru_cache(maxsize=256)
def _digest(path: Path, _size: int, _changed: int, _inode: int) -> str:
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _version(project: Project, source: str) -> str:
    if project.in_lake(source):
        from tacit.project.lake import ingested

        return fingerprint(ingested(project, source))
    path = project.file(source)
    told = path.stat()
    return _digest(path, told.st_size, told.st_mtime_ns, told.st_ino)
