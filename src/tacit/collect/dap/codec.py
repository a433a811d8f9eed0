"""TLS presentation language (RFC 8446, section 3), declared once and read strictly.

A codec writes one value and reads it back. Reading refuses what is cut short, has bytes left over,
or is out of its declared bounds, so that every message has one encoding. Lengths are checked
against the bytes that are there before anything is made of them, and every sequence has a greatest
number of items: a message costs memory in proportion to its size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import repeat
from operator import attrgetter, call
from typing import Any, Generic, Protocol, TypeVar

from tacit.collect.dap.errors import malformed
from tacit.errors import CollectError

T = TypeVar("T")
_number = int.from_bytes


class Reader:
    """Bytes, and how far they have been read."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data, self.at = data, at
        self.end = len(data) if end is None else end

    def take(self, size: int) -> bytes:
        """The next `size` bytes. Raises CollectError T801 when there are not so many."""
        start = self.at
        stop = start + size
        if stop > self.end:
            raise malformed("a message is cut short")
        self.at = stop
        return self.data[start:stop]

    def number(self, size: int) -> int:
        """The next `size` bytes as an unsigned integer."""
        return _number(self.take(size), "big")

    def part(self, size: int) -> Reader:
        """A reader of the next `size` bytes, which this one skips."""
        start = self.at
        if start + size > self.end:
            raise malformed("a message is cut short")
        self.at = start + size
        return Reader(self.data, start, self.at)

    def since(self, start: int) -> bytes:
        """The bytes from `start` to here."""
        return self.data[start : self.at]


class Codec(Protocol[T]):
    """One type of the presentation language."""

    def write(self, out: bytearray, value: T) -> None:
        """Append the value. Raises CollectError T801 for one outside its bounds."""
        ...

    def read(self, reader: Reader) -> T:
        """The next value. Raises CollectError T801."""
        ...


def encode(codec: Codec[T], value: T) -> bytes:
    """The bytes of one value."""
    out = bytearray()
    codec.write(out, value)
    return bytes(out)


def decode(codec: Codec[T], data: bytes) -> T:
    """The value that all of the bytes are. Raises CollectError T801."""
    reader = Reader(data)
    value = codec.read(reader)
    if reader.at != reader.end:
        raise malformed(f"a message has {reader.end - reader.at} bytes too many")
    return value


def decode_each(codec: Codec[T], data: bytes, most: int) -> list[tuple[T, bytes]]:
    """The values that follow each other in all of the bytes, each with its own bytes.

    Raises CollectError T801, also for more than `most`.
    """
    reader, found = Reader(data), list[tuple[T, bytes]]()
    while reader.at < reader.end:
        if len(found) == most:
            raise malformed(f"a list has more than {most} items")
        start = reader.at
        found.append((codec.read(reader), reader.since(start)))
    return found


class Number:
    """`uint8` to `uint64`, or an `enum` with its known values."""

    __slots__ = ("_known", "_size")

    def __init__(self, size: int, known: Collection[int] | None = None) -> None:
        self._size, self._known = size, known

    def write(self, out: bytearray, value: int) -> None:
        try:
            out += value.to_bytes(self._size, "big")
        except OverflowError:
            raise malformed(f"{value} does not fit {8 * self._size} bits") from None

    def read(self, reader: Reader) -> int:
        start = reader.at
        stop = start + self._size
        if stop > reader.end:
            raise malformed("a message is cut short")
        reader.at = stop
        value = _number(reader.data[start:stop], "big")
        if self._known is not None and value not in self._known:
            raise malformed(f"a message has the unknown value {value}")
        return value


U8, U16, U32, U64 = Number(1), Number(2), Number(4), Number(8)


class Fixed:
    """`opaque name[size]`."""

    __slots__ = ("_size",)

    def __init__(self, size: int) -> None:
        self._size = size

    def write(self, out: bytearray, value: bytes) -> None:
        if len(value) != self._size:
            raise malformed(f"{len(value)} bytes stand where {self._size} must")
        out += value

    def read(self, reader: Reader) -> bytes:
        return reader.take(self._size)


class Opaque:
    """`opaque name<least..2^(8 prefix)-1>`, with a length prefix of `prefix` bytes."""

    __slots__ = ("_least", "_over", "_prefix")

    def __init__(self, prefix: int, least: int = 0) -> None:
        self._prefix, self._least, self._over = prefix, least, 1 << 8 * prefix

    def write(self, out: bytearray, value: bytes) -> None:
        size = len(value)
        if not self._least <= size < self._over:
            self._check(size)
        out += size.to_bytes(self._prefix, "big")
        out += value

    def read(self, reader: Reader) -> bytes:
        data, start = reader.data, reader.at + self._prefix
        # Where the prefix itself is cut short, so is what it says, whatever that is.
        size = _number(data[reader.at : start], "big")
        if size < self._least:
            self._check(size)
        stop = start + size
        if stop > reader.end:
            raise malformed("a message is cut short")
        reader.at = stop
        return data[start:stop]

    def _check(self, size: int) -> None:
        if not self._least <= size < self._over:
            raise malformed(f"{size} bytes stand where {self._least} or more must")


class Items(Generic[T]):
    """`T name<least..>` with a length prefix in bytes; without one, all that is left."""

    __slots__ = ("_item", "_least", "_most", "_prefix")

    def __init__(self, item: Codec[T], *, prefix: int = 0, least: int = 0, most: int) -> None:
        self._item, self._prefix, self._least, self._most = item, prefix, least, most

    def write(self, out: bytearray, value: Sequence[T]) -> None:
        if not self._least <= len(value) <= self._most:
            raise self._wrong()
        start = len(out)
        out += bytes(self._prefix)
        for item in value:
            self._item.write(out, item)
        if self._prefix:
            size = len(out) - start - self._prefix
            try:
                out[start : start + self._prefix] = size.to_bytes(self._prefix, "big")
            except OverflowError:
                raise malformed(f"a list of {size} bytes is too long") from None

    def read(self, reader: Reader) -> tuple[T, ...]:
        part = reader
        if self._prefix:
            size = reader.number(self._prefix)
            if not size and not self._least:
                return ()
            part = reader.part(size)
        items: list[T] = []
        read = self._item.read
        while part.at < part.end:
            if len(items) == self._most:
                raise self._wrong()
            items.append(read(part))
        if len(items) < self._least:
            raise self._wrong()
        return tuple(items)

    def _wrong(self) -> CollectError:
        return malformed(f"a list has not from {self._least} to {self._most} items")


class Struct(Generic[T]):
    """A `struct`: two fields or more in order, each an attribute of `kind`'s instances."""

    __slots__ = ("_kind", "_reads", "_values", "_writes")

    def __init__(self, kind: Callable[..., T], /, **fields: Codec[Any]) -> None:
        self._kind, self._values = kind, attrgetter(*fields)
        self._reads = tuple(codec.read for codec in fields.values())
        self._writes = tuple(codec.write for codec in fields.values())

    def write(self, out: bytearray, value: T) -> None:
        for write, field in zip(self._writes, self._values(value), strict=True):
            write(out, field)

    def read(self, reader: Reader) -> T:
        return self._kind(*map(call, self._reads, repeat(reader)))
