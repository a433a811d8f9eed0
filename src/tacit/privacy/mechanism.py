"""What every release mechanism is: a claim, and the four steps that keep it.

::

    device       encode(value, randomness)      -> Report: one message for each aggregator
    aggregator   admit(index, messages)         -> the well-formed ones, and why others are not
                 combine(index, messages, randomness) -> one aggregate
    collector    decode(aggregates)             -> the released value

Whoever checks a flow, reserves a budget or explains a release reads the `Claim` only. A new
mechanism is one file that meets `Mechanism`, and one line in `MECHANISMS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy.typing as npt

from tacit.errors import PrivacyError
from tacit.privacy.loss import Loss
from tacit.privacy.randomness import Randomness
from tacit.values import Type

ID_BYTES = 16

MECHANISMS: Mapping[str, str] = {
    "pairs": "tacit.privacy.pairs:PairSum",
    "sum": "tacit.privacy.histogram:HistogramSum",
}
"""Short key to `module:class`; loaded when first asked for."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a mechanism promises, to whom, and who must be honest for it.

    `loss` and `epsilon` (at `delta`) hold against the collector and everybody it shows the result
    to; `aggregator_loss` and `aggregator_epsilon` against one curious aggregator that also learns
    the result. `sensitivity` is the greatest l2 change one device makes, in the `units` of the
    result; `sigma` the noise's σ on each coordinate of the result, in the same units. `trust`
    states, one sentence each, who must be honest for what, and what is not promised.
    """

    mechanism: str
    name: str
    adjacency: str
    units: str
    sensitivity: float
    sigma: float
    delta: float
    loss: Loss
    epsilon: float
    aggregator_loss: Loss
    aggregator_epsilon: float
    trust: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Its fields as JSON values."""
        losses = {name: getattr(self, name).to_json() for name in ("loss", "aggregator_loss")}
        return asdict(self) | losses | {"trust": list(self.trust)}


@dataclass(frozen=True, slots=True)
class Report:
    """One device's contribution: a random 16-byte id, and one message for each aggregator.

    Printing one shows lengths only. All messages together are the device's value in the clear.
    """

    id: bytes
    messages: tuple[bytes, ...]

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(message)} bytes" for message in self.messages)
        return f"Report({self.id.hex()}, {sizes})"


V = TypeVar("V", contravariant=True)


class Mechanism(Protocol[V]):
    """A release mechanism for device values of type V.

    `key` is its key in `MECHANISMS`, `trust` who must be honest for what, `takes` the types of the
    amounts that it sums, `report_bytes` what one device sends to all aggregators together.
    """

    key: ClassVar[str]
    aggregators: ClassVar[int]
    trust: ClassVar[tuple[str, ...]]
    takes: ClassVar[frozenset[Type]]

    @property
    def report_bytes(self) -> int:
        """The bytes of one device's messages to all aggregators."""
        ...

    def files(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Its public parameters, as JSON and as arrays: what a device needs to encode."""
        ...

    @classmethod
    def from_files(
        cls, parameters: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Self:
        """The mechanism that `files` described. Raises PrivacyError T534 for what makes none."""
        ...

    def claim(self) -> Claim:
        """What it promises. A function of its parameters alone."""
        ...

    def encode(self, value: V, randomness: Randomness) -> Report:
        """On the device: bound the value and share it among the aggregators."""
        ...

    def admit(
        self, index: int, messages: Iterable[tuple[bytes, bytes]]
    ) -> tuple[dict[bytes, bytes], dict[bytes, PrivacyError]]:
        """On aggregator `index`: the messages by id that `combine` takes, and the refusals."""
        ...

    def combine(
        self, index: int, messages: Iterable[tuple[bytes, bytes]], randomness: Randomness
    ) -> bytes:
        """On aggregator `index`: one aggregate of (id, message) pairs, this party's noise added.

        Raises PrivacyError T53x at the first message that is malformed, foreign or a duplicate.
        """
        ...

    def decode(self, aggregates: Sequence[bytes]) -> Any:
        """On the collector: the released value from one aggregate of each aggregator, in order.

        Raises PrivacyError T53x for aggregates that do not belong together.
        """
        ...


def mechanism(key: str) -> type[Mechanism[Any]]:
    """The class of a mechanism by its short key. Raises PrivacyError T530 for an unknown key."""
    if key not in MECHANISMS:
        raise PrivacyError(
            f"there is no mechanism {key!r}",
            code="T530",
            fix=f"use one of: {', '.join(sorted(MECHANISMS))}",
        )
    module, _, name = MECHANISMS[key].partition(":")
    found: type[Mechanism[Any]] = getattr(import_module(module), name)
    return found
