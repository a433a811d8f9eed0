"""Who does what in a VDAF (§5), as interfaces over encoded messages.

::

    client       shard                          -> a public share, an input share per aggregator
    aggregator   verify_init                    -> its state and its verifier share
    (anyone)     verifier_shares_to_message     -> the verifier message, the same for all
    aggregator   verify_next                    -> its output share, which it adds to its aggregate
    collector    unshard                        -> the result

A report is rejected by raising PrivacyError, at whichever step finds it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

M = TypeVar("M", contravariant=True)
R = TypeVar("R", covariant=True)


@dataclass(frozen=True, slots=True)
class VerifyState:
    """What an aggregator keeps between its two steps (§7.2.2). Printing it shows no share.

    `joint_seed` is the joint randomness that the public share led to; empty without any.
    """

    out_share: bytes
    joint_seed: bytes

    def __repr__(self) -> str:
        return f"VerifyState({len(self.out_share)} bytes)"


class Client(Protocol[M]):
    """Holds a measurement, and wants nobody to see it."""

    def shard(
        self, context: bytes, measurement: M, nonce: bytes, rand: bytes
    ) -> tuple[bytes, tuple[bytes, ...]]:
        """§7.2.1: the public share, and one input share for each aggregator, leader first.

        nonce: 16 bytes; rand: `rand_bytes` bytes; both fresh from a CSPRNG for every report.
        """
        ...


class Aggregator(Protocol):
    """One of the verifiers; 0 is the leader, the others are helpers."""

    def verify_init(
        self,
        verify_key: bytes,
        context: bytes,
        index: int,
        nonce: bytes,
        public_share: bytes,
        input_share: bytes,
    ) -> tuple[VerifyState, bytes]:
        """§7.2.2: this aggregator's state, and its verifier share for the others."""
        ...

    def verifier_shares_to_message(self, context: bytes, shares: Sequence[bytes]) -> bytes:
        """§7.2.2: the decision on the proof, from all verifier shares in order."""
        ...

    def verify_next(self, state: VerifyState, message: bytes) -> bytes:
        """§7.2.2: the output share, once the joint randomness has proved the one announced."""
        ...

    def aggregate(self, out_shares: Iterable[bytes]) -> bytes:
        """§7.2.4: the sum of output shares; also merges aggregate shares, which look the same."""
        ...


class Collector(Protocol[R]):
    """Learns the aggregate, and nothing else."""

    def unshard(self, agg_shares: Sequence[bytes], count: int) -> R:
        """§7.2.5: the result from one aggregate share of each aggregator, over `count` reports."""
        ...
