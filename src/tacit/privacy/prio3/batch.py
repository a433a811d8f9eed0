"""Prio3 for many reports at once: the same bytes as `prio3`, in compiled code (§7.2).

Every report stands for itself: a malformed or unsound one is refused alone, with the error that
`Prio3` raises for it, and the others go on. Circuits and wire versions without kernels (version 8)
run report by report behind the same interface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from tacit.errors import PrivacyError
from tacit.privacy.prio3 import limbs
from tacit.privacy.prio3.circuit import M, R, refuse_parameters
from tacit.privacy.prio3.encode import encode_rows
from tacit.privacy.prio3.field import malformed
from tacit.privacy.prio3.flp import leaking_point, refused_proof
from tacit.privacy.prio3.keccak import Bytes
from tacit.privacy.prio3.limbs import Words
from tacit.privacy.prio3.prio3 import Prio3
from tacit.privacy.prio3.profile import Usage
from tacit.privacy.prio3.roles import VerifyState
from tacit.privacy.prio3.streams import Part, Streams
from tacit.privacy.prio3.tables import Tables

T = TypeVar("T")
Sharded = tuple[bytes, tuple[bytes, ...]]
_TILE_BYTES = 1 << 19  # reports worked on together: their shares stay in the cache


@dataclass(slots=True)
class Outcomes(Generic[T]):
    """What became of each report, by its position: exactly one of the two."""

    accepted: dict[int, T] = field(default_factory=dict)
    refused: dict[int, PrivacyError] = field(default_factory=dict)


class Batch(Generic[M, R]):
    """The roles of `prio3`, many reports a call. Immutable, safe to share among threads."""

    def __init__(self, prio3: Prio3[M, R]) -> None:
        self.prio3, self._lay = prio3, prio3.layout
        self.compiled = Tables.exist_for(prio3.circuit)
        lay = self._lay
        if self.compiled:
            self._tables = Tables(prio3.circuit, lay.shares, lay.proofs)
        fitting = _TILE_BYTES // (lay.meas_bytes + lay.proof_bytes)
        self._tile = max(8, min(1024, fitting // 8 * 8))

    def shard(
        self,
        context: bytes,
        measurements: Sequence[M],
        nonces: Sequence[bytes],
        rands: Sequence[bytes],
    ) -> list[Sharded]:
        """§7.2.1 for each measurement. Raises PrivacyError T551 if any is out of range."""
        _same_length(measurements, nonces, rands)
        if not self.compiled:
            reports = zip(measurements, nonces, rands, strict=True)
            return [self.prio3.shard(context, *report) for report in reports]
        for nonce in nonces:
            self._lay.check_nonce(nonce)
        sharded: list[Sharded] = []
        for at in self._tiles(range(len(measurements))):
            part = slice(at[0], at[-1] + 1)
            sharded += self._shard_tile(context, measurements[part], nonces[part], rands[part])
        return sharded

    def verify_init(
        self,
        verify_key: bytes,
        context: bytes,
        index: int,
        nonces: Sequence[bytes],
        public_shares: Sequence[bytes],
        input_shares: Sequence[bytes],
    ) -> Outcomes[tuple[VerifyState, bytes]]:
        """§7.2.2 for each report: states and verifier shares, or T552, T555."""
        _same_length(nonces, public_shares, input_shares)
        lay = self._lay
        lay.check_verify_key(verify_key)
        lay.check_index(index)
        lay.profile.check_context(context)
        reports = list(zip(nonces, public_shares, input_shares, strict=True))
        if not self.compiled:
            init = self.prio3.verify_init
            return _each(reports, lambda report: init(verify_key, context, index, *report))

        def check(report: tuple[bytes, bytes, bytes]) -> tuple[bytes, bytes, bytes]:
            lay.check_nonce(report[0])
            lay.public_parts(report[1])
            lay.split_input_share(index, report[2])
            return report

        checked = _each(reports, check)
        outcomes: Outcomes[tuple[VerifyState, bytes]] = Outcomes(refused=checked.refused)
        streams = Streams(lay, context)
        for at in self._tiles(list(checked.accepted)):
            columns = [_rows([reports[i][column] for i in at]) for column in range(3)]
            self._init_tile(streams, verify_key, index, at, columns, outcomes)
        return outcomes

    def verifier_shares_to_message(
        self, context: bytes, reports: Sequence[Sequence[bytes]]
    ) -> Outcomes[bytes]:
        """§7.2.2 for each report's verifier shares, leader's first: messages, or T552, T553."""
        lay = self._lay
        lay.profile.check_context(context)
        if not self.compiled:
            return _each(
                reports, lambda shares: self.prio3.verifier_shares_to_message(context, shares)
            )

        def check(shares: Sequence[bytes]) -> None:
            lay.check_count("verifier shares", shares)
            for share in shares:
                lay.split_verifier_share(share)

        checked = _each(reports, check)
        outcomes: Outcomes[bytes] = Outcomes(refused=checked.refused)
        streams = Streams(lay, context)
        for at in self._tiles(list(checked.accepted)):
            columns = [_rows([reports[i][j] for i in at]) for j in range(lay.shares)]
            self._decide_tile(streams, at, columns, outcomes)
        return outcomes

    def verify_next(
        self, states: Sequence[VerifyState], messages: Sequence[bytes]
    ) -> Outcomes[bytes]:
        """§7.2.2 for each report: its output share, or T554."""
        _same_length(states, messages)
        pairs = list(zip(states, messages, strict=True))
        return _each(pairs, lambda pair: self.prio3.verify_next(*pair))

    def aggregate(self, out_shares: Iterable[bytes]) -> bytes:
        """§7.2.4. Raises PrivacyError T552 for a share that is not one of this variant."""
        if not self.compiled:
            return self.prio3.aggregate(out_shares)
        shares = list(out_shares)
        modulus = self._tables.modulus
        total = np.zeros(self._lay.out_share_bytes // 8, np.uint64)
        for at in self._tiles(range(len(shares))):
            for i in at:
                self._lay.check_out_share(shares[i])
            rows = _rows([shares[i] for i in at]).view(np.uint64)
            if limbs.out_of_field(rows, modulus).any():
                raise malformed("an output share has an element that is not below the modulus")
            limbs.accumulate(total, rows, modulus)
        return total.tobytes()

    def unshard(self, agg_shares: Sequence[bytes], count: int) -> R:
        """§7.2.5."""
        return self.prio3.unshard(agg_shares, count)

    def _tiles(self, positions: Sequence[int]) -> Iterator[Sequence[int]]:
        for start in range(0, len(positions), self._tile):
            yield positions[start : start + self._tile]

    def _open(
        self, streams: Streams, index: int, shares: Bytes
    ) -> tuple[Words, Words, Bytes, np.ndarray[Any, np.dtype[np.bool_]]]:
        """Measurement and proofs in words, blinds, and which reports are malformed."""
        lay, circuit, rows = self._lay, self.prio3.circuit, shares.shape[0]
        if index == 0:
            cut = lay.meas_bytes + lay.proof_bytes
            meas = shares[:, : lay.meas_bytes].copy().view(np.uint64)
            proofs = shares[:, lay.meas_bytes : cut].copy().view(np.uint64)
            bad = limbs.out_of_field(meas, self._tables.modulus)
            bad |= limbs.out_of_field(proofs, self._tables.modulus)
            return meas, proofs, shares[:, cut:], bad
        seeds, blinds = np.split(shares, [lay.profile.seed_bytes], axis=1)
        meas = streams.expand(Usage.MEAS_SHARE, rows, seeds, [bytes((index,))], circuit.meas_len)
        proofs = self._helper_proofs(streams, index, seeds)
        return meas, proofs, blinds, np.zeros(rows, np.bool_)

    def _helper_proofs(self, streams: Streams, index: int, seeds: Bytes) -> Words:
        proofs = self._lay.proofs
        binder = bytes((proofs, index))
        length = proofs * self.prio3.circuit.proof_len
        return streams.expand(Usage.PROOF_SHARE, len(seeds), seeds, [binder], length)

    def _part(
        self, streams: Streams, index: int, blinds: Bytes, nonces: Bytes, meas: Words
    ) -> Bytes:
        binders: list[Part] = [bytes((index,)), nonces, meas.view(np.uint8)]
        return streams.derive(Usage.JOINT_RAND_PART, len(meas), blinds, binders)

    def _joints(self, streams: Streams, parts: Bytes) -> tuple[Bytes, Words]:
        """The joint seeds that the parts lead to, and the joint randomness; empty without any."""
        lay, rows = self._lay, len(parts)
        if not lay.has_joint:
            return np.empty((rows, 0), np.uint8), np.empty((rows, 0), np.uint64)
        zeros = bytes(lay.profile.seed_bytes)
        seeds = streams.derive(Usage.JOINT_RAND_SEED, rows, zeros, [parts])
        length = lay.proofs * self.prio3.circuit.joint_rand_len
        binder = bytes((lay.proofs,))
        return seeds, streams.expand(Usage.JOINT_RANDOMNESS, rows, seeds, [binder], length)

    def _init_tile(
        self,
        streams: Streams,
        verify_key: bytes,
        index: int,
        at: Sequence[int],
        columns: Sequence[Bytes],
        outcomes: Outcomes[tuple[VerifyState, bytes]],
    ) -> None:
        lay, rows = self._lay, len(at)
        nonces, public, shares = columns
        meas, proofs, blinds, bad = self._open(streams, index, shares)
        part = np.empty((rows, 0), np.uint8)
        if lay.has_joint:
            part = self._part(streams, index, blinds, nonces, meas)
            public = public.copy()
            public[:, index * lay.blind_bytes : (index + 1) * lay.blind_bytes] = part
        joint_seeds, joints = self._joints(streams, public)
        binders: list[Part] = [bytes((lay.proofs,)), nonces]
        length = lay.proofs * self.prio3.circuit.query_rand_len
        rands = streams.expand(Usage.QUERY_RANDOMNESS, rows, verify_key, binders, length)
        verifiers, leaks = self._tables.query(meas, proofs, joints, rands)
        outs = self._tables.truncate(meas)
        answers = np.concatenate([verifiers.view(np.uint8), part], axis=1)
        for row, i in enumerate(at):
            if bad[row]:
                outcomes.refused[i] = malformed("an element is not below the field's modulus")
            elif leaks[row]:
                outcomes.refused[i] = leaking_point()
            else:
                state = VerifyState(outs[row].tobytes(), joint_seeds[row].tobytes())
                outcomes.accepted[i] = (state, answers[row].tobytes())

    def _decide_tile(
        self,
        streams: Streams,
        at: Sequence[int],
        columns: Sequence[Bytes],
        outcomes: Outcomes[bytes],
    ) -> None:
        cut, modulus = self._lay.verifier_bytes, self._tables.modulus
        total = np.zeros((len(at), cut // 8), np.uint64)
        bad = np.zeros(len(at), np.bool_)
        for column in columns:
            words = column[:, :cut].copy().view(np.uint64)
            bad |= limbs.out_of_field(words, modulus)
            limbs.add_rows(total, words, modulus)
        sound = self._tables.decide(total)
        seeds, _ = self._joints(streams, np.concatenate([c[:, cut:] for c in columns], axis=1))
        for row, i in enumerate(at):
            if bad[row]:
                outcomes.refused[i] = malformed("an element is not below the field's modulus")
            elif not sound[row]:
                outcomes.refused[i] = refused_proof()
            else:
                outcomes.accepted[i] = seeds[row].tobytes()

    def _shard_tile(
        self,
        context: bytes,
        measurements: Sequence[M],
        nonces: Sequence[bytes],
        rands: Sequence[bytes],
    ) -> list[Sharded]:
        lay, rows, circuit = self._lay, len(measurements), self.prio3.circuit
        modulus, streams = self._tables.modulus, Streams(lay, context)
        split = [lay.split_rand(context, rand) for rand in rands]
        seeds = [_rows([s[0][j][0] for s in split]) for j in range(lay.shares - 1)]
        blinds = [_rows([s[1][j] for s in split]) for j in range(lay.shares)]
        nonce_rows = _rows(nonces)
        meas = self._tables.plain(encode_rows(circuit, measurements))
        leader, parts = meas.copy(), [np.empty((rows, 0), np.uint8)] * lay.shares
        for j, seed in enumerate(seeds, start=1):
            binder = [bytes((j,))]
            share = streams.expand(Usage.MEAS_SHARE, rows, seed, binder, circuit.meas_len)
            limbs.subtract_rows(leader, share, modulus)
            if lay.has_joint:
                parts[j] = self._part(streams, j, blinds[j], nonce_rows, share)
        if lay.has_joint:
            parts[0] = self._part(streams, 0, blinds[0], nonce_rows, leader)
        public = np.concatenate(parts, axis=1)
        _, joints = self._joints(streams, public)
        length = lay.proofs * circuit.prove_rand_len
        prove_seeds, binder = _rows([s[2] for s in split]), [bytes((lay.proofs,))]
        prove = streams.expand(Usage.PROVE_RANDOMNESS, rows, prove_seeds, binder, length)
        proofs = self._tables.prove(meas, joints, prove)
        for j, seed in enumerate(seeds, start=1):
            limbs.subtract_rows(proofs, self._helper_proofs(streams, j, seed), modulus)
        first = np.concatenate([leader.view(np.uint8), proofs.view(np.uint8), blinds[0]], axis=1)
        others = [np.concatenate(pair, axis=1) for pair in zip(seeds, blinds[1:], strict=True)]
        return [
            (public[i].tobytes(), tuple(share[i].tobytes() for share in [first, *others]))
            for i in range(rows)
        ]


def _rows(parts: Sequence[bytes]) -> Bytes:
    """Equally long byte strings as rows; shape (n, length). Writable, as the kernels take them."""
    return np.frombuffer(bytearray(b"".join(parts)), np.uint8).reshape(
        len(parts), -1 if parts[0] else 0
    )


def _each(items: Iterable[Any], work: Callable[[Any], T]) -> Outcomes[T]:
    outcomes: Outcomes[T] = Outcomes()
    for i, item in enumerate(items):
        try:
            outcomes.accepted[i] = work(item)
        except PrivacyError as refusal:
            outcomes.refused[i] = refusal
    return outcomes


def _same_length(*columns: Sequence[Any]) -> None:
    if len({len(column) for column in columns}) > 1:
        raise refuse_parameters("the columns of a batch have different lengths")
