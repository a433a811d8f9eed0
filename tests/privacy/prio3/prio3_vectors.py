"""Reads Prio3 test vectors, the published ones and our own, and makes the variant of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tacit.privacy import prio3
from tacit.privacy.prio3.circuit import Call, Circuit
from tacit.privacy.prio3.field import FIELD64
from tacit.privacy.prio3.gadgets import PolyEval
from tacit.privacy.prio3.prio3 import Prio3
from tacit.privacy.prio3.profile import EXPERIMENTAL_ID, Profile, profile


class HigherDegree(Circuit[int, int]):
    """The draft's circuit with a gadget of degree three: x (x - 1) (x - 2)."""

    key = "higher_degree"

    def __init__(self, spoken: Profile) -> None:
        self.profile, self.field = spoken, FIELD64
        self.gadgets, self.calls = (PolyEval((0, 2, -3, 1)),), (1,)
        self.meas_len = self.output_len = self.eval_len = 1
        self.joint_rand_len = 0

    def encode(self, measurement: int) -> list[int]:
        return [measurement]

    def outputs(
        self, meas: Sequence[int], joint: Sequence[int], shares: int, call: Call
    ) -> list[int]:
        return [call(0, [meas[0]])]

    def truncate(self, meas: Sequence[int]) -> list[int]:
        return list(meas)

    def decode(self, output: Sequence[int], count: int) -> int:
        return output[0]


def variant(name: str, version: int, parameters: dict[str, Any]) -> Prio3[Any, Any]:
    """The variant that a vector of this name was made with."""
    shares = parameters["shares"]
    greatest = parameters.get("max_measurement") or (1 << parameters.get("bits", 1)) - 1
    chosen: dict[str, Any] = {"shares": shares, "version": version}
    length, chunk = parameters.get("length", 0), parameters.get("chunk_length", 0)
    match name:
        case "Prio3Count":
            return prio3.count(**chosen)
        case "Prio3Sum":
            return prio3.sum_(greatest, **chosen)
        case "Prio3SumVec":
            return prio3.sum_vec(length, greatest, chunk, **chosen)
        case "Prio3SumVecWithMultiproof":
            proofs = parameters.get("proofs") or (3 if version == 18 else 4)
            return prio3.sum_vec_with_multiproof(length, greatest, chunk, proofs=proofs, **chosen)
        case "Prio3Histogram":
            return prio3.histogram(length, chunk, **chosen)
        case "Prio3MultihotCountVec" | "Prio3MultiHotHistogram":
            weight = parameters.get("max_weight") or parameters["max_count"]
            return prio3.multihot_count_vec(length, weight, chunk, **chosen)
        case "Prio3HigherDegree":
            return Prio3(HigherDegree(profile(version)), algorithm=EXPERIMENTAL_ID, shares=shares)
    raise ValueError(name)


def load(path: Path) -> dict[str, Any]:
    """One vector, with version 8's names turned into version 18's."""
    raw: dict[str, Any] = json.loads(path.read_text())
    raw["version"] = int(path.parent.name.removeprefix("vdaf-"))
    raw["name"] = path.stem.split("_")[0]
    raw.setdefault("ctx", "")
    if "prep" in raw:
        raw["reports"] = [
            report
            | {
                "out_shares": ["".join(share) for share in report["out_shares"]],
                "verifier_shares": report["prep_shares"],
                "verifier_messages": report["prep_messages"],
            }
            for report in raw["prep"]
        ]
        raw["operations"] = all_operations(raw["shares"], len(raw["reports"]))
    return raw


def all_operations(shares: int, reports: int) -> list[dict[str, Any]]:
    """What a vector without bad steps does, in the order of the draft's schema."""
    steps: list[dict[str, Any]] = []
    for i in range(reports):
        each = [{"aggregator_id": j} for j in range(shares)]
        steps.append({"operation": "shard"})
        steps += [{"operation": "verify_init"} | who for who in each]
        steps.append({"operation": "verifier_shares_to_message"})
        steps += [{"operation": "verify_next"} | who for who in each]
        for step in steps[-2 * shares - 2 :]:
            step["report_index"] = i
    steps += [{"operation": "aggregate", "aggregator_id": j} for j in range(shares)]
    return [step | {"success": True} for step in [*steps, {"operation": "unshard"}]]
