"""The fully linear proof: prove, query, decide (§7.3.3 to §7.3.5; BBCGGI19, theorem 4.3).

Every output of `query` is linear in the share of the measurement and of the proof, so the sum of
the verifiers' outputs is what one verifier with everything in hand would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tacit.errors import PrivacyError
from tacit.privacy.prio3.circuit import Circuit
from tacit.privacy.prio3.field import Field
from tacit.privacy.prio3.gadgets import Gadget, gadget_length, wire_length
from tacit.privacy.prio3.ntt import evaluate, inverse_ntt, lagrange_weights, next_power_of_2, ntt


class Wires:
    """The inputs of one gadget, call by call: `arity` wires, each with its seed first."""

    def __init__(self, gadget: Gadget, calls: int, seeds: Sequence[int]) -> None:
        self.gadget = gadget
        self.length = wire_length(calls)
        self.values = [[seed] + [0] * (self.length - 1) for seed in seeds]
        self.calls = 0

    def record(self, inputs: Sequence[int]) -> None:
        """The next call's inputs."""
        self.calls += 1
        for wire, value in zip(self.values, inputs, strict=True):
            wire[self.calls] = value


class Flp:
    """The proof system of one circuit. Vectors are lists of integers below the field's modulus."""

    def __init__(self, circuit: Circuit[Any, Any]) -> None:
        self.circuit = circuit
        self.field: Field = circuit.field

    def prove(self, meas: Sequence[int], rand: Sequence[int], joint: Sequence[int]) -> list[int]:
        """A proof that `meas` is valid, from `prove_rand_len` random elements (§7.3.3)."""
        wires = self._wires(rand)

        def call(i: int, inputs: Sequence[int]) -> int:
            wires[i].record(inputs)
            return wires[i].gadget.evaluate(self.field, inputs)

        self.circuit.outputs(meas, joint, 1, call)
        proof: list[int] = []
        for wire, calls in zip(wires, self.circuit.calls, strict=True):
            proof += [values[0] for values in wire.values]
            proof += self._gadget_polynomial(wire, gadget_length(wire.gadget, calls))
        return proof

    def _gadget_polynomial(self, wires: Wires, length: int) -> list[int]:
        """The gadget of the wire polynomials: `length` values, or coefficients in version 8."""
        n = next_power_of_2(length)
        spread = [ntt(self.field, inverse_ntt(self.field, wire), n) for wire in wires.values]
        values = [wires.gadget.evaluate(self.field, at) for at in zip(*spread, strict=True)]
        if self.circuit.profile.evaluations:
            return values[:length]
        return inverse_ntt(self.field, values)[:length]

    def query(
        self,
        meas: Sequence[int],
        proof: Sequence[int],
        rand: Sequence[int],
        joint: Sequence[int],
        shares: int,
    ) -> list[int]:
        """This verifier's share of the `verifier_len` elements to decide on (§7.3.4).

        Raises PrivacyError T555 if a test point is a root of unity: the answer would leak a wire.
        """
        wires, polynomials = self._wires_of(proof)

        def call(i: int, inputs: Sequence[int]) -> int:
            wires[i].record(inputs)
            return self._output(polynomials[i], wires[i])

        outputs = self.circuit.outputs(meas, joint, shares, call)
        points = rand[len(rand) - len(wires) :]
        if len(outputs) > 1:
            verifier = [self.field.dot(rand[: len(outputs)], outputs)]
        else:
            verifier = list(outputs)
        for wire, polynomial, t in zip(wires, polynomials, points, strict=True):
            if pow(t, wire.length, self.field.modulus) == 1:
                raise leaking_point()
            weights = lagrange_weights(self.field, wire.length, wire.length, t)
            verifier += [self.field.dot(weights, values) for values in wire.values]
            verifier.append(self._at(polynomial, t))
        return verifier

    def decide(self, verifier: Sequence[int]) -> None:
        """Accept the summed verifier shares, or raise PrivacyError T553 (§7.3.5)."""
        sound, at = verifier[0] == 0, 1
        for gadget in self.circuit.gadgets:
            inputs, output = verifier[at : at + gadget.arity], verifier[at + gadget.arity]
            sound &= gadget.evaluate(self.field, inputs) == output
            at += gadget.arity + 1
        if not sound:
            raise refused_proof()

    def _wires(self, seeds: Sequence[int]) -> list[Wires]:
        wires, at = [], 0
        for gadget, calls in zip(self.circuit.gadgets, self.circuit.calls, strict=True):
            wires.append(Wires(gadget, calls, seeds[at : at + gadget.arity]))
            at += gadget.arity
        return wires

    def _wires_of(self, proof: Sequence[int]) -> tuple[list[Wires], list[Sequence[int]]]:
        seeds: list[int] = []
        polynomials, at = [], 0
        for gadget, calls in zip(self.circuit.gadgets, self.circuit.calls, strict=True):
            seeds += proof[at : at + gadget.arity]
            at += gadget.arity
            length = gadget_length(gadget, calls)
            polynomials.append(proof[at : at + length])
            at += length
        return self._wires(seeds), polynomials

    def _output(self, polynomial: Sequence[int], wires: Wires) -> int:
        """The gadget's output in the call recorded last: its polynomial at that call's root."""
        if self.circuit.profile.evaluations:
            index = wires.calls * next_power_of_2(len(polynomial)) // wires.length
            if index < len(polynomial):
                return polynomial[index]
        alpha = self.field.root(wires.length)
        return self._at(polynomial, pow(alpha, wires.calls, self.field.modulus))

    def _at(self, polynomial: Sequence[int], x: int) -> int:
        if not self.circuit.profile.evaluations:
            return evaluate(self.field, polynomial, x)
        n = next_power_of_2(len(polynomial))
        return self.field.dot(lagrange_weights(self.field, n, len(polynomial), x), polynomial)


def leaking_point() -> PrivacyError:
    """The error for a test point at which a verifier must not answer (§7.3.4)."""
    return PrivacyError(
        "the test point is a root of unity; answering would leak the measurement",
        code="T555",
        fix="reject the report; honest clients meet this about never",
    )


def refused_proof() -> PrivacyError:
    """The error for a proof that does not hold (§7.3.5)."""
    return PrivacyError(
        "the proof does not hold: the measurement is out of range or the report was altered",
        code="T553",
        fix="reject the report",
    )
