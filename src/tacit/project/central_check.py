"""What makes no sense in a private query: PrivacyError T874, before anything is read or spent."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tacit.errors import PrivacyError
from tacit.plan.question import Question
from tacit.plan.stability import WIDEST
from tacit.project.central import CentralQuery, Measure
from tacit.project.central_grid import CELLED, GRIDDED, KINDS, cells_of, of
from tacit.values import Type

_KEYS = (Type.TEXT, Type.INT, Type.BOOL, Type.TIME)


def check_numbers(query: CentralQuery) -> None:
    for name, low, high in (("max_groups", 1, 1 << 20), ("max_rows", 1, 1 << 20)):
        value = getattr(query, name)
        if type(value) is not int or not low <= value <= high:
            raise wrong(query, f"{name} is {value!r}", fix=f"give a whole number of {low} or more")
    bounds = [each for each in (query.since, query.until) if each is not None]
    if any(type(each) is not int for each in bounds) or bounds != sorted(set(bounds)):
        times = f"since {query.since!r} until {query.until!r}"
        raise wrong(query, f"{times} is no time", fix="give whole microseconds, in order")
    if type(query.minimum) is not int or query.minimum < 0:
        raise wrong(query, f"minimum is {query.minimum!r}", fix="give a whole number, or leave it")
    good = _number(query.epsilon) and 1e-6 <= query.epsilon <= 1e3
    if not (good and _number(query.delta) and (query.delta == 0 or 1e-30 <= query.delta < 0.1)):
        raise wrong(
            query,
            f"epsilon {query.epsilon!r} with delta {query.delta!r} is no budget",
            fix="give an epsilon from 1e-6 to 1000, and a delta of 0 or well below one over the"
            " number of people",
        )
    if not (_number(query.confidence) and 0.5 <= query.confidence < 1):
        raise wrong(query, f"confidence is {query.confidence!r}", fix="give 0.95, or another < 1")
    if not query.measures:
        raise wrong(query, "it measures nothing", fix="give measures=(Measure(kind=…),)")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_names(query: CentralQuery, keys: Sequence[tuple[str, str]], names: Sequence[str]) -> None:
    columns = [name for name, _ in keys]
    columns += [f"{name}{end}" for name in names for end in ("", "_error", "_lower", "_upper")]
    twice = {name for name in columns if columns.count(name) > 1 or not name}
    if twice:
        raise wrong(
            query,
            f"its answer would have {len(twice)} columns twice: {', '.join(sorted(twice))}",
            fix="give measures names of their own: Measure(…, name=…)",
        )
    if query.public_keys is not None and not keys:
        raise wrong(query, "it has public_keys, and no keys", fix="name them in keys=(…)")


def check_measure(query: CentralQuery, measure: Measure) -> None:
    if measure.kind not in KINDS:
        raise wrong(query, f"there is no measure {measure.kind!r}", fix=f"use {', '.join(KINDS)}")
    if measure.kind == "top_k":
        alone = len(query.measures) == 1 and query.keys and not query.minimum > 1
        whole = type(measure.at) is int and 1 <= measure.at <= 1000
        if not (alone and whole):
            raise wrong(
                query,
                "top_k is of keys, alone, and without a minimum",
                fix="give keys, one measure, and at= how many, from 1 to 1000",
            )
    if measure.kind not in GRIDDED:
        return
    grid = (measure.low, measure.high, measure.step)
    if measure.column is None or not all(map(_number, grid)):
        raise wrong(
            query,
            f"a {measure.kind} has no column, or no bounds",
            fix="give column=, low=, high= and step=, chosen without looking at the rows",
        )
    low, high, step = map(of, grid)
    if not (step > 0 and low < high and ((high - low) / step).denominator == 1):
        raise wrong(
            query,
            f"[{measure.low}, {measure.high}] is no whole number of steps of {measure.step}",
            fix="give low < high, and a step that divides what is between them",
        )
    if measure.kind == "sum" and (low / step).denominator != 1:
        raise wrong(
            query,
            f"{measure.low} is no multiple of {measure.step}",
            fix="give bounds that are multiples of the step",
        )
    size = max(abs(low), abs(high), high - low) / step * query.max_rows
    if size > WIDEST or (measure.kind in CELLED and cells_of(measure) > 1 << 20):
        raise wrong(query, "the grid has too many steps", fix="use a larger step")
    if measure.kind == "quantile":
        at = measure.at
        good = isinstance(at, tuple) and at and all(_number(q) and 0 < q < 1 for q in at)
        if not good:
            raise wrong(query, f"a quantile is at {at!r}", fix="give at=(0.5,), or several")


def check_types(query: CentralQuery, asked: Question) -> None:
    for column in asked.view.computed:
        kind, i = column.name[0], column.name[1:]
        if kind == "g" and column.type not in _KEYS:
            raise wrong(
                query,
                f"the key {column.sql!r} is {column.type}",
                fix="group by text, ints or bools",
            )
        if kind == "w" and column.type is not Type.BOOL:
            raise wrong(query, f"where is {column.type}", fix="write a condition")
        gridded = kind == "v" and query.measures[int(i)].kind in GRIDDED
        if gridded and column.type not in (Type.INT, Type.FLOAT, Type.TIME):
            raise wrong(query, f"{column.sql!r} is {column.type}", fix="measure a number")


def wrong(query: CentralQuery, what: str, *, fix: str = "", code: str = "T874") -> PrivacyError:
    return PrivacyError(
        f"a private question makes no sense: {what}",
        code=code,
        where=f"question over {query.source}",
        fix=fix or "ask about events, whose rows bear the key of a person",
    )
