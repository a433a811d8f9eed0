"""Bad reports, one by one and among good ones: each is refused by its code, none stops a batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_cases import every, messages, pairs

from guided import fuzz
from tacit.errors import PrivacyError
from tacit.privacy.local.heavy_hitters import HeavyHitters
from tacit.privacy.local.messages import TAG_BYTES, LocalMechanism
from tacit.privacy.local.oracle import LocalOracle
from tacit.privacy.local.randomized_response import RandomizedResponse
from tacit.privacy.randomness import unsafe_seeded

RANDOM = unsafe_seeded(5)
MECHANISMS = every()
EACH = pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda m: m.key)
GOOD = {m.key: pairs(messages(m, 30)) for m in MECHANISMS}

# A body of each that no device can have sent: a number past the last, a set of another size, a bit
# in the padding, a row or a group that there is not.
OUT_OF_RANGE = {
    "randomized_response": [b"\x29", b"\xff"],
    "local_hashing": [b"\xff\xff"],
    "hadamard_response": [b"\xff"],
    "subset_selection": [bytes(6), b"\xff" * 5 + b"\x01", b"\x0f" + bytes(4) + b"\x80"],
    "unary": [bytes(5) + b"\x02", b"\xff" * 6],
    "rappor": [bytes(5) + b"\x80"],
    "count_mean_sketch": [b"\x05\x00\x00", b"\xff\xff\xff"],
    "hadamard_count_mean_sketch": [b"\xa0", b"\xff"],
    "heavy_hitters": [b"\x04\x00\x00", b"\xff\x00\x00", b"\x00\xff\xff"],
}


def refusal(mechanism: LocalMechanism, report_id: object, message: object) -> str | None:
    """The code by which both `admit` and `combine` refuse a message among good ones."""
    good = GOOD[mechanism.key]
    batch = [*good[:15], (report_id, message), *good[15:]]
    admitted, refused = mechanism.admit(0, batch)  # type: ignore[arg-type]
    assert admitted == dict(good)
    assert list(refused) == [report_id]
    with pytest.raises(PrivacyError) as error:
        mechanism.combine(0, batch, RANDOM)  # type: ignore[arg-type]
    assert error.value.code == refused[report_id].code  # type: ignore[index]
    return error.value.code


@EACH
def test_malformed_reports_are_refused_and_stop_nobody(mechanism: LocalMechanism) -> None:
    fresh, fine = b"f" * 16, messages(mechanism, 1, seed=9)[0].tobytes()
    for cut in (0, 1, TAG_BYTES, len(fine) - 1):
        assert refusal(mechanism, fresh, fine[:cut]) == "T531"
    for wrong in (fine + b"\0", fine * 2, "text", None, 7, bytearray(fine)):
        assert refusal(mechanism, fresh, wrong) == "T531"
    for wrong in (b"", b"short", b"x" * 17, "text", None):
        assert refusal(mechanism, wrong, fine) == "T531"


@EACH
def test_reports_of_other_parameters_are_foreign(mechanism: LocalMechanism) -> None:
    fresh, fine = b"f" * 16, messages(mechanism, 1, seed=9)[0].tobytes()
    for other in [*every(1.6), *every(name="other"), *MECHANISMS]:
        if other.tag != mechanism.tag:
            assert refusal(mechanism, fresh, other.tag + fine[TAG_BYTES:]) == "T532"
    for place in range(TAG_BYTES):
        changed = bytearray(fine)
        changed[place] ^= 1
        assert refusal(mechanism, fresh, bytes(changed)) == "T532"


@EACH
def test_reports_that_no_device_sends_are_refused(mechanism: LocalMechanism) -> None:
    for body in OUT_OF_RANGE[mechanism.key]:
        assert len(body) == mechanism.body_bytes
        assert refusal(mechanism, b"f" * 16, mechanism.tag + body) == "T570"


@EACH
def test_replays_and_floods_are_refused(mechanism: LocalMechanism) -> None:
    good = GOOD[mechanism.key]
    admitted, refused = mechanism.admit(0, [*good, good[3]])
    assert (admitted, [e.code for e in refused.values()]) == (dict(good), ["T535"])
    with pytest.raises(PrivacyError, match="T535"):
        mechanism.combine(0, [*good, good[3]], RANDOM)
    parameters, _ = mechanism.files()
    small = type(mechanism).from_files(parameters | {"devices_max": 29}, {})
    with pytest.raises(PrivacyError, match="T536"):
        small.combine(0, pairs(messages(small, 30)), RANDOM)
    with pytest.raises(PrivacyError, match="T536"):
        small.combine_many(messages(small, 30))
    for index in (1, -1):
        with pytest.raises(PrivacyError, match="T537"):
            mechanism.combine(index, good, RANDOM)
        with pytest.raises(PrivacyError, match="T537"):
            mechanism.admit(index, good)


@EACH
def test_a_bad_report_changes_no_sum(mechanism: LocalMechanism) -> None:
    good = GOOD[mechanism.key]
    bad = [(b"b" * 16, mechanism.tag + OUT_OF_RANGE[mechanism.key][0]), (b"c" * 16, b""), good[0]]
    admitted, _ = mechanism.admit(0, [good[0], *bad, *good[1:]])
    clean = mechanism.combine(0, good, RANDOM)
    assert mechanism.combine(0, admitted.items(), RANDOM) == clean
    rows = np.frombuffer(b"".join(message for _, message in good), np.uint8)
    assert mechanism.combine_many(rows.reshape(len(good), -1)) == clean
    for wrong in (rows, rows.reshape(len(good), -1)[:, 1:], rows.astype(np.int64).reshape(30, -1)):
        with pytest.raises(PrivacyError, match="T531"):
            mechanism.combine_many(wrong)


@EACH
def test_aggregates_that_no_reports_add_up_to_are_refused(mechanism: LocalMechanism) -> None:
    whole = mechanism.combine(0, GOOD[mechanism.key], RANDOM)
    mechanism.decode([whole])
    for cut in (b"", whole[:-1], whole + b"\0", "text", None, bytearray(whole)):
        with pytest.raises(PrivacyError, match="T531"):
            mechanism.decode([cut])  # type: ignore[list-item]
    for place in range(TAG_BYTES + 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        with pytest.raises(PrivacyError, match="T532"):
            mechanism.decode([bytes(changed)])
    for count in ([], [whole, whole]):
        with pytest.raises(PrivacyError, match="T537"):
            mechanism.decode(count)
    head = whole[: TAG_BYTES + 1]
    for reports in (0, 10_001, (1 << 64) - 1):
        with pytest.raises(PrivacyError, match="T537"):
            mechanism.decode([head + reports.to_bytes(8, "little") + whole[TAG_BYTES + 9 :]])
    for cell in (31, -31, (1 << 63) - 1, -(1 << 63)):
        tally = np.frombuffer(whole, "<i8", offset=TAG_BYTES + 9).copy()
        tally[0] = cell
        with pytest.raises(PrivacyError, match="T537"):
            mechanism.decode([whole[: TAG_BYTES + 9] + tally.tobytes()])


@EACH
def test_of_no_reports_nothing_is_estimated(mechanism: LocalMechanism) -> None:
    found = mechanism.decode([mechanism.combine(0, [], RANDOM)])
    if isinstance(mechanism, HeavyHitters):
        assert found == []
    else:
        assert (found.reports, found.nothing) == (0, 0.0)
        assert not found.estimates.any()
        assert not found.stderr.any()


# ---------------------------------------------------------------------- fuzz


@EACH
@given(st.data())
def test_any_bodies_are_counted_or_refused(mechanism: LocalMechanism, data: st.DataObject) -> None:
    size = mechanism.body_bytes
    bodies = data.draw(st.lists(st.binary(min_size=size, max_size=size), max_size=6))
    other = data.draw(st.lists(st.binary(max_size=40), max_size=3))
    batch = pairs(np.zeros((len(bodies) + len(other), 1), np.uint8))
    texts = [mechanism.tag + body for body in bodies] + other
    batch = [(report_id, text) for (report_id, _), text in zip(batch, texts, strict=True)]
    good, refused = mechanism.admit(0, batch)
    assert len(good) + len(refused) == len(batch)
    assert {error.code for error in refused.values()} <= {"T531", "T532", "T570"}
    found = mechanism.decode([mechanism.combine(0, good.items(), RANDOM)])
    if isinstance(mechanism, LocalOracle):
        assert np.isfinite(found.estimates).all()
        assert np.isfinite(found.stderr).all()


@EACH
@given(st.data())
def test_any_aggregate_is_decoded_or_refused(
    mechanism: LocalMechanism, data: st.DataObject
) -> None:
    whole = bytearray(mechanism.combine(0, GOOD[mechanism.key], RANDOM))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    found, code = None, "T532"
    try:
        found = mechanism.decode([bytes(whole)])
    except PrivacyError as error:
        code = error.code
    assert code in ("T532", "T537")
    if isinstance(mechanism, LocalOracle) and found is not None:
        assert np.isfinite(found.estimates).all()
        assert np.isfinite(found.stderr).all()


@EACH
def test_parameters_that_make_no_mechanism_are_refused(mechanism: LocalMechanism) -> None:
    written, arrays = mechanism.files()
    copy = type(mechanism).from_files(json.loads(json.dumps(written)), arrays)
    assert (copy.tag, copy.claim()) == (mechanism.tag, mechanism.claim())
    wrong: list[dict[str, object]] = [
        {name: value}
        for name in written
        for value in (None, -1, 0, "1", float("nan"), True, 1e9, [1])
        if not (name == "name" and value == "1")
    ]
    wrong += [{"more": 1}, {"epsilon": 1e-4}, {"epsilon": 41}, {"devices_max": 1 << 41}]
    wrong += [{"width": 24}] if "width" in written else []
    for change in wrong:
        with pytest.raises(PrivacyError, match="T534"):
            type(mechanism).from_files(written | change, {})
    for name in written:
        with pytest.raises(PrivacyError, match="T534"):
            type(mechanism).from_files({k: v for k, v in written.items() if k != name}, {})
    with pytest.raises(PrivacyError, match="T534"):
        type(mechanism).from_files(written, {"more": np.zeros(1)})


@pytest.mark.parametrize("codes", [[-1], [41], [0.5], [[1]], ["x"]])
def test_codes_outside_the_domain_are_refused(codes: list[object]) -> None:
    with pytest.raises(PrivacyError, match="T533"):
        RandomizedResponse(40, 10, 1.0, "x").encode_many(codes, RANDOM)


@pytest.mark.slow
@EACH
def test_guided_fuzzing_finds_no_crash(mechanism: LocalMechanism, tmp_path: Path) -> None:
    """atheris, coverage-guided, for some seconds on each decoder, with bounded memory."""
    (tmp_path / "seeds").mkdir()
    for place, (_, message) in enumerate(GOOD[mechanism.key][:5]):
        (tmp_path / "seeds" / f"report{place}").write_bytes(b"\0" + message)
    whole = mechanism.combine(0, GOOD[mechanism.key], RANDOM)
    (tmp_path / "seeds" / "aggregate").write_bytes(b"\1" + whole)
    script, seeds = Path(__file__).with_name("fuzz_local.py"), tmp_path / "seeds"
    fuzz(script, mechanism.key, seeds, cwd=tmp_path, seconds=8, longest=100_000)
