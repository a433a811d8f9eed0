"""The ledger's lines: what a record of the control store means, and which losses may be charged."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from tacit.errors import PrivacyError
from tacit.privacy.loss import Loss
from tacit.privacy.mechanism import Claim
from tacit.store.control import Record
from tacit.values import fingerprint

State = Literal["reserved", "committed", "refunded"]


@dataclass(frozen=True, slots=True)
class Spend:
    """One line of the ledger. `sequence` and `at` are those of its reservation's record."""

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


def spend_of(record: Record) -> Spend:
    """The spend that a reservation's record opens."""
    body = record.body
    claim = body["claim"]
    return Spend(
        sequence=record.sequence,
        at=record.at,
        release=record.key,
        epoch=body["epoch"],
        purposes=tuple(body["purposes"]),
        mechanism=claim["mechanism"],
        claim=fingerprint(claim),
        loss=Loss.from_json(claim["loss"]),
        state="reserved",
    )


def folded(record: Record, spends: Mapping[tuple[str, str], Spend]) -> Spend:
    """The spend as it stands after this record."""
    event, body = record.body["event"], record.body
    if event == "reserve":
        return spend_of(record)
    held = spends[record.key, body["epoch"]]
    if event == "commit":
        return replace(held, state="committed", result=body["result"])
    return replace(held, state="refunded")


def checked(claim: Claim, where: str) -> tuple[Loss, dict[str, Any]]:
    """The claim's loss and its JSON, whatever class or file the claim came from."""
    loss = claim.loss
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
    return Loss.from_json(written["loss"]), written


def number(value: object) -> bool:
    """A finite number, 0 or at least the least normal double."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) and (value == 0 or value >= sys.float_info.min)


def refused(code: str, message: str, where: str, fix: str) -> PrivacyError:
    """A refusal of the ledger, T560 to T564."""
    return PrivacyError(message, code=code, where=where, fix=fix)
