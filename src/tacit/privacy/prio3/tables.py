"""What the compiled kernels need to know of a circuit: constants, roots of unity, sizes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from tacit.privacy.prio3 import limbs, prove_kernels, query_kernels
from tacit.privacy.prio3.circuit import Circuit
from tacit.privacy.prio3.circuits import BitVector, Count, Sum, SumVec
from tacit.privacy.prio3.gadgets import wire_length
from tacit.privacy.prio3.limbs import Words

_KNOWN: Final = (Count, Sum, BitVector)


class Tables:
    """The kernels of one circuit, with everything but the reports bound."""

    def __init__(self, circuit: Circuit[Any, Any], shares: int, proofs: int) -> None:
        self.circuit, self.proofs = circuit, proofs
        field = circuit.field
        self.radix = limbs.montgomery_radix(field)
        self.modulus = limbs.modulus_of(field)
        self.size = field.size // 8
        p = wire_length(circuit.calls[0])
        root = field.root(2 * p)
        roots = [1]
        for _ in range(2 * p - 1):
            roots.append(roots[-1] * root % field.modulus)
        self.nodes = self._montgomery(roots)
        scale = field.inverse(p)
        self.coset = self._montgomery(roots[_reversed_bits(i, p)] * scale for i in range(p))
        part = field.inverse(shares)
        offset = circuit.offset if isinstance(circuit, BitVector) else 0
        self.consts = _table(
            [
                self.radix * self.radix % field.modulus,
                self.radix % field.modulus,
                part,
                offset * part % field.modulus,
                scale * self.radix % field.modulus,
                field.inverse(2 * p) * self.radix % field.modulus,
            ]
        )
        tail = circuit.tail_weights if isinstance(circuit, BitVector) else ()
        self.tail = self._montgomery(tail)
        weights = circuit.weights if isinstance(circuit, Sum | SumVec) else ()
        self.weights = self._montgomery(weights)
        self.wires = circuit.gadgets[0].arity

    @staticmethod
    def exist_for(circuit: Circuit[Any, Any]) -> bool:
        """Whether there are kernels for this circuit in its wire version."""
        return circuit.profile.evaluations and isinstance(circuit, _KNOWN)

    def _montgomery(self, values: Iterable[int]) -> Words:
        return _table([v * self.radix % self.circuit.field.modulus for v in values])

    def query(
        self, meas: Words, proofs: Words, joints: Words, rands: Words
    ) -> tuple[Words, query_kernels.Flags]:
        """Verifier shares, and which reports must not be answered (T555); a row a report."""
        rows, circuit = meas.shape[0], self.circuit
        out = np.empty((rows, self.proofs * circuit.verifier_len * self.size), np.uint64)
        leaks = np.zeros(rows, np.bool_)
        common = (rands, self.consts, self.modulus, self.nodes)
        if isinstance(circuit, BitVector):
            shape = (
                circuit.meas_len,
                circuit.chunk_length,
                circuit.calls[0],
                self.proofs,
                circuit.length,
                bool(circuit.sums),
            )
            query_kernels.query_bits(meas, proofs, joints, *common, self.tail, shape, out, leaks)
        else:
            values = (circuit.meas_len, self.wires, self.proofs)
            query_kernels.query_values(meas, proofs, *common, values, out, leaks)
        return out, leaks

    def prove(self, meas: Words, joints: Words, rands: Words) -> Words:
        """Proofs; a row a report."""
        circuit = self.circuit
        out = np.empty((meas.shape[0], self.proofs * circuit.proof_len * self.size), np.uint64)
        common = (rands, self.consts, self.modulus, self.nodes, self.coset)
        if isinstance(circuit, BitVector):
            shape = (circuit.chunk_length, circuit.calls[0], self.proofs)
            prove_kernels.prove_bits(meas, joints, *common, shape, out)
        else:
            values = (circuit.meas_len, self.wires, self.proofs)
            prove_kernels.prove_values(meas, *common, values, out)
        return out

    def decide(self, verifiers: Words) -> query_kernels.Flags:
        """Which rows of summed verifier shares are sound."""
        return query_kernels.decide(verifiers, self.wires, self.proofs, self.modulus)

    def truncate(self, meas: Words) -> Words:
        """Output shares; a row a report."""
        words = self.circuit.output_len * self.size
        if not len(self.weights):
            return meas[:, :words]
        out = np.empty((meas.shape[0], words), np.uint64)
        query_kernels.truncate(meas, self.weights, self.modulus, out)
        return out

    def plain(self, bits: Any) -> Words:
        """Small numbers (n, k) as rows of plain elements."""
        out = np.zeros((bits.shape[0], bits.shape[1] * self.size), np.uint64)
        out[:, :: self.size] = bits
        return out


def _table(values: list[int]) -> Words:
    pairs = [(value & (1 << 64) - 1, value >> 64) for value in values]
    return np.array(pairs, np.uint64).reshape(len(pairs), 2)


def _reversed_bits(i: int, n: int) -> int:
    bits = n.bit_length() - 1
    return int(format(i, f"0{bits}b")[::-1], 2) if bits else 0
