"""Prio3 on plain integers, one report at a time: the draft, readably (§7.2).

All messages go in and out as the bytes of §7.2.7. `batch` does the same for many reports at once
in compiled code, and is tested to give the same bytes.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from typing import Any, Generic

from tacit.errors import PrivacyError
from tacit.privacy.prio3.circuit import Circuit, M, R
from tacit.privacy.prio3.field import Field
from tacit.privacy.prio3.flp import Flp
from tacit.privacy.prio3.layout import Layout
from tacit.privacy.prio3.profile import Usage
from tacit.privacy.prio3.roles import Aggregator, Client, Collector, VerifyState
from tacit.privacy.prio3.xof import derive_seed, expand_into_vec


class Prio3(Client[M], Aggregator, Collector[R], Generic[M, R]):
    """Client, aggregator and collector of one variant; see `roles`. Immutable, safe to share.

    `shares`: aggregators, 2 to 255. `proofs`: independent proofs a report (§7.1.2), 1 to 255.
    `algorithm`: the variant's code point (§10). Raises PrivacyError T550 for parameters outside.
    """

    def __init__(
        self, circuit: Circuit[M, R], *, algorithm: int, shares: int = 2, proofs: int = 1
    ) -> None:
        self.circuit = circuit
        self.layout = Layout(circuit, algorithm=algorithm, shares=shares, proofs=proofs)
        self.field: Field = circuit.field
        self._flp = Flp(circuit)

    @property
    def rand_bytes(self) -> int:
        """How much randomness `shard` takes."""
        return self.layout.rand_bytes

    @property
    def verify_key_bytes(self) -> int:
        """The size of the key that the aggregators share and clients never see (§9.1)."""
        return self.layout.profile.seed_bytes

    def shard(
        self, context: bytes, measurement: M, nonce: bytes, rand: bytes
    ) -> tuple[bytes, tuple[bytes, ...]]:
        """§7.2.1. Raises PrivacyError T551 for a measurement outside the circuit's range."""
        lay = self.layout
        lay.check_nonce(nonce)
        meas = self.circuit.encode(measurement)
        seeds, blinds, prove_seed = lay.split_rand(context, rand)
        leader, parts = meas, []
        for index in range(1, lay.shares):
            share = self._expand(context, Usage.MEAS_SHARE, seeds[index - 1][0], index)
            leader = self.field.subtract(leader, share)
            parts.append(self._part(context, index, blinds, nonce, share))
        parts.insert(0, self._part(context, 0, blinds, nonce, leader))
        joint_seed = self._joint_seed(context, b"".join(parts))
        proofs = self._prove(context, meas, prove_seed, joint_seed)
        for index in range(1, lay.shares):
            share = self._expand(context, Usage.PROOF_SHARE, seeds[index - 1][-1], index)
            proofs = self.field.subtract(proofs, share)
        first = self.field.encode(leader) + self.field.encode(proofs)
        others = (b"".join(pair) for pair in seeds)
        inputs = tuple(a + b for a, b in zip([first, *others], blinds, strict=True))
        return b"".join(parts), inputs

    def verify_init(
        self,
        verify_key: bytes,
        context: bytes,
        index: int,
        nonce: bytes,
        public_share: bytes,
        input_share: bytes,
    ) -> tuple[VerifyState, bytes]:
        """§7.2.2. Raises PrivacyError T552 for a malformed message, T555 as `Flp.query` does."""
        lay = self.layout
        lay.check_nonce(nonce)
        lay.check_verify_key(verify_key)
        parts = lay.public_parts(public_share)
        meas, proofs, blind = self._open(context, index, input_share)
        part, joint_seed = b"", b""
        if lay.has_joint:
            part = self._part(context, index, {index: blind}, nonce, meas)
            parts[index] = part
            joint_seed = self._joint_seed(context, b"".join(parts))
        joints = self._joints(context, joint_seed)
        rands = self._xof(
            context,
            Usage.QUERY_RANDOMNESS,
            verify_key,
            bytes((lay.proofs,)) + nonce,
            lay.proofs * self.circuit.query_rand_len,
        )
        verifier: list[int] = []
        for proof, rand, joint in zip(
            lay.each(proofs, self.circuit.proof_len),
            lay.each(rands, self.circuit.query_rand_len),
            lay.each(joints, self.circuit.joint_rand_len),
            strict=True,
        ):
            verifier += self._flp.query(meas, proof, rand, joint, lay.shares)
        state = VerifyState(self.field.encode(self.circuit.truncate(meas)), joint_seed)
        return state, self.field.encode(verifier) + part

    def verifier_shares_to_message(self, context: bytes, shares: Sequence[bytes]) -> bytes:
        """§7.2.2. Raises PrivacyError T552 for a malformed share, T553 for a wrong proof."""
        lay = self.layout
        lay.check_count("verifier shares", shares)
        total, parts = [0] * (lay.proofs * self.circuit.verifier_len), []
        for share in shares:
            elements, part = lay.split_verifier_share(share)
            total = self.field.add(total, self.field.decode(elements))
            parts.append(part)
        for verifier in lay.each(total, self.circuit.verifier_len):
            self._flp.decide(verifier)
        return self._joint_seed(context, b"".join(parts))

    def verify_next(self, state: VerifyState, message: bytes) -> bytes:
        """§7.2.2. Raises PrivacyError T554 when the joint randomness was not what was announced."""
        if not hmac.compare_digest(state.joint_seed, message):
            raise refused_randomness()
        return state.out_share

    def aggregate(self, out_shares: Iterable[bytes]) -> bytes:
        """§7.2.4. Raises PrivacyError T552 for a share that is not one of this variant."""
        total = [0] * self.circuit.output_len
        for share in out_shares:
            self.layout.check_out_share(share)
            total = self.field.add(total, self.field.decode(share))
        return self.field.encode(total)

    def unshard(self, agg_shares: Sequence[bytes], count: int) -> R:
        """§7.2.5. Raises PrivacyError T552 for shares that are not one of each aggregator."""
        self.layout.check_count("aggregate shares", agg_shares)
        return self.circuit.decode(self.field.decode(self.aggregate(agg_shares)), count)

    def _open(
        self, context: bytes, index: int, input_share: bytes
    ) -> tuple[list[int], list[int], bytes]:
        """An input share's measurement, proofs and blind (`expand_input_share` of §7.2.6)."""
        lay = self.layout
        body, blind = lay.split_input_share(index, input_share)
        if index == 0:
            elements = self.field.decode(body)
            return elements[: self.circuit.meas_len], elements[self.circuit.meas_len :], blind
        size = lay.profile.seed_bytes
        meas = self._expand(context, Usage.MEAS_SHARE, body[:size], index)
        return meas, self._expand(context, Usage.PROOF_SHARE, body[-size:], index), blind

    def _expand(self, context: bytes, usage: Usage, seed: bytes, index: int) -> list[int]:
        """A helper's share of the measurement or of the proofs, out of its seed (§7.2.6)."""
        if usage is Usage.MEAS_SHARE:
            return self._xof(context, usage, seed, bytes((index,)), self.circuit.meas_len)
        binder = bytes((self.layout.proofs, index))
        return self._xof(context, usage, seed, binder, self.layout.proofs * self.circuit.proof_len)

    def _prove(
        self, context: bytes, meas: Sequence[int], seed: bytes, joint_seed: bytes
    ) -> list[int]:
        lay, length = self.layout, self.circuit.prove_rand_len
        binder = bytes((lay.proofs,))
        rands = self._xof(context, Usage.PROVE_RANDOMNESS, seed, binder, lay.proofs * length)
        joints = self._joints(context, joint_seed)
        proofs: list[int] = []
        for rand, joint in zip(
            lay.each(rands, length), lay.each(joints, self.circuit.joint_rand_len), strict=True
        ):
            proofs += self._flp.prove(meas, rand, joint)
        return proofs

    def _part(
        self, context: bytes, index: int, blinds: Any, nonce: bytes, meas: Sequence[int]
    ) -> bytes:
        """One aggregator's part of the joint randomness (§7.2.6); empty without any."""
        if not self.layout.has_joint:
            return b""
        binder = bytes((index,)) + nonce + self.field.encode(meas)
        tag = self.layout.tag(Usage.JOINT_RAND_PART, context)
        return derive_seed(self.layout.profile, blinds[index], tag, binder)

    def _joint_seed(self, context: bytes, parts: bytes) -> bytes:
        if not self.layout.has_joint:
            return b""
        profile = self.layout.profile
        tag = self.layout.tag(Usage.JOINT_RAND_SEED, context)
        return derive_seed(profile, bytes(profile.seed_bytes), tag, parts)

    def _joints(self, context: bytes, joint_seed: bytes) -> list[int]:
        if not self.layout.has_joint:
            return []
        proofs = self.layout.proofs
        length = proofs * self.circuit.joint_rand_len
        return self._xof(context, Usage.JOINT_RANDOMNESS, joint_seed, bytes((proofs,)), length)

    def _xof(
        self, context: bytes, usage: Usage, seed: bytes, binder: bytes, length: int
    ) -> list[int]:
        tag = self.layout.tag(usage, context)
        return expand_into_vec(self.layout.profile, self.field, seed, tag, binder, length)


def refused_randomness() -> PrivacyError:
    """The error for joint randomness that the client did not announce truthfully (§7.2.2)."""
    return PrivacyError(
        "the joint randomness is not the one that the report was made with",
        code="T554",
        fix="reject the report",
    )
