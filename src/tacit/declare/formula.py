"""Formulas: signals that are computed from other signals of the same keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from tacit.declare.arguments import DURATION, SQL, Takes, instance, short
from tacit.declare.base import Declaration, here
from tacit.declare.signal import Signal
from tacit.errors import DeclarationError
from tacit.values import duration

RATED = ("count", "sum", "distinct", "approx_distinct")
"""Aggregates that grow with their window, so that they have a rate."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Formula(Declaration):
    """A signal that is an expression over other signals, all of the same keys.

    Each is computed once, whoever else wants it; then the expression, row by row: nulls, overflow
    and division by zero mean what they mean in every expression (null).

    Args:
        sql: an expression of Tacit's SQL subset. A name in it is that of a signal or formula of the
            project, as in `"skips_7d / plays_7d"`, or one of `inputs`.
        inputs: further names, and the signal or formula that each stands for.
    """

    kind: ClassVar[str] = "formula"
    takes: ClassVar[Mapping[str, Takes]] = {
        **Declaration.takes,
        "sql": SQL,
        "inputs": instance(Mapping, "a mapping from names to signals", '{"plays": plays_7d}'),
    }

    sql: str
    inputs: Mapping[str, Signal | Formula] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, given in self.inputs.items():
            if not isinstance(name, str) or not isinstance(given, Signal | Formula):
                raise self.wrong(
                    f"has an input {short(name)}, which is {short(given)}, not a signal",
                    code="T116",
                    fix='give a mapping such as {"plays": plays_7d}',
                )


Derivable: TypeAlias = Signal | Formula


def rate(
    signal: Signal,
    per: str = "1h",
    *,
    doc: str = "",
    name: str | None = None,
    owner: str | None = None,
) -> Formula:
    """A count, sum or distinct count per unit of its window: `rate(plays_7d, per="1d")`.

    It is a float; null where the signal is. Raises DeclarationError T121 for a signal that has no
    rate: one without a window, a histogram, or an aggregate that does not grow with its window.
    """
    if not DURATION.test(per):
        raise DeclarationError(
            f"a rate has per={short(per)}, which is not {DURATION.what}",
            code=DURATION.code,
            where=here(),
            fix=f"write per={DURATION.example}",
        )
    units = _window(signal) / duration(per)
    return Formula(
        doc, sql=f"signal / {units!r}", inputs={"signal": signal}, name=name, owner=owner
    )


def trend(
    short: Signal,
    long: Signal,
    *,
    doc: str = "",
    name: str | None = None,
    owner: str | None = None,
) -> Formula:
    """The rate of a short window over that of a long one: above 1, there is more of it of late.

    It is a float; null where the long one is 0 or null, and where the short one is null. Raises
    DeclarationError T121 for signals that have no rate, or whose windows are not short and long.
    """
    windows = _window(short), _window(long)
    if windows[0] >= windows[1] or short.aggregate != long.aggregate:
        raise DeclarationError(
            f"a trend is of one aggregate over a short and a long window, not of {short.aggregate}"
            f" over {short.window} and {long.aggregate} over {long.window}",
            code="T121",
            where=here(),
            fix='give the short one first, such as trend(reads.count("1d"), reads.count("7d"))',
        )
    times = windows[1] / windows[0]
    return Formula(
        doc,
        sql=f"short * {times!r} / long",
        inputs={"short": short, "long": long},
        name=name,
        owner=owner,
    )


def _window(signal: object) -> int:
    """The window of a signal that has a rate, in microseconds."""
    what = None
    if not isinstance(signal, Signal):
        what = f"is of {short(signal)}, which is not a signal"
    elif signal.aggregate not in RATED:
        what = f"is of a {signal.aggregate}, which does not grow with its window"
    elif signal.by is not None:
        what = "is of a histogram"
    elif signal.length is None:
        what = "is of a signal without a window"
    else:
        return signal.length
    raise DeclarationError(
        f"a rate {what}",
        code="T121",
        where=here(),
        fix='give a count or sum with a window, such as reads.count("7d")',
    )
