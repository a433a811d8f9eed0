"""RESP requests: what is one comes out whole, however it came in; what is none ends the connection."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from examples import examples
from tacit.errors import ServeError
from tacit.serve.resp_frames import (
    EMPTY,
    GET,
    INLINE,
    STRANGER,
    Limits,
    Requests,
    array,
    error,
    reply,
    rest_of,
)

LIMITS = Limits(words=8, word=40, whole=200)
words = st.lists(st.binary(max_size=40), min_size=1, max_size=8).filter(
    lambda each: sum(map(len, each)) <= 200
)


def frame(request: list[bytes]) -> bytes:
    parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in request]
    return b"*%d\r\n" % len(request) + b"".join(parts)


def taken(requests: Requests) -> list[list[bytes]]:
    found = []
    while (request := requests.take()) is not None:
        found.append(request)
    return found


@given(st.lists(words, max_size=6), st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=examples(300))
def test_requests_come_out_as_they_went_in(sent: list[list[bytes]], cuts: list[int]) -> None:
    """Whatever the pieces in which they come."""
    data = b"".join(map(frame, sent))
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    requests, found = Requests(LIMITS), []
    for low, high in zip(ends, [*ends[1:], len(data)], strict=True):
        requests.feed(data[low:high])
        found += taken(requests)
    assert found == sent
    assert requests.waiting == 0


@given(st.binary(max_size=600), st.integers(1, 50))
@settings(max_examples=examples(500))
@example(b"*1\r\n$4\r\nPING\r\n", 3)
@example(b"\x01\n\x00\n", 1)
@example(b"*-1\r\n*0\r\nPING\r\n", 1)
@example(b"*1\r\n$-1\r\n", 7)
@example(b"*1\r\n$0000000004\r\nPING\r\n", 2)
@example(b"*+1\r\n$4\r\nPING\r\n", 2)
@example("*١\r\n$4\r\nPING\r\n".encode(), 2)
def test_no_bytes_do_harm(data: bytes, size: int) -> None:
    """Any bytes are requests within the limits, or T860; in pieces as at once."""
    told: list[list[list[bytes]]] = []
    for step in (size, len(data) or 1):
        requests, found = Requests(LIMITS), []
        try:
            for low in range(0, len(data), step):
                requests.feed(data[low : low + step])
                while (request := requests.take()) is not None:
                    found.append(request)
        except ServeError as broken:
            found.append([broken.code.encode()])
        assert all(len(each) <= 8 and sum(map(len, each)) <= INLINE for each in found)
        told.append(found)
    assert told[0] == told[1]


@given(st.binary(max_size=20), st.sampled_from([b"*", b"$", b"\r\n", b"*2\r\n$3\r\nGET\r\n$"]))
@settings(max_examples=examples(300))
def test_nearly_requests(noise: bytes, start: bytes) -> None:
    test_no_bytes_do_harm.hypothesis.inner_test(start + noise + frame([b"PING"]), 3)


@pytest.mark.parametrize(
    "data",
    [
        b"*9\r\n",  # more words than may be
        b"*1\r\n$41\r\n",  # a longer one
        b"*x\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n$4\r\nPINGxx",
        b"*1\r\n$x\r\n",
        b"*1\r\n$-1\r\n",
        b"*99999999999999999999",
        b"*1\r\n$999999999999999",
        b"*6\r\n" + b"$40\r\n%s\r\n" % (b"a" * 40) * 6,  # too much together
        b"a" * (INLINE + 1),
        b"GET 'a\r\n",
        b"GET \0\r\n",
        b"GET " + b"a" * 41 + b"\r\n",
    ],
)
def test_what_is_no_request(data: bytes) -> None:
    requests = Requests(LIMITS)
    requests.feed(data)
    with pytest.raises(ServeError, match="T860"):
        requests.take()


@pytest.mark.parametrize("empty", [b"\n", b"*0\r\n", b"*-1\r\n"])
def test_requests_for_nothing_are_not_read_for_ever(empty: bytes) -> None:
    """Some are passed over; so many in a row, however they come, are no client's."""
    requests = Requests(LIMITS)
    for _ in range(3):
        requests.feed(empty * EMPTY + frame([b"PING"]))
        assert taken(requests) == [[b"PING"]]
    for _ in range(EMPTY + 1):
        requests.feed(empty + frame([b"GET", b"k"]) * 2)
        assert requests.take() == [b"GET", b"k"]
        assert requests.gets(9) == [b"k"]
    for _ in range(EMPTY + 1):
        requests.feed(frame([b"GET", b"k"]) + empty)
        assert requests.gets(9) == [b"k"]
        assert requests.take() is None
    requests.feed(frame([b"PING"]))
    assert taken(requests) == [[b"PING"]]
    requests.feed(empty * 100_000)
    left = requests.waiting - len(empty) * (EMPTY + 1)
    with pytest.raises(ServeError, match="T860"):
        requests.take()
    assert requests.waiting == left
    requests = Requests(LIMITS)
    for _ in range(EMPTY):
        requests.feed(empty)
        assert requests.take() is None
    requests.feed(empty)
    with pytest.raises(ServeError, match="T860"):
        requests.take()


