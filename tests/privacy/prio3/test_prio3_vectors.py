"""Byte for byte: the published vectors where they stand beside the repository, and our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prio3_vectors import load, variant

from tacit.errors import PrivacyError
from tacit.privacy.prio3.batch import Batch
from tacit.privacy.prio3.field import FIELD64, FIELD128
from tacit.privacy.prio3.prio3 import Prio3
from tacit.privacy.prio3.profile import profile
from tacit.privacy.prio3.roles import VerifyState
from tacit.privacy.prio3.xof import derive_seed, expand_into_vec

HERE = Path(__file__).resolve()
FOLDERS = [HERE.parents[2] / "golden" / "prio3", HERE.parents[4] / "shared" / "vectors"]
FILES = [path for folder in FOLDERS for path in sorted(folder.glob("vdaf-*/Prio3*.json"))]
XOFS = [path for folder in FOLDERS for path in sorted(folder.glob("vdaf-*/XofTurboShake128.json"))]


def short(path: Path) -> str:
    return f"{path.parent.parent.name}/{path.parent.name}/{path.stem}"


class Replay:
    """Runs a vector's operations; each must give the vector's bytes, or be refused as it says."""

    def __init__(self, vector: dict[str, Any]) -> None:
        self.vector = vector
        self.prio3: Prio3[Any, Any] = variant(vector["name"], vector["version"], vector)
        self.context = bytes.fromhex(vector["ctx"])
        self.states: dict[tuple[int, int], VerifyState] = {}
        self.batch = Batch(self.prio3)

    def run(self) -> None:
        for step in self.vector["operations"]:
            perform = getattr(self, step["operation"])
            if step["success"]:
                perform(step)
            else:
                with pytest.raises(PrivacyError) as refusal:
                    perform(step)
                assert refusal.value.code in ("T553", "T554")

    def report(self, step: dict[str, Any]) -> dict[str, Any]:
        return self.vector["reports"][step["report_index"]]

    def shard(self, step: dict[str, Any]) -> None:
        report = self.report(step)
        nonce, rand = bytes.fromhex(report["nonce"]), bytes.fromhex(report["rand"])
        public, inputs = self.prio3.shard(self.context, report["measurement"], nonce, rand)
        batched = self.batch.shard(self.context, [report["measurement"]], [nonce], [rand])
        assert batched == [(public, inputs)]
        assert public.hex() == report["public_share"]
        assert [share.hex() for share in inputs] == report["input_shares"]

    def verify_init(self, step: dict[str, Any]) -> None:
        report, who = self.report(step), step["aggregator_id"]
        common = (bytes.fromhex(self.vector["verify_key"]), self.context, who)
        columns = (report["nonce"], report["public_share"], report["input_shares"][who])
        sent = [bytes.fromhex(column) for column in columns]
        state, share = self.prio3.verify_init(*common, *sent)
        batched = self.batch.verify_init(*common, *([column] for column in sent))
        assert batched.accepted == {0: (state, share)}
        assert share.hex() == report["verifier_shares"][0][who]
        self.states[step["report_index"], who] = state

    def verifier_shares_to_message(self, step: dict[str, Any]) -> None:
        report = self.report(step)
        shares = [bytes.fromhex(share) for share in report["verifier_shares"][0]]
        batched = self.batch.verifier_shares_to_message(self.context, [shares])
        assert set(batched.accepted) == ({0} if step["success"] else set())
        message = self.prio3.verifier_shares_to_message(self.context, shares)
        assert batched.accepted[0] == message
        assert message.hex() == report["verifier_messages"][0]

    def verify_next(self, step: dict[str, Any]) -> None:
        report, who = self.report(step), step["aggregator_id"]
        message = bytes.fromhex(report["verifier_messages"][0])
        state = self.states[step["report_index"], who]
        batched = self.batch.verify_next([state], [message])
        assert set(batched.accepted) == ({0} if step["success"] else set())
        out = self.prio3.verify_next(state, message)
        assert batched.accepted == {0: out}
        assert out.hex() == report["out_shares"][who]

    def aggregate(self, step: dict[str, Any]) -> None:
        who = step["aggregator_id"]
        outs = [bytes.fromhex(report["out_shares"][who]) for report in self.vector["reports"]]
        assert self.prio3.aggregate(outs).hex() == self.vector["agg_shares"][who]
        assert self.batch.aggregate(outs).hex() == self.vector["agg_shares"][who]

    def unshard(self, step: dict[str, Any]) -> None:
        shares = [bytes.fromhex(share) for share in self.vector["agg_shares"]]
        result = self.prio3.unshard(shares, len(self.vector["reports"]))
        assert result == self.vector["agg_result"]


@pytest.mark.parametrize("path", FILES, ids=short)
def test_every_byte_is_the_vectors(path: Path) -> None:
    Replay(load(path)).run()


def test_a_clone_alone_has_vectors_of_everything() -> None:
    """Without a file nothing would be replayed, and nothing would fail."""
    own = {f"{path.parent.name}/{path.stem}" for path in FILES if FOLDERS[0] in path.parents}
    modern = {"Count", "Sum", "SumVec", "SumVecWithMultiproof", "Histogram", "MultihotCountVec"}
    older = {"Count", "Sum", "SumVec", "Histogram", "MultiHotHistogram"}
    assert own >= {f"vdaf-18/Prio3{name}_0" for name in modern | {"HigherDegree"}}
    assert own >= {f"vdaf-08/Prio3{name}_0" for name in older}
    kinds = {
        path.split("_bad_")[0].removeprefix("vdaf-18/Prio3") for path in own if "_bad_" in path
    }
    assert kinds >= {"Count", "Sum", "Histogram"}
    assert len([path for path in XOFS if FOLDERS[0] in path.parents]) == 2


@pytest.mark.skipif(not FOLDERS[1].is_dir(), reason="the published vectors are not here")
def test_every_published_vector_is_replayed() -> None:
    """25 of version 18, 8 of which must fail, and 11 of version 8."""
    published = [path for path in FILES if FOLDERS[1] in path.parents]
    negative = [path for path in published if "_bad_" in path.stem]
    assert (len(published), len(negative)) == (36, 8)
    for path in negative:
        assert not all(step["success"] for step in load(path)["operations"])


@pytest.mark.parametrize("path", XOFS, ids=short)
def test_the_xof_is_the_vectors(path: Path) -> None:
    vector = json.loads(path.read_text())
    spoken = profile(int(path.parent.name.removeprefix("vdaf-")))
    seed, tag, binder = (bytes.fromhex(vector[name]) for name in ("seed", "dst", "binder"))
    assert derive_seed(spoken, seed, tag, binder).hex() == vector["derived_seed"]
    expanded = expand_into_vec(spoken, FIELD128, seed, tag, binder, vector["length"])
    assert FIELD128.encode(expanded).hex() == vector["expanded_vec_field128"]


def test_a_word_past_the_modulus_is_skipped() -> None:
    """Seeds found by the draft's authors, whose streams have such a word."""
    seed = bytes.fromhex("44341dc52d71a2ff2e4c305e9335da9b19afc68e10b8b543690dad9d3bbb46ba")
    assert expand_into_vec(profile(18), FIELD64, seed, b"", b"", 13883)[-1] == 4857131209231097247
    seed = bytes.fromhex("d195ec90c1bcf1f2cb2c7e74c5c5f6da")
    assert expand_into_vec(profile(8), FIELD64, seed, b"", b"", 140)[-1] == 9734340616212735019
