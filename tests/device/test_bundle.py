"""Signed bundles: what opens is exactly what was signed, current, and for this project."""

from __future__ import annotations

import copy
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from tacit.device import bundle as bundles
from tacit.device.bundle import Bundle, Manifest, PublicKey, SigningKey, open_bundle, write
from tacit.device.manifest import parse_manifest
from tacit.errors import BundleError, SecurityError, StoreError
from tacit.values import DAY, Secret, canonical_json

NOW = 1_790_000_000_000_000
KEY = SigningKey(Secret(bytes(range(32))))
MANIFEST = Manifest(
    project="shop",
    name="home",
    version=7,
    created=NOW - DAY,
    expires=NOW + 30 * DAY,
    plan="9f" * 16,
    contents={"signals": [{"name": "plays_7d", "sql": "a/q.sql"}], "dim": 3, "λ": 0.1},
)
FILES: dict[str, Any] = {
    "a/q.sql": "SELECT 1 -- é",
    "a/labels.json": {"b": [1, 2.5, None]},
    "items.npy": np.arange(12, dtype=np.float32).reshape(3, 4),
    "model.onnx": b"\x08\x01raw",
    "empty.txt": "",
}


def opened(path: Path, **changes: Any) -> Bundle:
    arguments: dict[str, Any] = {
        "trusted": KEY.public, "project": "shop", "now": NOW, "at_least_version": 7,
    }  # fmt: skip
    return open_bundle(path, **{**arguments, **changes})


def refusal(path: Path, **changes: Any) -> str:
    with pytest.raises(BundleError) as caught:
        opened(path, **changes)
    assert caught.value.where
    assert caught.value.fix
    return caught.value.code


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "home.bundle", MANIFEST, FILES, KEY)
    return tmp_path / "home.bundle"


def sealed(path: Path, raw: bytes, body: bytes = b"", key: SigningKey = KEY) -> Path:
    """A file signed by a publisher who does not keep to the rules."""
    header = struct.pack(
        ">8s16s64sI", bundles.MAGIC, key.public.id, key.sign(bundles.DOMAIN, raw), len(raw)
    )
    path.write_bytes(header + raw + body)
    return path


def fields(**changes: Any) -> dict[str, Any]:
    base = {
        "format": 1, "project": "shop", "name": "home", "version": 7, "created": NOW - DAY,
        "expires": NOW + DAY, "plan": "p", "contents": {}, "files": [],
    }  # fmt: skip
    return {**base, **changes}


def test_what_is_written_comes_back(path: Path) -> None:
    bundle = opened(path)
    assert bundle.manifest == write(path, MANIFEST, FILES, KEY)
    assert bundle.manifest.contents == MANIFEST.contents
    assert [(e.name, e.size, e.media) for e in bundle.manifest.files] == [
        ("a/q.sql", 14, "application/sql"),
        ("a/labels.json", 18, "application/json"),
        ("items.npy", 128 + 48, "application/x-npy"),
        ("model.onnx", 5, "application/x-onnx"),
        ("empty.txt", 0, "text/plain"),
    ]
    assert bundle.text("a/q.sql") == "SELECT 1 -- é"
    assert bundle.json("a/labels.json") == {"b": [1, 2.5, None]}
    assert bundle.read("model.onnx") == b"\x08\x01raw"
    assert bundle.key == KEY.public
    np.testing.assert_array_equal(bundle.array("items.npy"), FILES["items.npy"])
    assert bundle.array("items.npy").dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        bundle.array("items.npy")[0, 0] = 1
    assert "SELECT" not in repr(bundle)