def test_lines_are_requests_too() -> None:
    requests = Requests(LIMITS)
    requests.feed(b"\r\n  \r\nGET 'a b' \"c\"\r\nPI")
    assert taken(requests) == [[b"GET", b"a b", b"c"]]
    requests.feed(b"NG\n")
    assert taken(requests) == [[b"PING"]]


def test_a_request_that_drips_costs_no_more_than_it_is_long() -> None:
    """A megabyte in pieces of some bytes is joined once, when it is there."""
    requests = Requests(Limits(words=3, word=1 << 20, whole=1 << 21))
    data = frame([b"GET", b"a" * (1 << 20)])
    start = time.process_time()
    for low in range(0, len(data), 16):
        requests.feed(data[low : low + 16])
        found = requests.take()
    assert found is not None
    assert len(found[1]) == 1 << 20
    assert time.process_time() - start < 5  # joined each time, it would be a quarter of an hour


def test_strangers_may_little() -> None:
    assert STRANGER.whole < Limits().whole
    requests = Requests()
    requests.feed(frame([b"AUTH", b"a" * 2000]))
    with pytest.raises(ServeError, match="T860"):
        requests.take()


def test_replies() -> None:
    assert reply({"a": [1, None, b"x"]}, 2) == b"*2\r\n$1\r\na\r\n*3\r\n:1\r\n$-1\r\n$1\r\nx\r\n"
    assert reply({"a": None}, 3) == b"%1\r\n$1\r\na\r\n_\r\n"
    assert array([]) == b"*0\r\n"
    assert error("ERR", "a\r\nb") == b"-ERR a  b\r\n"
    assert len(error("ERR", "a" * 5000)) < 600


@given(
    st.lists(st.one_of(words, st.binary(max_size=45).map(lambda key: [b"GET", key])), max_size=8),
    st.lists(st.integers(0, 300), max_size=8),
)
@settings(max_examples=examples(300))
def test_gets_are_taken_as_any_request(sent: list[list[bytes]], cuts: list[int]) -> None:
    """Those in a row at once; what is too long, or not whole, is as `take` has it."""
    data = b"".join(map(frame, sent))
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    told = []
    for quick in (False, True):
        requests, found = Requests(LIMITS), []
        try:
            for low, high in zip(ends, [*ends[1:], len(data)], strict=True):
                requests.feed(data[low:high])
                while True:
                    gets = requests.gets(3) if quick else []
                    found += [[b"GET", key] for key in gets]
                    request = None if gets else requests.take()
                    if not gets and request is None:
                        break
                    found += [] if request is None else [request]
        except ServeError as broken:
            found.append([broken.code.encode()])
        told.append(found)
    assert told[0] == told[1]


pieces = st.sampled_from([GET, b"$", b"1", b"23", b"\r\n", b"a", b"*2\r\n", b"GET", rest_of(b"a")])


@given(st.lists(st.one_of(st.binary(max_size=30), st.lists(pieces).map(b"".join)), max_size=4))
@settings(max_examples=examples(300))
@example([b"person:p1"])
@example([b""])
@example([b"a\r\nb", frame([b"GET", b"b"])])
@example([rest_of(b"a"), b"a"])
def test_pieces_that_are_rests_of_keys_are_gets_of_them(keys: list[bytes]) -> None:
    """Bytes that fall into a GET's head and rests of keys (`serve.resp_turns`) are GETs of these
    keys, whatever they hold; and GETs of keys fall into rests, but where one holds a head."""
    data = b"".join(frame([b"GET", key]) for key in keys)
    assert data == b"".join(GET + rest_of(key) for key in keys)
    parts = data.split(GET)[1:]
    ends = [part.partition(b"\r\n")[2][:-2] for part in parts]
    known = {rest_of(key): key for key in (*keys, *ends)}
    requests = Requests()
    requests.feed(data)
    if all(part in known for part in parts):
        assert taken(requests) == [[b"GET", known[part]] for part in parts]
    else:
        assert any(GET in key for key in keys)
