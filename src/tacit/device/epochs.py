"""A device's own filter over the epochs of its person's time.

The ledger in the cloud keeps every release within the filter of each epoch (`privacy.filters`). A
device does not take its word: it notes what each answer costs, in its vault, in the transaction
that notes the answer, and refuses a task that would go past its own filter. So a ledger that was
rolled back, or that somebody else keeps, spends no more of a person's epoch than the device lets.

A device lets itself be told once how much that is. A later task may ask for a smaller filter, which
then stays; a larger one, or epochs of another length, it does not take from a task.

What is charged does not depend on the device's rows, only on the tasks that it answered. So whether
it answers says nothing of what is in it; a device that charged only epochs in which it has rows
would spend less, and would have to answer with nothing rather than stay silent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tacit.errors import BudgetError, PrivacyError
from tacit.govern.epochs import Epochs, afford
from tacit.govern.spends import Spend, Touched
from tacit.privacy.loss import Loss
from tacit.privacy.mechanism import Mechanism

_META = "epochs"


@dataclass(frozen=True, slots=True)
class Charge:
    """What answering a task costs: the loss, of rows of which time, and the filter it names."""

    touched: Touched
    epochs: Epochs
    loss: Loss
    adjacency: str

    @classmethod
    def of(cls, asked: Mapping[str, Any], mechanism: Mechanism[Any]) -> Charge:
        """That of a task's contents. Raises KeyError, TypeError, PrivacyError for what is none."""
        claim, subject = mechanism.claim(), str(asked["subject"])
        start = None if asked["start"] is None else int(asked["start"])
        return cls(
            Touched(subject, start, int(asked["end"])),
            Epochs(subject, int(asked["length"]), asked["epsilon"], asked["delta"]),
            claim.loss,
            claim.adjacency,
        )

    def to_json(self) -> dict[str, Any]:
        """For the vault."""
        return {
            "touched": list(self.touched),
            "loss": self.loss.to_json(),
            "adjacency": self.adjacency,
        }

    def admit(
        self, before: Sequence[Mapping[str, Any]], kept: Mapping[str, Any], where: str
    ) -> dict[str, Any]:
        """The filters that the device keeps from now on, by subject. Raises PrivacyError T547 where
        this charge, after those before, goes past its own."""
        subject = self.touched.subject
        epochs = self._bounded(kept.get(subject))
        spends = [_spend(each, index) for index, each in enumerate(before)]
        try:
            afford(epochs, spends, _spend(self.to_json(), len(spends)), where)
        except BudgetError as error:
            raise PrivacyError(
                f"this device's own filter is spent: {error.message}",
                code="T547",
                where=where,
                fix="ask for later epochs; the device stays silent until then",
            ) from None
        pinned = {name: getattr(epochs, name) for name in ("length", "epsilon", "delta")}
        return {**kept, subject: pinned}

    def _bounded(self, kept: Mapping[str, Any] | None) -> Epochs:
        if kept is None:
            return self.epochs
        same = (kept["length"], kept["delta"]) == (self.epochs.length, self.epochs.delta)
        least = min(kept["epsilon"], self.epochs.epsilon) if same else kept["epsilon"]
        return replace(self.epochs, **{**kept, "epsilon": least})


def asked(touched: Touched, epochs: Epochs) -> dict[str, Any]:
    """What a task says of it: the part of its contents that `Charge.of` reads."""
    bounds = {name: getattr(epochs, name) for name in ("length", "epsilon", "delta")}
    return touched._asdict() | bounds


def _spend(written: Mapping[str, Any], index: int) -> Spend:
    return Spend(
        sequence=index,
        at=0,
        release=str(index),
        epoch="",
        purposes=(),
        mechanism="",
        claim="",
        loss=Loss.from_json(written["loss"]),
        state="committed",
        adjacency=written["adjacency"],
        touched=(Touched(*written["touched"]),),
    )
