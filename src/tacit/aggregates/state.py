"""What every aggregate is: a commutative monoid of partial states, and the bytes of a state.

A state is an immutable value. ``merge`` is associative and commutative, ``init()`` is its unit, and
folding the parts of any split and merging them equals folding the whole, bit for bit. The bytes are
those that batch, stream, online store and device share: one byte of version, one of family, then
the payload; a state has exactly one encoding.
"""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

from tacit.errors import DataError
from tacit.values import Type

VERSION = 1
Value = int | float | str | bool | tuple[float, ...]
Result = Value | list[Value] | None
State = TypeVar("State")
_LEAST, _MOST = -(2**63), 2**63 - 1


def clean(value: Value | None) -> Value | None:
    """NaN is missing, and -0.0 is 0.0."""
    if isinstance(value, float):
        return None if math.isnan(value) else value + 0.0
    return value


@dataclass(frozen=True, slots=True)
class Argument:
    """What an aggregate is made with, as in ``last_k(5)``.

    Attributes:
        name: of the parameter of its method.
        kind: the parameter's Python type, as it is written.
        read: text → the argument; None for what is none, or is written in another way.
        example: a text that ``read`` takes.
    """

    name: str
    kind: str
    read: Callable[[str], Any]
    example: str


class Aggregate(ABC, Generic[State]):
    """One aggregate. ``key`` names it in signals; ``family`` marks the bytes of its states.

    From what the class says of itself come the registry, the method of ``Events``, its sentence,
    and the page docs/aggregates.md.
    """

    key: str
    family: ClassVar[int]
    about: ClassVar[str]  # a sentence for users: what the result is
    holds: ClassVar[str]  # what the state is, in words
    exact: ClassVar[str] = "yes"  # how exact the result is: its error bound, if it has one
    takes: ClassVar[str]  # the accepted input in words, for messages
    inputs: ClassVar[tuple[Type | None, ...]]  # None: it can go without a value
    argument: ClassVar[Argument | None] = None
    over: ClassVar[str | None] = None  # it is what this aggregate means over vectors
    empty: ClassVar[int | None] = None  # the result of nothing
    many: ClassVar[bool] = False  # the result is a list of ``result``'s type

    def admit(self, value: Any) -> Value | None:
        """A value as ``update`` takes it; None for one that counts as null."""
        found: Value | None = value
        return found

    def accepts(self, value: Type | None) -> bool:
        """Whether it aggregates values of this type; None asks for rows without a value."""
        return value in self.inputs

    @abstractmethod
    def result(self, value: Type | None) -> Type:
        """The type of the result over values of this type."""

    @abstractmethod
    def init(self) -> State:
        """The state of nothing: the unit of ``merge``."""

    @abstractmethod
    def update(self, state: State, value: Value, at: int) -> State:
        """The state with one more value (never null, cleaned) of an event at ``at`` µs."""

    @abstractmethod
    def merge(self, left: State, right: State) -> State:
        """The state of both."""

    @abstractmethod
    def finish(self, state: State) -> Result:
        """The result; None when there is nothing to tell."""

    @abstractmethod
    def write(self, state: State, out: Writer) -> None:
        """The payload of a state."""

    @abstractmethod
    def read(self, data: Reader) -> State:
        """The state of a payload. Raises DataError T340 for bytes that are none."""

    def finish_at(self, state: State, at: int) -> Result:
        """The result as of a moment not before any update: what ages overrides this."""
        return self.finish(state)

    def fold(self, rows: Iterable[tuple[Value, int]]) -> State:
        """The state of many (value, at)."""
        state = self.init()
        for value, at in rows:
            state = self.update(state, value, at)
        return state

    def encode(self, state: State) -> bytes:
        """The bytes of a state."""
        out = Writer()
        out.raw(bytes((VERSION, self.family)))
        self.write(state, out)
        return bytes(out.data)

    def decode(self, data: bytes) -> State:
        """The state of these bytes.

        Raises DataError T340 when they are damaged, of another aggregate or of an unknown version.
        """
        reader = Reader(data)
        version, family = reader.raw(2)
        if version != VERSION:
            reader.wrong(f"is of version {version}; this is version {VERSION}")
        if family != self.family:
            reader.wrong(f"is not one of {self.key!r}")
        state = self.read(reader)
        if reader.at != len(data) or self.encode(state) != bytes(data):
            reader.wrong("is not in its one canonical form")
        return state


