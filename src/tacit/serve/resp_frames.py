"""RESP, the protocol of Redis: requests in, replies out, as bytes.

A request is an array of bulk strings, or a line of words ("inline"); replies are of version 2 or 3
of the protocol (redis.io, "Redis serialization protocol specification"). What is larger than its
limit, or is no request, is refused before anything of it is kept.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tacit.errors import ServeError

INLINE = 4096
"""Bytes of a line."""
EMPTY = 16
"""Requests for nothing in a row (empty lines, arrays of no words) that are passed over."""
_NUMBER = 11  # digits of a length, and its sign
_FRAME = _NUMBER + 8  # bytes around a word, at most: its length, and where lines end
GET = b"*2\r\n$3\r\nGET\r\n$"
"""What a GET begins with, as clients write it; the `rest_of` its key follows."""
_STAR, _DOLLAR = b"*"[0], b"$"[0]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may be.

    Attributes:
        words: of one request, the command itself among them.
        word: bytes of one.
        whole: bytes of all words of a request.
    """

    words: int = 2 + 1000
    word: int = 4096
    whole: int = 1 << 20

    @property
    def room(self) -> int:
        """Bytes among which there is a whole request, or what is none."""
        return self.whole + _FRAME * (self.words + 1) + INLINE


STRANGER = Limits(words=10, word=1024, whole=4096)
"""For who has not shown a key yet."""


def broken(what: str) -> ServeError:
    """T860: the bytes are no request; the connection cannot go on."""
    return ServeError(
        f"Protocol error: {what}",
        code="T860",
        where="connection",
        fix="send arrays of bulk strings within the limits, as Redis clients do",
    )


class Requests:
    """The requests of a connection, as its bytes come in.

    Feed it, then take requests until there is none. After an error nothing more comes out.

    Attributes:
        waiting: bytes that are not taken yet.
        empty: requests for nothing since the last for something.
    """

    def __init__(self, limits: Limits = STRANGER) -> None:
        self.limits = limits
        self._data = b""
        self._at = 0
        self._later: list[bytes] = []  # came while what is there was known to be too little
        self.waiting = 0
        self._need = 0  # bytes without which there is no request
        self.empty = 0

    def feed(self, data: bytes) -> None:
        """Bytes that came."""
        if self.waiting:
            self._later.append(data)
        else:
            self._data, self._at = data, 0
        self.waiting += len(data)

    def gets(self, most: int) -> list[bytes]:
        """The keys of the GETs that come next, so many at most, as clients write them; what is not
        whole, or not as usual, is left for `take`."""
        found: list[bytes] = []
        data, at, limit = self._data, self._at, self.limits.word
        while len(found) < most and data.startswith(GET, at):
            start = at + len(GET)
            end = data.find(b"\r\n", start, start + 6)
            digits = data[start:end]
            if end < 0 or not digits.isdigit():
                break
            stop = end + 2 + int(digits)
            if stop - end - 2 > limit or data[stop : stop + 2] != b"\r\n":
                break
            found.append(data[end + 2 : stop])
            at = stop + 2
        if found:
            self.waiting -= at - self._at
            self._at = at
            self.empty = 0
        return found

    def take(self) -> list[bytes] | None:
        """The next request, as words; None when it is not whole yet. Raises ServeError T860."""
        if self._later:
            if self.waiting < self._need:
                return None
            self._data = b"".join([self._data[self._at :], *self._later])
            self._at = 0
            self._later.clear()
        while self.waiting:
            self._need = self.waiting + 1
            start = self._at
            found = self._array() if self._data[start] == _STAR else self._inline()
            if found is None:
                return None
            self.waiting -= self._at - start
            self._need = 0
            if found:
                self.empty = 0
                return found
            self.empty += 1
            if self.empty > EMPTY:
                raise broken("too many empty requests")
        return None

    def _array(self) -> list[bytes] | None:
        data, at = self._data, self._at
        end = data.find(b"\r\n", at + 1, at + _NUMBER + 3)
        if end < 0:
            if len(data) - at > _NUMBER + 2:
                raise broken("invalid multibulk length")
            return None
        count = _size(data[at + 1 : end], self.limits.words, "invalid multibulk length")
        return self._words(end + 2, count)

    def _words(self, at: int, count: int) -> list[bytes] | None:
        data, words, whole = self._data, [], 0
        size, limits = len(data), self.limits
        for _ in range(count):
            if at >= size:
                return None
            if data[at] != _DOLLAR:
                raise broken(f"expected '$', got {chr(data[at])!r}")
            end = data.find(b"\r\n", at + 1, at + _NUMBER + 3)
            if end < 0:
                if size - at > _NUMBER + 2:
                    raise broken("invalid bulk length")
                return None
            length = _size(data[at + 1 : end], limits.word, "invalid bulk length")
            whole += length
            if length < 0 or whole > limits.whole:
                raise broken("invalid bulk length" if length < 0 else "too big a request")
            start = end + 2
            at = start + length + 2
            if at > size:
                self._need = at - self._at
                return None
            if data[at - 2 : at] != b"\r\n":
                raise broken("a bulk string does not end where it says")
            words.append(data[start : start + length])
        self._at = at
        return words

    def _inline(self) -> list[bytes] | None:
        """A line of words, quoted as in a shell: for people with telnet."""
        end = self._data.find(b"\n", self._at, self._at + INLINE + 1)
        if end < 0:
            if len(self._data) - self._at > INLINE:
                raise broken("too big inline request")
            return None
        line = self._data[self._at : end].rstrip(b"\r")
        self._at = end + 1
        if b"\0" in line:
            raise broken("a line with a zero byte")
        try:
            words = [w.encode("latin-1") for w in shlex.split(line.decode("latin-1"))]
        except ValueError:
            raise broken("unbalanced quotes in request") from None
        if len(words) > self.limits.words or any(len(w) > self.limits.word for w in words):
            raise broken("too big inline request")
        return words


