"""What a person refused: consent, read with the values, at the same moment; and as it is now, where
values of another moment are asked for: to have agreed once is not to agree. A refusal that is dated
ahead counts at once, an agreement from its time on.

A signal of the project tells: true where the last record of a person says no to a purpose. It is
kept up like any other, so that a refusal counts from the moment it was pushed. What is about
people is denied to them who refused; and where the data was gathered on consent, to everybody of
whom no record says yes, as in a training set (`learn.consent`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tacit.declare import Basis, Purpose
from tacit.errors import ServeError
from tacit.live.values import Status, Table, Values
from tacit.plan import Plan
from tacit.plan.graph import Port
from tacit.values import Type


@dataclass(frozen=True)
class Refusals:
    """Of one purpose: the signal that tells of refusals, and whose keys it needs."""

    signal: str
    entities: tuple[str, ...]
    needs: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(
        cls, plan: Plan, purpose: str, signal: str, needs: Mapping[str, tuple[str, ...]]
    ) -> Refusals:
        """By the settings. Raises ServeError T857 for a purpose or a signal that is none."""
        node = plan.nodes.get(signal)
        wrong = None
        if purpose not in plan.declarations.of(Purpose):
            wrong = f"{purpose!r} is not a declared purpose"
        elif node is None or signal not in needs or node.columns[0].type != Type.BOOL:
            wrong = f"{signal!r} is not a signal that is served, and true or false"
        if wrong is not None:
            raise ServeError(
                wrong,
                code="T857",
                where="[serve.refusals]",
                fix='write PURPOSE = "SIGNAL", such as consents.last("NOT allowed", where="…")',
            )
        return cls(signal, needs[signal], needs)

    def over(self, plan: Plan, signals: Sequence[str], allowed: Sequence[bool]) -> Guard | None:
        """What it denies of some signals; None where it has no say: nothing is about people, or
        nobody's key is asked with."""
        keys = {entity for name in signals for entity in self.needs[name]}
        labels = [plan.label(Port(name, "value")) for name in signals]
        personal = [k for k, label in enumerate(labels) if label.subjects]
        if not personal or not keys.issuperset(self.entities):
            return None
        unless = [k for k in personal if Basis.CONSENT in labels[k].bases]
        place = signals.index(self.signal) if self.signal in signals else len(signals)
        hidden = place < len(signals) and not allowed[place]
        return Guard(self.signal, place, len(signals), personal, unless, hidden)


@dataclass(frozen=True)
class Guard:
    """Denies values of who refused.

    Attributes:
        place: where among what is read the refusal stands.
        size: of what is told; the refusal may stand behind it.
        personal: places of what is about people.
        unless: of these, of what needs a record that says yes.
        hidden: whether the refusal is asked for by a purpose that may not see it.
    """

    signal: str
    place: int
    size: int
    personal: Sequence[int]
    unless: Sequence[int]
    hidden: bool

    def one(self, found: Values, by_now: bool | None = False) -> Values:
        """The values of one key, those that were refused denied, then or ``by_now``."""
        refused = _either(found.values[self.place], by_now)
        denied = [] if refused is False else list(self.personal if refused else self.unless)
        values, status = found.values[: self.size], found.status[: self.size]
        for k in [*denied, self.place] if self.hidden else denied:
            values[k], status[k] = None, Status.DENIED
        return Values(values, status)

    def many(self, found: Table, signals: tuple[str, ...], by_now: Sequence[bool | None]) -> Table:
        """The same of many."""
        refused = list(map(_either, found.columns[self.place], by_now))
        status = found.status[:, : self.size].copy()
        columns = list(found.columns[: self.size])
        for k in dict.fromkeys([*self.personal, self.place] if self.hidden else self.personal):
            also = k in self.unless
            if self.hidden and k == self.place:
                columns[k] = [None] * len(refused)
                status[:, k] = Status.DENIED
                continue
            gone = [each is True or (each is None and also) for each in refused]
            if any(gone):
                pairs = zip(columns[k], gone, strict=True)
                columns[k] = [None if out else value for value, out in pairs]
                status[np.array(gone), k] = Status.DENIED
        return replace(found, signals=signals, columns=columns, status=status)


def _either(then: bool | None, now: bool | None) -> bool | None:
    """What two records say together: a refusal outweighs all, and no record outweighs a yes."""
    return True if then or now else None if then is None or now is None else False