class Invertible(Aggregate[State]):
    """An aggregate from which a value can be taken out again."""

    @abstractmethod
    def retract(self, state: State, value: Value, at: int) -> State:
        """The state without a value that was in it."""


class Writer:
    """Appends the parts of a state."""

    def __init__(self) -> None:
        self.data = bytearray()

    def raw(self, data: bytes) -> None:
        self.data += data

    def size(self, value: int) -> None:
        """A count of zero or more, seven bits a byte, least first."""
        while value > 0x7F:
            self.data.append(value & 0x7F | 0x80)
            value >>= 7
        self.data.append(value)

    def whole(self, value: int) -> None:
        """An int of any size: its length, then two's complement, least byte first."""
        length = (value.bit_length() + 8) // 8 if value else 0
        self.size(length)
        self.data += value.to_bytes(length, "little", signed=True)

    def value(self, value: Value) -> None:
        if isinstance(value, bool):
            self.data += b"b\x01" if value else b"b\x00"
        elif isinstance(value, int):
            self.data += b"i"
            self.whole(value)
        elif isinstance(value, float):
            self.data += b"f" + struct.pack("<d", value)
        else:
            assert isinstance(value, str), "vectors have sizes that their aggregates know"
            text = value.encode()
            self.data += b"t"
            self.size(len(text))
            self.data += text


class Reader:
    """Reads the parts back, never past the end."""

    def __init__(self, data: bytes) -> None:
        self.data = bytes(data)
        self.at = 0

    def wrong(self, how: str) -> NoReturn:
        raise DataError(
            f"the partial state {how}",
            code="T340",
            where=f"byte {self.at} of {len(self.data)}",
            fix="recompute it from the events",
        )

    def raw(self, length: int) -> bytes:
        part = self.data[self.at : self.at + length]
        if len(part) != length:
            self.wrong("ends too early")
        self.at += length
        return part

    def size(self) -> int:
        value = shift = 0
        while True:
            byte = self.raw(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                self.wrong("holds a length beyond 64 bits")

    def whole(self) -> int:
        return int.from_bytes(self.raw(self.size()), "little", signed=True)

    def word(self) -> int:
        """An int of 64 bits, such as a moment: what an engine can hold."""
        value = self.whole()
        if not _LEAST <= value <= _MOST:
            self.wrong("holds an int beyond 64 bits")
        return value

    def value(self) -> Value:
        tag = self.raw(1)
        if tag == b"b":
            return self.raw(1) != b"\x00"
        if tag == b"i":
            return self.word()
        if tag == b"f":
            number = float(struct.unpack("<d", self.raw(8))[0])
            if math.isnan(number) or struct.pack("<d", number + 0.0) != struct.pack("<d", number):
                self.wrong("holds a float that no state holds")
            return number
        if tag != b"t":
            self.wrong("holds a value of an unknown type")
        try:
            return self.raw(self.size()).decode()
        except UnicodeDecodeError:
            self.wrong("holds text that is not UTF-8")

    def floats(self, size: int) -> tuple[float, ...]:
        """So many finite floats of 32 bits, none of them -0.0."""
        numbers: tuple[float, ...] = struct.unpack(f"<{size}f", self.raw(4 * size))
        if not all(math.isfinite(number) for number in numbers):
            self.wrong("holds a number that is not finite")
        return tuple([number + 0.0 for number in numbers])
