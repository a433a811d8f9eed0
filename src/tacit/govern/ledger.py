"""The privacy ledger: what may still be released, decided before anything is.

The order is reserve, compute, commit, publish:

1. `reserve` composes everything reserved and committed for each purpose of the release, and refuses
   what would go past a budget. The reservation is on the disk when it returns, and it counts.
2. The mechanism runs. One whose noise is drawn here notes before that it is (`drawing`): from then
   on nothing is refunded, whatever breaks off.
3. `commit(result)` names the bytes that will be published, before they are. From then on they may
   be published any number of times at no cost: it is one release, however often it is sent.
4. Only then are they published.

So what is reserved and not committed was not published, and may be refunded. Leaving the `with`
block does not refund: an exception says nothing about how far the block had come, and a budget that
errs must err towards having been spent. It costs an honest caller nothing, because reserving the
same release, epoch and claim again resumes the same reservation, after a crash too.

Two different results under one reservation would be two releases for the price of one; the second
`commit` is refused (T564). There is no refill by time: a clock that jumps changes nothing.

What is admitted, a filter decides (`privacy.filters`), for what is asked next is chosen after what
was seen: the ε of a question from code, or of a release declared since. The accountants of
`privacy.loss` (the best order, loss distributions) are for parameters fixed beforehand, and
δ(ε) of an adaptive choice can exceed what they say of each of its branches. One filter judges a
purpose from its first spend on. Before that spend nothing was seen, so it may be made for what is
declared by then (`_made_for`): it has the usual one, if that holds all that is declared, else the
one made for exactly that, so that a plan that fills its budget by a Gaussian release is not refused
for a half of δ that nobody uses. Every reservation writes down what its filter is made for, and the
next takes it over. *Proof.* Given everything before the first spend of a purpose, other purposes'
results too, its filter is fixed, and (ε, δ) holds by `privacy.filters`; then also on average. Where
all spends were refunded, nothing was published, and the next is the first again. ∎ A budget that is
changed is another promise: it is judged as though it had been the budget from the start.

Charged is `claim.loss`: the loss against everybody who sees the result. Printed is ε at the
budget's δ as `privacy.loss` converts it, the figure for parameters that were fixed; there may be
less room in the filter than it leaves.

A purpose's budget is for ever. Where people's time is cut into epochs (`govern.epochs`), a release
also passes the filter of every epoch that it touches, and the quota of whoever asks.

What is written is one hash-chained file with a witness beside it: `store.control` says which
tampering and which rollbacks are found, and which are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tacit.errors import BudgetError, PrivacyError
from tacit.govern.epochs import Epochs, Standing, afford, standing
from tacit.govern.reservation import Reservation as Reservation
from tacit.govern.spends import (
    OPEN,
    Spend,
    Touched,
    check_touched,
    checked,
    folded,
    number,
    refused,
    spend_of,
    spenders,
    united,
)
from tacit.privacy.filters import Filter, made_for, needed
from tacit.privacy.loss import Loss, compose
from tacit.privacy.mechanism import Claim
from tacit.privacy.pld import prepare
from tacit.store.control import ControlStore, Record
from tacit.values import fingerprint


@dataclass(frozen=True, slots=True)
class Budget:
    """What all releases for a purpose may cost one device together: ε at δ, for ever. 0: nothing.

    `declared` is all that is declared to be spent of it, composed; None where nobody knows.

    Raises PrivacyError T562 for an ε that is not finite and at least 0, or a δ outside (0, 0.1).
    """

    purpose: str
    epsilon: float
    delta: float
    declared: Loss | None = None

    def __post_init__(self) -> None:
        if not (number(self.epsilon) and number(self.delta) and 0 < self.delta < 0.1):
            raise refused(
                "T562",
                f"ε={self.epsilon}, δ={self.delta} is no budget",
                f"purpose {self.purpose}",
                "give a finite ε of 0 or more, and a δ well below one over the number of devices",
            )


@dataclass(frozen=True, slots=True)
class Line:
    """A printed line: a spend, its ε alone at the purpose's δ, and the purpose's ε after it."""

    purpose: str
    spend: Spend
    epsilon: float
    total: float


class Ledger:
    """The ledger of a project, on its control store. Several processes may share the store.

    `budgets` and `epochs` are the declared ones of now: raising one takes effect with the next
    reservation. A purpose has a budget for ever, or one in each epoch of the people it concerns.
    """

    def __init__(
        self, control: ControlStore, budgets: Iterable[Budget], epochs: Iterable[Epochs] = ()
    ) -> None:
        self._control = control
        self._budgets = {budget.purpose: budget for budget in budgets}
        self._epochs = tuple(epochs)
        self._spends: dict[tuple[str, str], Spend] = {}
        self._committed: dict[str, Loss] = {}  # composed; it only grows
        self._last: Record | None = None

    def reserve(
        self,
        purpose: str | Sequence[str],
        release: str,
        claim: Claim,
        epoch: int | str,
        *,
        touched: Iterable[Touched] | None = None,
        querier: str = "",
    ) -> Reservation:
        """Set the claim's loss aside in the budget of each purpose, and in every epoch of people's
        time that is `touched`; in all of them, or in none.

        `epoch` tells collections of one release apart. `touched` says whose rows of what time it
        reads; left out, it touches everything. `querier` is the team that asks.

        The same release, epoch, purposes and claim again resumes the reservation that there is, or
        returns the committed one (`state`, `result`): no second charge, but for epochs that the
        reservation had not touched. Raises BudgetError T501 when a budget does not hold it, T544
        when an epoch's filter does not, T545 when the querier's quota does not; PrivacyError T546
        for times that are none, T560 for a purpose without a budget, T561 when the release and
        epoch stand under another claim or other purposes, T562 for a loss that is zero, negative,
        subnormal or no number.
        """
        purposes = (purpose,) if isinstance(purpose, str) else tuple(sorted(set(purpose)))
        where = f"release {release}, epoch {epoch}"
        loss, written = checked(claim, where)
        reads = None if touched is None else check_touched(tuple(touched), where)
        lasting = [name for name in purposes if not self._renews(name, reads)]
        if not purposes:
            raise refused("T560", "it has no purpose", where, "declare what the result is for")
        body: dict[str, Any] = {
            "event": "reserve",
            "epoch": str(epoch),
            "purposes": list(purposes),
            "claim": written,
            "budgets": [[b.purpose, b.epsilon, b.delta] for b in map(self._budget, lasting)],
        }
        body |= {} if reads is None else {"touched": [list(each) for each in reads]}
        body |= {"querier": querier} if querier else {}
        if loss.terms and lasting:
            prepare()  # others wait while a transaction is open
        with self._control.transaction():
            held = self._current().get((release, str(epoch)))
            if held and held.state != "refunded":
                if (held.claim, held.purposes) != (fingerprint(written), purposes):
                    raise _changed(held, where)
                return Reservation(self, self._extended(held, reads, where), resumed=True)
            made = {name: self._made_for(name, loss) for name in lasting}
            for name, like in made.items():
                self._afford(name, release, str(epoch), loss, like)
            body["filters"] = {n: like.to_json() if like else None for n, like in made.items()}
            self._pass_epochs(spend_of(Record(0, "spend", release, 0, body, "", "")), where)
            record = self._control.append("spend", release, body)
        return Reservation(self, spend_of(record), resumed=False)

    def held(self, release: str, epoch: int | str) -> Spend | None:
        """What is set aside or spent under a release and epoch; None for nothing."""
        with self._control.transaction():
            held = self._current().get((release, str(epoch)))
        return None if held is None or held.state == "refunded" else held

    def loss(self, purpose: str) -> Loss:
        """Everything reserved and committed for a purpose, composed."""
        self._budget(purpose)
        with self._control.transaction():
            reserved = [s for s in self._current().values() if s.state in OPEN]
            committed = self._committed.get(purpose, Loss())
        return compose([committed, *(s.loss for s in reserved if purpose in s.purposes)])

    def spent(self, purpose: str) -> float:
        """The ε at the budget's δ of everything reserved and committed for a purpose."""
        return self.loss(purpose).epsilon(self._budget(purpose).delta)

    def remaining(self, purpose: str) -> float:
        """The budget's ε minus the spent one, at least 0; of one that is of each epoch, what is
        left of the fullest.

        Under zCDP losses add before they are converted, so a release may cost less than its own ε
        says: that one does not fit `remaining` does not mean that `reserve` refuses it.
        """
        if self._renews(purpose, None):
            lines = [x for x in self.epochs() if (x.kind, x.name) == ("purpose", purpose)]
            whole = [e.purposes[purpose][0] for e in self._epochs if purpose in e.purposes]
            return min([*whole, *(line.left for line in lines)])
        return max(0.0, self._budget(purpose).epsilon - self.spent(purpose))

    def statement(self, purpose: str | None = None) -> tuple[Line, ...]:
        """Every spend of a purpose, or of all, oldest first; refunded ones cost nothing."""
        lines = []
        for name in self._budgets if purpose is None else [purpose]:
            delta, total = self._budget(name).delta, Loss()
            with self._control.transaction():
                spends = [s for s in self._history() if name in s.purposes]
            for spend in spends:
                cost = Loss() if spend.state == "refunded" else spend.loss
                total = total + cost
                lines.append(Line(name, spend, cost.epsilon(delta), total.epsilon(delta)))
        return tuple(lines)

    def epochs(self) -> tuple[Standing, ...]:
        """How full the filter and each quota is, of every epoch that was touched."""
        with self._control.transaction():
            spends = [s for s in self._current().values() if s.state != "refunded"]
        return tuple(line for epochs in self._epochs for line in standing(epochs, spends))

    # ------------------------------------------------------------------ inside

    def _renews(self, purpose: str, reads: tuple[Touched, ...] | None) -> bool:
        """Whether a purpose's budget is one of each epoch that is touched, and none for ever."""
        if purpose in self._budgets:
            return False
        renewing = {epochs.subject for epochs in self._epochs if purpose in epochs.purposes}
        if reads is None:  # it touches all of them
            return bool(renewing)
        # Of people without such epochs nothing would be charged at all.
        return bool(reads) and all(each.subject in renewing for each in reads)

    def _pass_epochs(self, new: Spend, where: str) -> None:
        others = [s for s in self._current().values() if s.state != "refunded"]
        others = [s for s in others if (s.release, s.epoch) != (new.release, new.epoch)]
        for epochs in self._epochs:
            afford(epochs, others, new, where)

    def _extended(self, held: Spend, reads: tuple[Touched, ...] | None, where: str) -> Spend:
        """A resumed reservation, with the epochs that it had not touched charged too."""
        wider = united(held.touched, reads)
        if held.state == "committed" or wider == held.touched:
            return held
        new = replace(held, touched=wider)
        self._pass_epochs(new, where)
        written = None if wider is None else [list(each) for each in wider]
        body = {"event": "extend", "epoch": held.epoch, "reserve": held.sequence}
        self._control.append("spend", held.release, body | {"touched": written})
        return new

    def _budget(self, purpose: str) -> Budget:
        if purpose not in self._budgets:
            raise refused(
                "T560",
                f"no privacy budget is declared for {purpose!r}",
                f"purpose {purpose}",
                f"declare its ε and δ; budgets there are for: {', '.join(self._budgets) or 'none'}",
            )
        return self._budgets[purpose]

    def _made_for(self, purpose: str, loss: Loss) -> Loss | None:
        """What a purpose's filter is made for: the standing spends', or this first one's choice."""
        spends = self._of(purpose)
        if spends:
            return next((like for s in spends for n, like in s.filters if n == purpose), None)
        budget = self._budget(purpose)
        if not budget.epsilon:
            return None
        return made_for(budget.epsilon, budget.delta, budget.declared or loss, loss)

    def _afford(
        self, purpose: str, release: str, epoch: str, loss: Loss, like: Loss | None
    ) -> None:
        budget = self._budget(purpose)
        before = self.loss(purpose)
        after = before + loss
        # (0, δ) is a promise that something tiny can keep; a budget of 0 was meant as none.
        if budget.epsilon > 0 and Filter(budget.epsilon, budget.delta, like).holds(after):
            return
        spent = before.epsilon(budget.delta)
        least = needed(lambda one: Filter(one, budget.delta, like).holds(after), budget.epsilon)
        raised = f"the purpose's ε to {least:.6g}" if math.isfinite(least) else "its δ"
        raise BudgetError(
            f"the budget of {purpose!r} is ε={budget.epsilon:g} at δ={budget.delta:g}:"
            f" ε={spent:.6g} is spent, ε={max(0.0, budget.epsilon - spent):.6g} is left, and with"
            f" this release (ε={loss.epsilon(budget.delta):.6g} alone) its filter would need"
            f" ε={least:.6g}",
            code="T501",
            where=f"release {release}, epoch {epoch}",
            path=(*spenders(self._of(purpose), budget.delta), f"purpose {purpose}"),
            fix="release with more noise, refund what was reserved and never published, or raise"
            f" {raised}; nothing was released",
        )

    def _of(self, purpose: str) -> list[Spend]:
        with self._control.transaction():
            spends = [s for s in self._current().values() if purpose in s.purposes]
        return [s for s in spends if s.state != "refunded"]

    def _current(self) -> dict[tuple[str, str], Spend]:
        """The last spend under each release and epoch. Call it within a transaction.

        What was folded before is kept, if its last record is still the store's: a transaction
        around ours may have been rolled back since.
        """
        records = self._control.read("spend", after=self._last.sequence - 1 if self._last else 0)
        if self._last and (not records or records[0].hash != self._last.hash):
            self._spends, self._committed, self._last = {}, {}, None
            return self._current()
        for record in records[1 if self._last else 0 :]:
            spend = folded(record, self._spends)
            self._spends[spend.release, spend.epoch] = spend
            for purpose in spend.purposes if spend.state == "committed" else ():
                self._committed[purpose] = self._committed.get(purpose, Loss()) + spend.loss
            self._last = record
        return self._spends

    def _history(self) -> list[Spend]:
        """Every spend, refunded ones under a name that was used again included."""
        spends: dict[tuple[str, str], Spend] = {}
        history: dict[int, Spend] = {}
        for record in self._control.read("spend"):
            spend = folded(record, spends)
            spends[spend.release, spend.epoch] = history[spend.sequence] = spend
        return [history[sequence] for sequence in sorted(history)]

    def settle(
        self, spend: Spend, event: Literal["commit", "refund", "draw"], **more: Any
    ) -> Spend:
        """Commits or refunds a reservation, or notes that its noise is drawn, unless it stands so
        already; see `Reservation`."""
        where = f"release {spend.release}, epoch {spend.epoch}"
        with self._control.transaction():
            held = self._current()[spend.release, spend.epoch]
            if held.sequence != spend.sequence or {held.state, event} in _CONTRADICTIONS:
                raise refused(
                    "T563",
                    f"this reservation cannot be {_PAST[event]}: it was {_other(held, spend)}",
                    where,
                    "publish nothing from it; reserve again",
                )
            if held.state == "committed":
                if event == "draw" or held.result != more["result"]:
                    raise refused(
                        "T564",
                        "another result was committed under this reservation: two results are two"
                        " releases",
                        where,
                        "publish the committed result again, or reserve this one as a new epoch",
                    )
                return held
            if held.state == "reserved" or (held.state, event) == ("drawing", "commit"):
                body = {"event": event, "reserve": spend.sequence, "epoch": spend.epoch, **more}
                self._control.append("spend", spend.release, body)
            return self._current()[spend.release, spend.epoch]


_CONTRADICTIONS = (
    {"refunded", "commit"},
    {"refunded", "draw"},
    {"committed", "refund"},
    {"drawing", "refund"},
)
_PAST = {"commit": "committed", "refund": "refunded", "draw": "drawn from"}


def _other(held: Spend, spend: Spend) -> str:
    return held.state if held.sequence == spend.sequence else "refunded, and reserved anew"


def _changed(held: Spend, where: str) -> PrivacyError:
    return refused(
        "T561",
        f"it is {held.state} under another claim or for other purposes",
        where,
        "give the changed release another name, or take effect with the next epoch",
    )
