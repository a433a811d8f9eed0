"""The keys under which a store keeps what it keeps.

::

    m SOURCE             what stands of a source: version, progress, counts (`Standing`)
    o SOURCE STREAM      how far a stream was taken (`Mark`)
    i SOURCE             runs of ids that came live (`Seen`); v SOURCE VERSION: those of a baseline
    e SOURCE             the same of pushes by their batch, and of what had an id and was no event
    j SOURCE NUMBER      the journal: rows that wait for a baseline
    q SOURCE NUMBER      quarantine
    n SOURCE SHARD       counts of rows that a lane took; w SOURCE SHARD: runs of ids of its share
    b SOURCE STREAM SHARD  the new ids of a lane's last batch
    d SOURCE VERSION VIEW h KEY          a head
    d SOURCE VERSION VIEW i KEY          the index of a heavy key
    d SOURCE VERSION VIEW s KEY NAME     a segment of one
    d SOURCE VERSION VIEW r              which deltas there are; with NUMBER, one (`live.deltas`)
    r, t METRIC PURPOSE  released numbers; with d, their cells (`live.released`)
    s                    the store's salt; u: when it was last swept (`live.upkeep`)

Names of sources, streams and views are digests of 6 bytes, versions and numbers big-endian.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from tacit.store.online.base import Reading

SALT = b"s"
STATE = b"r"
"""What the key of the state of a view's deltas ends with."""
_STANDING = struct.Struct(">Iq")
GLANCE = _STANDING.size
"""Bytes that `glance` looks at."""


def digest(name: str) -> bytes:
    """6 bytes for a name."""
    return blake2b(name.encode(), digest_size=6).digest()


@dataclass(frozen=True, slots=True)
class Place:
    """The stored keys of one view in one version."""

    prefix: bytes

    @classmethod
    def of(cls, source: str, version: int, view: str) -> Place:
        return cls(versioned(source, version) + digest(view))

    @property
    def heads(self) -> bytes:
        return self.prefix + b"h"

    def head(self, key: bytes) -> bytes:
        return self.prefix + b"h" + key

    def index(self, key: bytes) -> bytes:
        return self.prefix + b"i" + key

    def segment(self, key: bytes) -> bytes:
        """Before a segment's name. The length keeps keys apart that begin alike."""
        return self.prefix + b"s" + len(key).to_bytes(2, "big") + key

    @property
    def deltas(self) -> bytes:
        return self.prefix + STATE

    def delta(self, number: int) -> bytes:
        return self.prefix + STATE + number.to_bytes(8, "big")


def versioned(source: str, version: int) -> bytes:
    """Before all that a version of a source holds."""
    return b"d" + digest(source) + version.to_bytes(4, "big")


@dataclass
class Standing:
    """What stands of a source.

    Attributes:
        version: that which is read; 0 before there is one.
        building: that which is being built; 0 for none.
        progress: until when the source was heard, µs.
        meaning: of what is kept (`Feed.meaning`).
        begun: the marks when the journal began, by stream, as text.
        counts: of rows, by what became of them.
        number: of the last push, journal entry or row in quarantine.
        streams: what engines of streams stand at, by stream (`live.lanes`).
        shards: into how many lanes they deal keys.
    """

    version: int = 0
    building: int = 0
    progress: int = -(2**63)
    meaning: str = ""
    begun: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    number: int = 0
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    shards: int = 0

    @classmethod
    def read(cls, store: Reading, source: str) -> Standing:
        raw = store.get([standing_key(source)])[0]
        return cls() if raw is None else cls(**json.loads(raw[_STANDING.size :]))

    def item(self, source: str) -> tuple[bytes, bytes]:
        """As it is stored: version and progress lead, for readers in a hurry."""
        raw = _STANDING.pack(self.version, self.progress) + json.dumps(asdict(self)).encode()
        return standing_key(source), raw


@lru_cache(maxsize=4096)
def standing_key(source: str) -> bytes:
    """Where it is stored what stands of a source."""
    return b"m" + digest(source)


def glance(raw: bytes | None) -> tuple[int, int]:
    """Version and progress, of what is stored of a source's standing."""
    return (0, -(2**63)) if raw is None else _STANDING.unpack_from(raw)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a stream was taken: all positions up to the floor, and some above it.

    A position is a tuple of ints that ascends along the stream. `above` is empty for streams that
    deliver in order.
    """

    floor: tuple[int, ...] = ()
    above: frozenset[tuple[int, ...]] = frozenset()

    def __contains__(self, position: tuple[int, ...]) -> bool:
        return position <= self.floor or position in self.above

    def covers(self, other: Mark) -> bool:
        """Whether it took all that the other did."""
        return other.floor <= self.floor and all(p in self for p in other.above)

    def dump(self) -> str:
        return json.dumps([self.floor, sorted(self.above)])

    @classmethod
    def load(cls, text: str | bytes) -> Mark:
        floor, above = json.loads(text)
        return cls(tuple(floor), frozenset(map(tuple, above)))


def mark_key(source: str, stream: str) -> bytes:
    return b"o" + digest(source) + stream.encode()


def read_mark(store: Reading, source: str, stream: str) -> Mark:
    raw = store.get([mark_key(source, stream)])[0]
    return Mark() if raw is None else Mark.load(raw)