def _size(digits: bytes, most: int, wrong: str) -> int:
    """A length: digits alone, or -1 (which asks for nothing)."""
    if digits == b"-1":
        return -1
    if not digits.isdigit():
        raise broken(wrong)
    found = int(digits)
    if found > most:
        raise broken(wrong)
    return found


def rest_of(key: bytes) -> bytes:
    """What of a GET of a key follows what all begin with: its length, and itself."""
    return b"%d\r\n%s\r\n" % (len(key), key)


# ---------------------------------------------------------------------- replies

OK = b"+OK\r\n"
NULL2, NULL3 = b"$-1\r\n", b"_\r\n"


def bulk(raw: bytes) -> bytes:
    """A bulk string."""
    return b"$%d\r\n%s\r\n" % (len(raw), raw)


def error(code: str, message: str) -> bytes:
    """An error; what would end the line is replaced."""
    text = f"{code} {message}".replace("\r", " ").replace("\n", " ")
    return b"-" + text.encode(errors="replace")[:512] + b"\r\n"


def array(parts: Sequence[bytes]) -> bytes:
    """An array of replies."""
    return b"*%d\r\n" % len(parts) + b"".join(parts)


def mapping(pairs: Iterable[tuple[bytes, bytes]], version: int) -> bytes:
    """A map of replies; in version 2 an array of keys and values in turn."""
    flat = [part for pair in pairs for part in pair]
    head = b"%%%d\r\n" % (len(flat) // 2) if version == 3 else b"*%d\r\n" % len(flat)
    return head + b"".join(flat)


def number(value: int) -> bytes:
    return b":%d\r\n" % value


def null(version: int) -> bytes:
    return NULL3 if version == 3 else NULL2


def reply(value: Any, version: int) -> bytes:
    """A Python value as a reply: None, ints, text or bytes, lists, dicts."""
    if value is None:
        return null(version)
    if isinstance(value, int):
        return number(value)
    if isinstance(value, str):
        return bulk(value.encode())
    if isinstance(value, bytes):
        return bulk(value)
    if isinstance(value, dict):
        pairs = ((reply(key, version), reply(each, version)) for key, each in value.items())
        return mapping(pairs, version)
    return array([reply(each, version) for each in value])
