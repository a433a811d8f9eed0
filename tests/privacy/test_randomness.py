from __future__ import annotations

import copy
import os
import pickle
import secrets

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from scipy import stats

from tacit.errors import PrivacyError
from tacit.privacy import randomness
from tacit.privacy.randomness import expand, expand64, system, unsafe_seeded


def test_chacha20_stream_is_the_standards() -> None:
    """RFC 8439, appendix A.1, test vector 1: zero key, zero nonce, counter 0."""
    expected = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    assert randomness._stream(bytes(32), 32).tobytes().hex() == expected


def test_long_streams_join_their_chunks() -> None:
    n = len(randomness._CHUNK) * 2 + 12
    key = b"k" * 32
    whole = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor().update(bytes(n))
    assert randomness._stream(key, n).tobytes() == whole


@pytest.mark.parametrize("n", [32, 10_000])
def test_every_system_call_takes_fresh_entropy(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = secrets.token_bytes
    monkeypatch.setattr(secrets, "token_bytes", lambda k: asked.append(k) or real(k))
    source = system()
    first, second = source.bytes(n), source.bytes(n)
    assert first != second
    assert asked == [32, 32]


def test_system_keeps_nothing_a_fork_could_repeat() -> None:
    source = system()
    source.bytes(1000)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, source.bytes(1000))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1000) != source.bytes(1000)
    for move in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            move(source)


def test_seeded_streams_repeat_and_advance() -> None:
    one, two = unsafe_seeded(7), unsafe_seeded(7)
    assert one.bytes(100) == two.bytes(100)
    assert one.bytes(100) == two.bytes(100) != unsafe_seeded(7).bytes(100)
    assert unsafe_seeded(8).bytes(100) != unsafe_seeded(7).bytes(100)


def test_words_are_uniform_in_every_bit() -> None:
    words = system().uint64(20_000)
    for bit in range(64):
        ones = int(((words >> np.uint64(bit)) & np.uint64(1)).sum())
        assert abs(ones - 10_000) < 6 * 71
    high = stats.kstest(unsafe_seeded(1).uint32(50_000) / 2.0**32, "uniform")
    assert high.pvalue > 1e-4


def test_expand_separates_seeds_and_domains() -> None:
    seed = bytes(range(32))
    base = expand(seed, 50, domain=b"a")
    assert base.dtype == np.uint32
    assert np.array_equal(base, expand(seed, 60, domain=b"a")[:50])
    assert not np.array_equal(base, expand(seed, 50, domain=b"b"))
    assert not np.array_equal(base, expand(bytes(32), 50, domain=b"a"))
    assert np.array_equal(expand64(seed, 25, domain=b"a").view(np.uint32), base)


def test_expansion_is_frozen() -> None:
    """Devices and aggregators of different versions must agree on these words."""
    assert expand(bytes(32), 2, domain=b"frozen").tolist() == FROZEN


FROZEN = [190583671, 1552340341]


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)])
def test_seeds_of_other_lengths_are_refused(seed: bytes) -> None:
    with pytest.raises(PrivacyError, match="T502"):
        expand(seed, 1, domain=b"")


def test_impossible_lengths_are_refused() -> None:
    for n in (-1, 1 << 60):
        with pytest.raises(PrivacyError, match="T502"):
            system().bytes(n)
        with pytest.raises(PrivacyError, match="T502"):
            expand(bytes(32), n, domain=b"")


def test_printing_shows_no_state() -> None:
    assert repr(unsafe_seeded(1234)) == "Randomness(unsafe_seeded)"
    assert repr(system()) == "Randomness(system)"
