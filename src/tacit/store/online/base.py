"""What an online store stands on: bytes by key, read as of one moment, changed all or nothing."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from tacit.errors import StoreError


class Reading(Protocol):
    """The store as of one moment, where the backend can; else as it is."""

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, in one trip."""

    def scan(self, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys with a prefix and their values, ascending, after one of them."""

    def moment(self) -> Hashable:
        """`Backend.moment`, of what is read."""


class Changing(Reading, Protocol):
    """A change that is being made: it reads what it has written."""

    def put(self, items: Iterable[tuple[bytes, bytes | memoryview]]) -> None:
        """Sets values."""

    def delete(self, keys: Iterable[bytes]) -> None:
        """Removes keys; those that are not there are none."""


class Backend(Protocol):
    """LMDB in a folder, or a Redis server.

    Attributes:
        scatters: whether a change waits longer for many small values than for a large one, because
            each lies on a page of its own.
    """

    scatters: bool

    def read(self) -> AbstractContextManager[Reading]:
        """Reading. Raises StoreError T722 when the store cannot be reached."""

    def change(self, lane: str = "", *, settle: bool = True) -> AbstractContextManager[Changing]:
        """A change, durable when the block ends, undone when it raises; one at a time. With
        ``settle`` false it is durable once `settle` has returned, and may be read before.

        Changes of different lanes may be made beside each other: each must write keys that no other
        lane writes. One without a lane is made beside none.

        Raises StoreError T720 for a full disk or store, T721 when another holds it too long, T722
        when it cannot be reached.
        """

    def settle(self) -> None:
        """Returns when all changes that this object made are as durable as they can be.

        Raises StoreError as `change`; then whether they are durable is not known.
        """

    def moment(self) -> Hashable:
        """What is another after every change; None where the store cannot tell at once."""

    def compact(self) -> None:
        """Takes the bytes of what was removed off the disk, as far as the backend can."""

    def size(self) -> int:
        """Bytes that are used."""

    def close(self) -> None:
        """Lets go of it."""


UNKNOWN = (
    "whether the last change was kept is not known: send it again with its batch, ids or mark,"
    " which take it once"
)
"""What to do where a change was made and may yet be lost."""


def full(where: str, why: str) -> StoreError:
    """The store or its disk is full."""
    return StoreError(
        f"the online store is full: {why}",
        code="T720",
        where=where,
        fix="free space or raise its limit; nothing of the change was kept, so send it again",
    )


def unreachable(where: str, why: str, what: str = "the online store") -> StoreError:
    """The store, or a stream, cannot be reached."""
    return StoreError(
        f"{what} cannot be reached: {why}",
        code="T722",
        where=where,
        fix="start it, then try again; nothing of the change was kept",
    )


def following(prefix: bytes) -> bytes:
    """The least key after all with a prefix."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b""
