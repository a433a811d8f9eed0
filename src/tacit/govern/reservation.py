"""A reservation: a loss that is set aside in the ledger until it is spent, or given back."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from tacit.govern.spends import Spend, State
from tacit.privacy.loss import Loss
from tacit.values import fingerprint

if TYPE_CHECKING:
    from tacit.govern.ledger import Ledger


class Reservation:
    """A loss set aside. Commit it with the result before publishing, or refund it."""

    def __init__(self, ledger: Ledger, spend: Spend, *, resumed: bool) -> None:
        self._ledger = ledger
        self._spend = spend
        self.resumed = resumed

    @property
    def state(self) -> State:
        """As of the last call on this object."""
        return self._spend.state

    @property
    def result(self) -> str | None:
        """The fingerprint (`values.fingerprint`) of the committed result, if one was given."""
        return self._spend.result

    @property
    def loss(self) -> Loss:
        """What is set aside."""
        return self._spend.loss

    def commit(self, result: bytes | None = None) -> None:
        """Note what will be published; call it before publishing. Durable when it returns.

        Again with the same result it changes nothing. Raises PrivacyError T563 after a refund, T564
        when another result was committed.
        """
        mark = None if result is None else fingerprint(result)
        self._spend = self._ledger.settle(self._spend, "commit", result=mark)

    def drawing(self) -> None:
        """Note that noise is about to be drawn; durable when it returns.

        What is marked so, and was never committed, counts as spent: somebody may have seen what the
        noise came to, or how it failed, and another draw would be another release. Again it changes
        nothing. Raises PrivacyError T563 after a refund, T564 after a commit.
        """
        self._spend = self._ledger.settle(self._spend, "draw")

    def refund(self, why: str) -> None:
        """Give the loss back, because nothing was published. Raises PrivacyError T563 after a
        commit, or once noise was drawn: the result may be out."""
        self._spend = self._ledger.settle(self._spend, "refund", why=why)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Neither commits nor refunds: what was not settled stays reserved, and counts."""

    def __repr__(self) -> str:
        return f"Reservation({self._spend.release!r}, {self._spend.epoch!r}, {self.state})"