def test_writing_is_deterministic(path: Path, tmp_path: Path) -> None:
    write(tmp_path / "again", MANIFEST, FILES, KEY)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 4), np.int64),
        np.array(3.5),
        np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        np.array([True, False]),
        np.array(["a", "né"]),
        np.array([], "U"),
        np.arange(5, dtype=">u4"),
        np.array([1.5, np.nan, -0.0], np.float16),
    ],
)
def test_arrays_of_every_kind(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    write(tmp_path / "b", MANIFEST, {"x.npy": array}, KEY)
    back = opened(tmp_path / "b").array("x.npy")
    assert (back.shape, back.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(back, array)


def test_a_zip_or_nothing_or_no_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("../../etc/passwd", "x" * 200)
    assert refusal(tmp_path / "zip") == "T627"
    (tmp_path / "empty").touch()
    assert refusal(tmp_path / "empty") == "T623"
    assert refusal(tmp_path / "nowhere") == "T620"
    assert refusal(tmp_path) == "T620"


def test_bad_signature_is_found_before_anything_is_parsed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = bytearray(path.read_bytes())
    raw[30] ^= 1
    path.write_bytes(raw)
    monkeypatch.setattr(bundles, "parse_manifest", None)  # calling it would be a TypeError
    assert refusal(path) == "T621"
    sealed(path, b"[" * 100_000, key=SigningKey.generate())
    data = bytearray(path.read_bytes())
    data[8:24] = KEY.public.id  # claims to be of the trusted key
    path.write_bytes(data)
    assert refusal(path) == "T621"


def test_a_signature_for_another_purpose_is_no_signature(path: Path, tmp_path: Path) -> None:
    raw = canonical_json(fields())
    for domain in ("tacit.receipt.v1", "", bundles.DOMAIN + "\0"):
        signature = KEY.sign(domain, raw)
        data = struct.pack(">8s16s64sI", bundles.MAGIC, KEY.public.id, signature, len(raw)) + raw
        (tmp_path / "other").write_bytes(data)
        assert refusal(tmp_path / "other") == "T621"


def test_unknown_keys(path: Path) -> None:
    other = SigningKey.generate()
    assert refusal(path, trusted=other.public) == "T626"
    assert refusal(path, trusted=[]) == "T626"
    assert opened(path, trusted=iter([other.public, KEY.public])).key == KEY.public


def test_tampered_truncated_and_extended(path: Path) -> None:
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert refusal(path) == "T622"
    path.write_bytes(good + b"\0")
    assert refusal(path) == "T622"
    for length in (0, 5, 91, 92, 200, len(good) - 1):
        path.write_bytes(good[:length])
        assert refusal(path) == "T623", length


def test_versions_and_dates(path: Path) -> None:
    assert opened(path, at_least_version=0).manifest.version == 7
    assert refusal(path, at_least_version=8) == "T625"
    assert opened(path, now=NOW + 30 * DAY - 1)
    assert refusal(path, now=NOW + 30 * DAY) == "T624"
    assert opened(path, now=NOW - 2 * DAY)
    assert refusal(path, now=NOW - 2 * DAY - 1) == "T624"  # a clock before the bundle was made
    assert refusal(path, project="other") == "T627"


def test_sizes_are_bounded(path: Path, tmp_path: Path) -> None:
    assert refusal(path, max_bytes=path.stat().st_size - 1) == "T628"
    assert opened(path, max_bytes=path.stat().st_size)
    sparse = tmp_path / "sparse"
    sparse.touch()
    os.truncate(sparse, 1 << 40)  # a terabyte that takes no room: not read
    assert refusal(sparse) == "T628"
    raw = bytearray(path.read_bytes())
    raw[88:92] = b"\xff" * 4
    path.write_bytes(raw)
    assert refusal(path) == "T628"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b"1" * 5000,
        b'{"format":1,"format":1}',
        b" " + canonical_json(fields()),
        canonical_json(fields(format=2)),
        canonical_json(fields(more=1)),
        canonical_json(fields(version="7")),
        canonical_json(fields(version=True)),
        canonical_json(fields(version=0)),
        canonical_json(fields(version=7.0)),
        canonical_json(fields(version=2**53)),
        canonical_json(fields(created=-1)),
        canonical_json(fields(expires=NOW - DAY)),
        canonical_json(fields(name="")),
        canonical_json(fields(contents=[])),
        canonical_json(fields(files={})) + b" ",
        canonical_json(fields(files=[{}])),
        canonical_json(fields(files=[7])),
        canonical_json(fields()).replace(b'"plan":"p"', b'"plan":NaN'),
        canonical_json(fields()).replace(b'"plan":"p"', b'"plan":"\\ud800"'),
    ],
)
def test_signed_nonsense_is_refused(tmp_path: Path, raw: bytes) -> None:
    assert refusal(sealed(tmp_path / "b", raw)) == "T627"


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "../up"},
        {"name": "/etc/passwd"},
        {"name": "a//b"},
        {"name": "a/../b"},
        {"name": ".hidden"},
        {"name": "a\\b"},
        {"name": "a\n"},
        {"name": "é"},
        {"name": ""},
        {"name": 5},
        {"size": -1},
        {"size": True},
        {"size": 1 << 40},
        {"sha256": "00"},
        {"sha256": "G" * 64},
        {"media": None},
    ],
)
def test_entries_are_checked(tmp_path: Path, entry: dict[str, Any]) -> None:
    good = {"name": "a", "size": 0, "sha256": "0" * 64, "media": "text/plain"}
    raw = canonical_json(fields(files=[{**good, **entry}]))
    assert refusal(sealed(tmp_path / "b", raw)) == "T627"


