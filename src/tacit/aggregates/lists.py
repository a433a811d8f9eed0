"""Aggregates whose result is a list: the last k values, and the k most frequent ones."""

from __future__ import annotations

import re
from typing import ClassVar

from tacit.aggregates.state import Aggregate, Argument, Reader, Value, Writer
from tacit.values import SCALARS, Type

Newest = tuple[tuple[int, Value], ...]
Counts = frozenset[tuple[Value, int]]


def _length(text: str) -> int | None:
    """A list's length, in its one way of writing."""
    return int(text) if re.fullmatch(r"[1-9]\d{0,3}", text) else None


LENGTH = Argument("k", "int", _length, "5")


class LastK(Aggregate[Newest]):
    """The last k values, newest first; at one moment, the greatest first. Repeats count."""

    key = "last_k"
    family = 13
    takes = "any value but a vector"
    inputs: ClassVar[tuple[Type | None, ...]] = SCALARS
    argument = LENGTH
    about = "The last k values, newest first; among events of one moment, the greatest first."
    holds = "the k greatest (time, value)"
    many = True

    def __init__(self, k: int) -> None:
        self.k = k
        self.key = f"last_k({k})"

    def result(self, value: Type | None) -> Type:
        assert value is not None, "accepts() was asked before"
        return value

    def init(self) -> Newest:
        return ()

    def update(self, state: Newest, value: Value, at: int) -> Newest:
        return self.merge(state, ((at, value),))

    def merge(self, left: Newest, right: Newest) -> Newest:
        return tuple(sorted([*left, *right], reverse=True)[: self.k])

    def finish(self, state: Newest) -> list[Value] | None:
        return [value for _, value in state] or None

    def write(self, state: Newest, out: Writer) -> None:
        out.size(self.k)
        out.size(len(state))
        for at, value in state:
            out.whole(at)
            out.value(value)

    def read(self, data: Reader) -> Newest:
        if data.size() != self.k:
            data.wrong("keeps another number of values")
        found = [(data.word(), data.value()) for _ in range(data.size())]
        if len(found) > self.k or len({type(value) for _, value in found}) > 1:
            data.wrong("holds too many values, or values of several types")
        return self.merge((), tuple(found))


class TopK(Aggregate[Counts]):
    """The k most frequent values, most frequent first; of equally frequent ones, the least first.

    Exact, so the state counts every value.
    """

    key = "top_k"
    family = 14
    takes = "any value but a vector"
    inputs: ClassVar[tuple[Type | None, ...]] = SCALARS
    argument = LENGTH
    about = "The k most frequent values, the most frequent first; of equals, the least first."
    holds = "how often each value occurred"
    many = True

    def __init__(self, k: int) -> None:
        self.k = k
        self.key = f"top_k({k})"

    def result(self, value: Type | None) -> Type:
        assert value is not None, "accepts() was asked before"
        return value

    def init(self) -> Counts:
        return frozenset()

    def update(self, state: Counts, value: Value, at: int) -> Counts:
        return self.merge(state, frozenset([(value, 1)]))

    def merge(self, left: Counts, right: Counts) -> Counts:
        small, large = sorted((left, right), key=len)
        counts = dict(large)
        for value, count in small:
            counts[value] = counts.get(value, 0) + count
        return frozenset(counts.items())

    def finish(self, state: Counts) -> list[Value] | None:
        by_value = sorted(state)
        return [value for value, _ in sorted(by_value, key=lambda pair: -pair[1])[: self.k]] or None

    def write(self, state: Counts, out: Writer) -> None:
        out.size(len(state))
        for value, count in sorted(state):
            out.value(value)
            out.size(count)

    def read(self, data: Reader) -> Counts:
        found = [(data.value(), data.size()) for _ in range(data.size())]
        if len({type(value) for value, _ in found}) > 1 or any(not count for _, count in found):
            data.wrong("holds values of several types, or a value that never occurred")
        if len(dict(found)) != len(found):
            data.wrong("counts a value twice")
        return frozenset(found)
