"""HPKE gives the bytes of RFC 9180, Appendix A, and opens nothing that was not sealed so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.errors import SecurityError
from tacit.privacy import hpke
from tacit.privacy.hpke import PrivateKey, Recipient, Suite
from tacit.privacy.randomness import unsafe_seeded
from tacit.values import Secret

VECTORS = json.loads((Path(__file__).parents[1] / "golden/hpke/rfc9180_base.json").read_text())
SUITES = [Suite(aead=aead) for aead in (1, 2, 3)]
KEY = PrivateKey.generate(unsafe_seeded(1))


def parts(vector: dict[str, Any]) -> dict[str, bytes]:
    return {name: bytes.fromhex(value) for name, value in vector.items() if isinstance(value, str)}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"aead {vector['aead']}")
def test_the_published_vectors(vector: dict[str, Any]) -> None:
    suite, raw = Suite(vector["kem"], vector["kdf"], vector["aead"]), parts(vector)
    key = PrivateKey(Secret(raw["recipient"]))
    assert key.public == raw["public"]
    opened = hpke.open_(suite, key, raw["info"], raw["aad"], raw["encapsulated"], raw["ciphertext"])
    assert opened == raw["plaintext"]
    if "ephemeral" in raw:  # the RFC prints none for AES-256-GCM with this KEM
        ephemeral = PrivateKey(Secret(raw["ephemeral"]))
        sealed = hpke.seal_with(
            ephemeral, suite, key.public, raw["info"], raw["aad"], raw["plaintext"]
        )
        assert sealed == (raw["encapsulated"], raw["ciphertext"])


def test_all_three_ciphers_are_among_the_vectors() -> None:
    assert {vector["aead"] for vector in VECTORS} == {1, 2, 3}
    assert sum("ephemeral" in vector for vector in VECTORS) == 2


@pytest.mark.parametrize("suite", SUITES)
@given(info=st.binary(max_size=40), aad=st.binary(max_size=40), plaintext=st.binary(max_size=300))
def test_what_is_sealed_opens(suite: Suite, info: bytes, aad: bytes, plaintext: bytes) -> None:
    enc, sealed = hpke.seal(suite, KEY.public, info, aad, plaintext, unsafe_seeded(2))
    assert len(sealed) == len(plaintext) + hpke.TAG_BYTES
    assert hpke.open_(suite, KEY, info, aad, enc, sealed) == plaintext


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("part", ["info", "aad", "enc", "sealed", "key", "suite", "short"])
def test_any_change_is_refused(suite: Suite, part: str) -> None:
    enc, sealed = hpke.seal(suite, KEY.public, b"info", b"aad", b"secret", unsafe_seeded(3))
    given = {"info": b"info", "aad": b"aad", "enc": enc, "sealed": sealed}
    if part in given:
        given[part] = bytes([given[part][0] ^ 1]) + given[part][1:]
    if part == "short":
        given["sealed"] = sealed[:3]
    key = PrivateKey.generate(unsafe_seeded(4)) if part == "key" else KEY
    other = Suite(aead=suite.aead % 3 + 1) if part == "suite" else suite
    with pytest.raises(SecurityError) as refused:
        hpke.open_(other, key, given["info"], given["aad"], given["enc"], given["sealed"])
    assert refused.value.code == "T641"


@pytest.mark.parametrize("enc", [b"", bytes(31), bytes(32), (1).to_bytes(32, "little")])
def test_a_key_of_low_order_is_refused(enc: bytes) -> None:
    with pytest.raises(SecurityError, match="T642"):
        hpke.open_(Suite(), KEY, b"", b"", enc, bytes(16))
    with pytest.raises(SecurityError, match="T642"):
        hpke.seal(Suite(), enc, b"", b"", b"", unsafe_seeded(5))


@pytest.mark.parametrize("suite", [Suite(kem=0x10), Suite(kdf=3), Suite(aead=0xFFFF)])
def test_another_suite_is_refused(suite: Suite) -> None:
    assert not suite.spoken
    with pytest.raises(SecurityError, match="T640"):
        hpke.seal(suite, KEY.public, b"", b"", b"", unsafe_seeded(6))


def test_a_private_key_prints_no_secret() -> None:
    assert KEY.secret.reveal().hex() not in repr(KEY)
    with pytest.raises(SecurityError, match="T642"):
        PrivateKey(Secret(b"short"))


def test_every_message_has_a_key_of_its_own() -> None:
    randomness = unsafe_seeded(7)
    sealed = [hpke.seal(Suite(), KEY.public, b"", b"", b"same", randomness) for _ in range(20)]
    assert len({enc for enc, _ in sealed}) == len({text for _, text in sealed}) == 20


def test_a_recipient_opens_many_messages_of_its_kind_and_no_other() -> None:
    recipient = Recipient(Suite(), KEY, b"info")
    for text in (b"", b"one", b"two"):
        enc, sealed = hpke.seal(Suite(), KEY.public, b"info", b"aad", text, unsafe_seeded(6))
        assert recipient.open(b"aad", enc, sealed) == text
    enc, sealed = hpke.seal(Suite(), KEY.public, b"other", b"aad", b"", unsafe_seeded(7))
    with pytest.raises(SecurityError, match="T641"):
        recipient.open(b"aad", enc, sealed)
    with pytest.raises(SecurityError, match="T640"):
        Recipient(Suite(aead=0xFFFF), KEY, b"")