def test_names_are_used_once(tmp_path: Path) -> None:
    entry = {"name": "a", "size": 0, "sha256": "0" * 64, "media": "text/plain"}
    raw = canonical_json(fields(files=[entry, {**entry, "name": "A"}]))
    assert refusal(sealed(tmp_path / "b", raw)) == "T627"


def test_every_flipped_bit_region_and_every_length_is_a_bundle_error(tmp_path: Path) -> None:
    path = tmp_path / "b"
    write(path, MANIFEST, {"q.sql": "SELECT 1", "x.npy": np.arange(3)}, KEY)
    good = path.read_bytes()
    codes = set()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at + 1 :])
        codes.add(refusal(path))
    for length in range(0, len(good), 3):
        path.write_bytes(good[:length])
        codes.add(refusal(path))
    assert codes == {"T621", "T622", "T623", "T626", "T627", "T628"}


@given(st.data())
@settings(max_examples=examples(150), deadline=None)
def test_spliced_bytes_open_only_if_unchanged(data: st.DataObject) -> None:
    folder = Path("/dev/shm" if os.path.isdir("/dev/shm") else "/tmp")
    path = folder / f"tacit-bundle-{os.getpid()}"
    write(path, MANIFEST, {"q.sql": "SELECT 1"}, KEY)
    good = path.read_bytes()
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, len(good)))
    spliced = good[:start] + data.draw(st.binary(max_size=200)) + good[end:]
    path.write_bytes(spliced)
    try:
        if spliced == good:
            assert opened(path)
        else:
            refusal(path)
    finally:
        path.unlink()


@given(st.binary(max_size=300))
@settings(max_examples=examples(100), deadline=None)
def test_any_manifest_bytes_parse_or_are_refused(raw: bytes) -> None:
    with pytest.raises(BundleError):
        parse_manifest(raw, "here")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((",
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"not an array",
        pickle.dumps([1]),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, body: bytes) -> None:
    write(tmp_path / "b", MANIFEST, {"x.npy": body, "y.json": b"NaN", "z.txt": b"\xff"}, KEY)
    bundle = opened(tmp_path / "b")
    reads = [(bundle.array, "x.npy"), (bundle.json, "y.json"), (bundle.text, "z.txt")]
    for read, name in [*reads, (bundle.json, "z.txt"), (bundle.read, "nowhere")]:
        with pytest.raises(BundleError) as caught:
            read(name)
        assert caught.value.code == "T629"
        assert name in str(caught.value.where)


def test_arrays_cannot_lie_about_their_size_or_hold_objects(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    objects = (tmp_path / "o.npy").read_bytes()
    np.save(tmp_path / "i.npy", np.arange(3))
    honest = (tmp_path / "i.npy").read_bytes()
    lying = honest.replace(b"'shape': (3,), }  ", b"'shape': (2**9,), }"[:18])
    huge = honest.replace(b"'shape': (3,), }            ", b"'shape': (99999999999999,), }"[:28])
    negative = honest.replace(b"'shape': (3,), } ", b"'shape': (-3,), }")
    assert len({honest, lying, huge, negative}) == 4
    for raw in (objects, lying, huge, negative, honest[:-1], honest + b"\0"):
        write(tmp_path / "b", MANIFEST, {"x.npy": raw}, KEY)
        with pytest.raises(BundleError, match="T629"):
            opened(tmp_path / "b").array("x.npy")


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        ({"version": 0}, {}),
        ({"contents": {"x": float("nan")}}, {}),
        ({"contents": {"x": b"bytes"}}, {}),
        ({"contents": {1: "twice", "1": "the same key"}}, {}),
        ({}, {"../x": b""}),
        ({}, {"x.json": {"a": {1}}}),
        ({}, {"x.bin": np.arange(3)}),
        ({}, {"x.npy": np.array([{}], object)}),
    ],
)
def test_what_would_not_open_is_not_written(
    tmp_path: Path, changes: dict[str, Any], files: dict[str, Any]
) -> None:
    target = tmp_path / "b"
    target.write_bytes(b"before")
    with pytest.raises(BundleError, match="T627"):
        write(target, Manifest(**{**_shallow(MANIFEST), **changes}), files, KEY)
    assert target.read_bytes() == b"before"


