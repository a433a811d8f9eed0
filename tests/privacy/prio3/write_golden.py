"""Writes tests/golden/prio3: vectors of our own, in the form of the published ones.

    PYTHONPATH=src:tests/privacy/prio3 python tests/privacy/prio3/write_golden.py

Only to be run when `test_prio3_vectors` passes on all published vectors. The randomness is seeded,
so the files change only if the bytes of the protocol do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prio3_vectors import all_operations, variant

from tacit.errors import PrivacyError
from tacit.privacy.prio3.field import FIELD128
from tacit.privacy.prio3.prio3 import Prio3
from tacit.privacy.prio3.profile import profile
from tacit.privacy.prio3.xof import derive_seed, expand_into_vec
from tacit.privacy.randomness import unsafe_seeded

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "prio3"

V18: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "Prio3Count_0": ({"shares": 2}, [1, 0, 1]),
    "Prio3Count_1": ({"shares": 3}, [1]),
    "Prio3Sum_0": ({"shares": 2, "max_measurement": 1000}, [0, 1000, 999, 511, 512]),
    "Prio3Sum_1": ({"shares": 3, "max_measurement": 1}, [1, 0]),
    "Prio3SumVec_0": (
        {"shares": 2, "length": 4, "max_measurement": 20, "chunk_length": 5},
        [[0, 20, 3, 19], [1, 2, 16, 15]],
    ),
    "Prio3SumVecWithMultiproof_0": (
        {"shares": 2, "length": 3, "max_measurement": 255, "chunk_length": 5, "proofs": 3},
        [[0, 255, 128]],
    ),
    "Prio3Histogram_0": ({"shares": 2, "length": 20, "chunk_length": 7}, [0, 19, 3]),
    "Prio3Histogram_1": ({"shares": 4, "length": 5, "chunk_length": 2}, [4]),
    "Prio3MultihotCountVec_0": (
        {"shares": 2, "length": 9, "max_weight": 4, "chunk_length": 3},
        [[1, 0, 0, 1, 0, 1, 1, 0, 0], [0] * 9],
    ),
    "Prio3HigherDegree_0": ({"shares": 2}, [0, 1, 2]),
}
V08: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "Prio3Count_0": ({"shares": 2}, [1, 0]),
    "Prio3Sum_0": ({"shares": 3, "bits": 5}, [31, 0, 17]),
    "Prio3SumVec_0": ({"shares": 2, "length": 3, "bits": 3, "chunk_length": 2}, [[7, 0, 5]]),
    "Prio3Histogram_0": ({"shares": 2, "length": 6, "chunk_length": 4}, [5, 0]),
    "Prio3MultiHotHistogram_0": (
        {"shares": 2, "length": 5, "max_count": 2, "chunk_length": 3},
        [[0, 1, 0, 0, 1]],
    ),
}


def make(name: str, version: int, parameters: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    """A vector of reports that are all accepted."""
    one: Prio3[Any, Any] = variant(name.split("_")[0], version, parameters)
    randomness = unsafe_seeded(f"{version} {name}".encode())
    context = b"golden" if one.layout.profile.has_context else b""
    key = randomness.bytes(one.verify_key_bytes)
    reports, outs = [], []
    for value in values:
        nonce, rand = randomness.bytes(16), randomness.bytes(one.rand_bytes)
        public, shares = one.shard(context, value, nonce, rand)
        opened = [
            one.verify_init(key, context, i, nonce, public, share) for i, share in enumerate(shares)
        ]
        answers = [answer for _, answer in opened]
        message = one.verifier_shares_to_message(context, answers)
        outs.append([one.verify_next(state, message) for state, _ in opened])
        reports.append(
            {
                "measurement": value,
                "nonce": nonce.hex(),
                "rand": rand.hex(),
                "public_share": public.hex(),
                "input_shares": [share.hex() for share in shares],
                "verifier_shares": [[answer.hex() for answer in answers]],
                "verifier_messages": [message.hex()],
                "out_shares": [out.hex() for out in outs[-1]],
            }
        )
    aggregates = [one.aggregate(column) for column in zip(*outs, strict=True)]
    return parameters | {
        "ctx": context.hex(),
        "verify_key": key.hex(),
        "reports": reports,
        "agg_shares": [share.hex() for share in aggregates],
        "agg_result": one.unshard(aggregates, len(values)),
        "operations": all_operations(parameters["shares"], len(values)),
    }


def spoil(vector: dict[str, Any], name: str, field: str, at: int) -> dict[str, Any]:
    """The first report with one byte of its leader's or public share changed: refused."""
    one: Prio3[Any, Any] = variant(name, 18, vector)
    report = dict(vector["reports"][0])
    if field == "public_share":
        report[field] = _flip(report[field], at)
    else:
        report["input_shares"] = [_flip(report["input_shares"][0], at), report["input_shares"][1]]
    nonce, public = bytes.fromhex(report["nonce"]), bytes.fromhex(report["public_share"])
    key, context = bytes.fromhex(vector["verify_key"]), bytes.fromhex(vector["ctx"])
    answers = [
        one.verify_init(key, context, i, nonce, public, bytes.fromhex(share))[1]
        for i, share in enumerate(report["input_shares"])
    ]
    report |= {"measurement": None, "out_shares": [], "verifier_messages": []}
    report["verifier_shares"] = [[answer.hex() for answer in answers]]
    try:
        one.verifier_shares_to_message(context, answers)
    except PrivacyError:
        steps = all_operations(2, 1)[1:4]
        steps[-1]["success"] = False
        empty = {"agg_result": None, "agg_shares": []}
        return vector | empty | {"reports": [report], "operations": steps}
    raise AssertionError("the spoilt report passed")


def _flip(text: str, at: int) -> str:
    raw = bytearray.fromhex(text)
    raw[at] ^= 1
    return raw.hex()


def xof(version: int) -> dict[str, Any]:
    spoken, randomness = profile(version), unsafe_seeded(version)
    seed, tag, binder = randomness.bytes(spoken.seed_bytes), b"a golden tag", b"a golden binder"
    expanded = expand_into_vec(spoken, FIELD128, seed, tag, binder, 25)
    return {
        "seed": seed.hex(),
        "dst": tag.hex(),
        "binder": binder.hex(),
        "length": 25,
        "derived_seed": derive_seed(spoken, seed, tag, binder).hex(),
        "expanded_vec_field128": FIELD128.encode(expanded).hex(),
    }


def main() -> None:
    files: dict[str, dict[str, Any]] = {}
    for version, cases in ((18, V18), (8, V08)):
        folder = f"vdaf-{version:02}"
        files[f"{folder}/XofTurboShake128"] = xof(version)
        for name, case in cases.items():
            files[f"{folder}/{name}"] = make(name, version, *case)
    for name in ("Prio3Count", "Prio3Sum", "Prio3Histogram"):
        vector = files[f"vdaf-18/{name}_0"]
        files[f"vdaf-18/{name}_bad_leader_share"] = spoil(vector, name, "input_shares", 0)
        last = len(vector["reports"][0]["input_shares"][0]) // 2 - 1
        files[f"vdaf-18/{name}_bad_last_byte"] = spoil(vector, name, "input_shares", last - 7)
    vector = files["vdaf-18/Prio3Histogram_0"]
    files["vdaf-18/Prio3Histogram_bad_public_share"] = spoil(
        vector, "Prio3Histogram", "public_share", 40
    )
    for name, vector in files.items():
        path = GOLDEN / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(vector, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
