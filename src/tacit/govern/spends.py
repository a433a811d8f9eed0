"""The ledger's lines: what a record of the control store means, and which losses may be charged."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

from tacit.errors import PrivacyError, StoreError
from tacit.privacy.loss import Loss, compose
from tacit.privacy.mechanism import Claim
from tacit.store.control import Record
from tacit.values import fingerprint

State = Literal["reserved", "drawing", "committed", "refunded"]
OPEN: Final = ("reserved", "drawing")
"""The states of what counts, and was not committed yet."""
FOLLOWS: Final[Mapping[str, tuple[State, ...]]] = {"draw": ("reserved",), "refund": ("reserved",)}
"""After which states an event may stand; the others after any that is open."""


class Touched(NamedTuple):
    """Whose rows of what time a release reads: those dated in [start, end), in µs; None: no end."""

    subject: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Spend:
    """One line of the ledger. `sequence` and `at` are those of its reservation's record.

    `touched` is None where it did not say; `querier` is the team that asked, or "". `filters` says
    what the filter of each purpose is made for; purposes that it does not name have the usual one.
    """

    sequence: int
    at: int
    release: str
    epoch: str
    purposes: tuple[str, ...]
    mechanism: str
    claim: str
    loss: Loss
    state: State
    result: str | None = None
    adjacency: str = ""
    touched: tuple[Touched, ...] | None = None
    querier: str = ""
    filters: tuple[tuple[str, Loss | None], ...] = ()


def spend_of(record: Record) -> Spend:
    """The spend that a reservation's record opens. Raises as `folded` catches for one that nobody
    would pay for: without a purpose, or of no loss."""
    body = record.body
    claim = body["claim"]
    made = body.get("filters", {}).items()
    purposes, loss = _texts(body["purposes"]), Loss.from_json(claim["loss"])
    if not purposes or loss == Loss() or not isinstance(body["epoch"], str):
        raise ValueError("it charges nobody")
    return Spend(
        sequence=record.sequence,
        at=record.at,
        release=record.key,
        epoch=body["epoch"],
        purposes=purposes,
        mechanism=claim["mechanism"],
        claim=fingerprint(claim),
        loss=loss,
        state="reserved",
        adjacency=str(claim.get("adjacency", "")),
        touched=touched_of(body),
        querier=str(body.get("querier", "")),
        filters=tuple((name, like and Loss.from_json(like)) for name, like in made),
    )


def touched_of(body: Mapping[str, Any]) -> tuple[Touched, ...] | None:
    """What a record says was touched. Raises PrivacyError T546 for times that are none."""
    written = body.get("touched")
    if written is None:
        return None
    if not isinstance(written, list) or not all(isinstance(each, list) for each in written):
        raise TypeError(f"{written!r} is no list of times")
    return check_touched([Touched(*each) for each in written], "-")


def _texts(written: object) -> tuple[str, ...]:
    if not isinstance(written, list) or not all(isinstance(each, str) for each in written):
        raise TypeError(f"{written!r} is no list of texts")
    return tuple(written)


def united(
    one: Sequence[Touched] | None, other: Sequence[Touched] | None
) -> tuple[Touched, ...] | None:
    """All that either touched: for each subject the shortest time that holds both."""
    if one is None or other is None:
        return None
    found: dict[str, Touched] = {}
    for each in (*one, *other):
        held = found.get(each.subject, each)
        starts, ends = (held.start, each.start), (held.end, each.end)
        start = None if None in starts else min(s for s in starts if s is not None)
        end = None if None in ends else max(e for e in ends if e is not None)
        found[each.subject] = Touched(each.subject, start, end)
    return tuple(found[subject] for subject in sorted(found))


def check_touched(touched: Sequence[Touched], where: str) -> tuple[Touched, ...]:
    """The same, in order. Raises PrivacyError T546 for times that are none."""
    for subject, start, end in touched:
        ends = [each for each in (start, end) if each is not None]
        whole = all(isinstance(e, int) and not isinstance(e, bool) for e in ends)
        if not (whole and subject and (len(ends) < 2 or ends[0] < ends[1])):
            raise refused(
                "T546",
                f"it would read rows of {subject!r} from {start} to {end}, which is no time",
                where,
                "give whole microseconds, the start before the end; None where there is no end",
            )
    return united(touched, ()) or ()


def folded(record: Record, spends: Mapping[tuple[str, str], Spend]) -> Spend:
    """The spend as it stands after this record. Raises StoreError T708 for one that is unknown, or
    says less than its kind does: it could be a spend."""
    try:
        return _folded(record, spends)
    except (LookupError, TypeError, ValueError, AttributeError, PrivacyError) as error:
        raise _unknown(record, f"cannot be read ({error!r})") from error


def _folded(record: Record, spends: Mapping[tuple[str, str], Spend]) -> Spend:
    event, body = record.body["event"], record.body
    if event == "reserve":
        before = spends.get((record.key, body["epoch"]))
        if before is not None and before.state != "refunded":
            raise ValueError("it takes the place of a spend that counts")
        return spend_of(record)
    held = spends[record.key, body["epoch"]]
    if held.state not in FOLLOWS.get(event, OPEN) or body["reserve"] != held.sequence:
        raise ValueError(f"it cannot follow what is {held.state}")
    if event == "commit":
        return replace(held, state="committed", result=body["result"])
    if event == "extend":
        return replace(held, touched=touched_of(body))
    if event == "draw":
        return replace(held, state="drawing")
    if event == "refund":
        return replace(held, state="refunded")
    raise _unknown(record, f"says {event!r}")


def _unknown(record: Record, what: str) -> StoreError:
    return StoreError(
        f"the ledger has a line that {what}, which this release of Tacit does not read",
        code="T708",
        where=f"record {record.sequence}",
        fix="use the release of Tacit that wrote it",
    )


def spenders(spends: Sequence[Spend], delta: float) -> list[str]:
    """The releases that spent most, each with all its epochs together."""
    by_release: dict[str, list[Loss]] = {}
    for spend in spends:
        by_release.setdefault(spend.release, []).append(spend.loss)
    costs = sorted(
        ((compose(losses).epsilon(delta), name) for name, losses in by_release.items()),
        reverse=True,
    )
    shown = [f"{name}: ε={c:.6g} in {len(by_release[name])} epochs" for c, name in costs[:5]]
    return shown + [f"{len(costs) - 5} more releases"] * (len(costs) > 5)


def checked(claim: Claim, where: str) -> tuple[Loss, dict[str, Any]]:
    """The claim's loss and its JSON, whatever class or file the claim came from."""
    loss = claim.loss  # what is looked at is what is charged, whatever else the claim writes
    parts = (loss.rho, *(part for term in loss.terms for part in term))
    if not all(map(number, parts)) or not any(parts):
        raise refused(
            "T562",
            f"a loss of ρ={loss.rho} and {loss.terms} cannot be charged",
            where,
            "use a mechanism whose loss is finite and above zero; what loses nothing about anybody"
            " needs no reservation",
        )
    try:
        written = claim.to_json()
        fingerprint(written)
    except (ValueError, TypeError):
        fix = "give finite numbers and texts"
        raise refused("T562", "the claim cannot be written as JSON", where, fix) from None
    if Loss.from_json(written["loss"]) != loss:
        fix = "write the loss that the claim has"
        raise refused("T562", "the claim has one loss, and writes another", where, fix)
    return loss, written


def number(value: object) -> bool:
    """A finite number, 0 or at least the least normal double."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) and (value == 0 or value >= sys.float_info.min)


def refused(code: str, message: str, where: str, fix: str) -> PrivacyError:
    """A refusal of the ledger, T560 to T564."""
    return PrivacyError(message, code=code, where=where, fix=fix)
