"""The sizes and parts of Prio3's messages (§7.2.7): checked here, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from tacit.privacy.prio3.circuit import Circuit, refuse_parameters
from tacit.privacy.prio3.field import malformed
from tacit.privacy.prio3.profile import NONCE_BYTES, Usage

T = TypeVar("T")


class Layout:
    """Message sizes, in bytes, of one variant with its number of aggregators and proofs."""

    def __init__(
        self, circuit: Circuit[Any, Any], *, algorithm: int, shares: int, proofs: int
    ) -> None:
        if not 2 <= shares <= 255:
            raise refuse_parameters(f"{shares} aggregators are not possible; 2 to 255 are")
        if not 1 <= proofs <= 255:
            raise refuse_parameters(f"{proofs} proofs are not possible; 1 to 255 are")
        if circuit.joint_rand_len and circuit.field.size < 16 and proofs < 3:
            # §9.5: joint randomness invites offline search, so the error must be about 2^-128.
            raise refuse_parameters("joint randomness over Field64 needs three proofs or more")
        self.circuit, self.profile = circuit, circuit.profile
        self.algorithm, self.shares, self.proofs = algorithm, shares, proofs
        self.has_joint = circuit.joint_rand_len > 0
        size, seed = circuit.field.size, self.profile.seed_bytes
        self.blind_bytes = seed if self.has_joint else 0
        self.meas_bytes = circuit.meas_len * size
        self.proof_bytes = circuit.proof_len * proofs * size
        self.verifier_bytes = circuit.verifier_len * proofs * size
        self.out_share_bytes = circuit.output_len * size
        self.public_share_bytes = shares * self.blind_bytes
        self.leader_bytes = self.meas_bytes + self.proof_bytes + self.blind_bytes
        self.helper_bytes = self.profile.helper_seeds * seed + self.blind_bytes
        self.verifier_share_bytes = self.verifier_bytes + self.blind_bytes
        helpers = (shares - 1) * self.profile.helper_seeds
        self.rand_bytes = (helpers + 1) * seed + shares * self.blind_bytes

    def tag(self, usage: Usage, context: bytes) -> bytes:
        """The domain separation tag of a usage. Raises PrivacyError T550 for a bad context."""
        self.profile.check_context(context)
        return self.profile.tag(self.algorithm, usage, context)

    def each(self, vector: Sequence[T], length: int) -> list[Sequence[T]]:
        """The vector's part for each proof, `length` elements a proof."""
        return [vector[i * length : (i + 1) * length] for i in range(self.proofs)]

    def split_rand(
        self, context: bytes, rand: bytes
    ) -> tuple[list[tuple[bytes, ...]], list[bytes], bytes]:
        """The helpers' seeds, all blinds (leader's first), and the prover's seed (§7.2.1)."""
        self.profile.check_context(context)
        if len(rand) != self.rand_bytes:
            raise refuse_parameters(f"sharding takes {self.rand_bytes} random bytes")
        size = self.profile.seed_bytes
        seeds = [rand[i : i + size] for i in range(0, len(rand), size)]
        if not self.has_joint:
            step = self.profile.helper_seeds
            helpers = [tuple(seeds[i : i + step]) for i in range(0, len(seeds) - 1, step)]
            return helpers, [b""] * self.shares, seeds[-1]
        step = self.profile.helper_seeds + 1
        groups = [seeds[i : i + step] for i in range(0, len(seeds) - 2, step)]
        blinds = [seeds[-2], *(group[-1] for group in groups)]
        return [tuple(group[:-1]) for group in groups], blinds, seeds[-1]

    def check_nonce(self, nonce: bytes) -> None:
        """Raises PrivacyError T552 for a nonce that has not 16 bytes."""
        if len(nonce) != NONCE_BYTES:
            raise malformed(f"a nonce has {NONCE_BYTES} bytes, this one has {len(nonce)}")

    def check_verify_key(self, key: bytes) -> None:
        """Raises PrivacyError T550 for a verification key of another size."""
        if len(key) != self.profile.seed_bytes:
            raise refuse_parameters(f"a verification key has {self.profile.seed_bytes} bytes")

    def check_index(self, index: int) -> None:
        """Raises PrivacyError T550 for an aggregator that there is not."""
        if not 0 <= index < self.shares:
            raise refuse_parameters(f"there is no aggregator {index} among {self.shares}")

    def check_count(self, what: str, shares: Sequence[bytes]) -> None:
        """Raises PrivacyError T552 unless there is one share for each aggregator."""
        if len(shares) != self.shares:
            raise malformed(f"{len(shares)} {what} came from {self.shares} aggregators")

    def check_out_share(self, share: bytes) -> None:
        """Raises PrivacyError T552 for an output or aggregate share of another size."""
        self._sized("an output share", share, self.out_share_bytes)

    def public_parts(self, public_share: bytes) -> list[bytes]:
        """The parts of the joint randomness, one an aggregator (§7.2.7.1)."""
        self._sized("a public share", public_share, self.public_share_bytes)
        size = self.blind_bytes
        return [public_share[i * size : (i + 1) * size] for i in range(self.shares)]

    def split_input_share(self, index: int, share: bytes) -> tuple[bytes, bytes]:
        """What comes before the blind, and the blind (§7.2.7.2)."""
        self.check_index(index)
        expected = self.helper_bytes if index else self.leader_bytes
        self._sized("an input share", share, expected)
        return share[: expected - self.blind_bytes], share[expected - self.blind_bytes :]

    def split_verifier_share(self, share: bytes) -> tuple[bytes, bytes]:
        """The verifier's elements, and its part of the joint randomness (§7.2.7.3)."""
        self._sized("a verifier share", share, self.verifier_share_bytes)
        return share[: self.verifier_bytes], share[self.verifier_bytes :]

    def _sized(self, what: str, message: bytes, expected: int) -> None:
        if len(message) != expected:
            raise malformed(f"{what} has {expected} bytes, this one has {len(message)}")