def _shallow(manifest: Manifest) -> dict[str, Any]:
    return {name: copy.copy(getattr(manifest, name)) for name in Manifest.__dataclass_fields__}


def test_a_full_disk_keeps_the_old_bundle(tmp_path: Path) -> None:
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", tmp_path], capture_output=True
    ).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        path = tmp_path / "b"
        write(path, MANIFEST, FILES, KEY)
        with pytest.raises(StoreError) as caught:
            write(path, MANIFEST, {"big.bin": bytes(300_000)}, KEY)
        assert caught.value.code == "T701"
        assert os.listdir(tmp_path) == ["b"]
        assert opened(path).text("a/q.sql").startswith("SELECT")
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_the_bytes_are_synced_before_the_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(os.fstat(fd).st_size), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("rename"), rename(a, b)))
    write(tmp_path / "b", MANIFEST, FILES, KEY)
    assert steps == [(tmp_path / "b").stat().st_size, "rename", tmp_path.stat().st_size]


def test_writing_where_there_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="T704"):
        write(tmp_path / "file" / "b", MANIFEST, {}, KEY)


# ---------------------------------------------------------------------- keys


def test_a_key_is_made_once_and_kept_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "key"
    old = os.umask(0)
    try:
        key = SigningKey.load_or_create(path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load_or_create(path).public == key.public
    assert os.listdir(tmp_path) == ["key"]
    path.chmod(0o640)
    with pytest.raises(SecurityError, match="T632"):
        SigningKey.load_or_create(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(SecurityError, match="T630"):
        SigningKey.load_or_create(path)
    with pytest.raises(SecurityError, match="T630"):
        SigningKey.load_or_create(tmp_path / "no" / "key")


def test_two_processes_get_one_key(tmp_path: Path) -> None:
    code = (
        "import sys; from tacit.device.keys import SigningKey;"
        "print(SigningKey.load_or_create(sys.argv[1]).public.text)"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "key")], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    assert len({process.communicate()[0] for process in running}) == 1


def test_keys_do_not_print_or_pickle() -> None:
    seed = bytes(range(32))
    assert seed.hex() not in repr(KEY)
    assert KEY.public.id.hex() in repr(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)


def test_public_keys_as_text() -> None:
    assert PublicKey.parse(KEY.public.text + "\n") == KEY.public
    for text in ("", "ed25519:", "ed25519:AAAA", "rsa:AAAA", "ed25519:é", KEY.public.text + "A"):
        with pytest.raises(SecurityError, match="T630"):
            PublicKey.parse(text)
    with pytest.raises(SecurityError, match="T630"):
        SigningKey(Secret(b"short"))


def test_ed25519_is_rfc_8032s() -> None:
    """RFC 8032, section 7.1, test 1: the public key of a seed."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    expected = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert SigningKey(Secret(seed)).public.raw.hex() == expected


def test_signatures_verify_or_raise() -> None:
    signature = KEY.sign("a", b"message")
    KEY.public.verify("a", b"message", signature)
    wrong = [("b", b"message", signature), ("a", b"massage", signature), ("a", b"message", b"")]
    for domain, message, bad in wrong:
        with pytest.raises(SecurityError, match="T631"):
            KEY.public.verify(domain, message, bad)
