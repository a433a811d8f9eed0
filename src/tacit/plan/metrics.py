"""Build, part six: metrics, in the order in which they stand on each other.

A metric that is measured is a declassifier, as a release is: its node's spec says of which rows, by
which mechanism, under which bounds, and by which dimensions it may be asked. The dimensions are
declared, so that the flow check sees every column that a question could ever name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tacit.declare import (
    ANYWHERE,
    AnyMetric,
    ConversionMetric,
    CumulativeMetric,
    Declaration,
    DerivedMetric,
    Events,
    Metric,
    Private,
    RatioMetric,
)
from tacit.declare.measure import ADDITIVE
from tacit.declare.metric import dimensions_of
from tacit.plan.draft import Draft
from tacit.plan.expressions import infer, read
from tacit.plan.graph import Column, Port
from tacit.plan.measures import Measured
from tacit.plan.outputs import sensitive_of, terms_of
from tacit.plan.sources import keep, regions
from tacit.values import Type, duration

COLUMN = (Column("value", "estimate"),)


def build_metric(draft: Draft, name: str, metric: AnyMetric) -> None:
    """Adds a metric node, after the metrics that it is made of; each is tried once.

    Raises T125 to T133 for what cannot be measured, T111 to T115 for its expressions.
    """
    if name not in draft.tried:
        draft.tried.add(name)
        _BUILDERS[type(metric)](draft, name, metric)


# ---------------------------------------------------------------------- measured


def _build_measured(draft: Draft, name: str, metric: Metric) -> None:
    if metric.release is not None:
        release = draft.standing(metric.release, metric)
        spec = {**terms_of(draft, metric, metric.release), "minimum": metric.minimum}
        draft.add(name, "metric", metric, (release,), COLUMN, spec, tuple(spec["purposes"]))
        draft.flow(Port(release, "value"), Port(name, "value"), "value")
        return
    assert metric.measure is not None, "one of the two is there"
    rows = Measured(draft, metric, metric.measure, dimensions_of(metric))
    spec = _private_spec(draft, metric, rows) | {"measure": rows.spec()}
    draft.add(name, "metric", metric, rows.inputs, COLUMN, spec, tuple(spec["purposes"]))
    rows.flow(name)


def _build_conversion(draft: Draft, name: str, metric: ConversionMetric) -> None:
    """People of the one and of the other; the dimensions are the first event's."""
    if metric.mechanism is None:
        raise draft.wrong(
            metric,
            "counts people, and no mechanism stands between them and the number",
            code="T214",
            fix='write mechanism="central", epsilon=…, minimum=…',
        )
    base = Measured(draft, metric, metric.base, dimensions_of(metric))
    then = Measured(draft, metric, metric.then, {})
    measured = {metric.base.aggregate, metric.then.aggregate}
    if measured != {"persons"} or base.entity is not then.entity or base.kind != then.kind:
        raise draft.wrong(
            metric,
            "is not of the same people twice",
            code="T131",
            fix="give base and then Measure.persons(…) of events with the same key of a person",
        )
    spec = _private_spec(draft, metric, base) | {
        "conversion": {
            "base": base.spec(),
            "then": then.spec(),
            "within": duration(metric.within),
            "shows": metric.shows,
        }
    }
    inputs = tuple(dict.fromkeys([*base.inputs, *then.inputs]))
    draft.add(name, "metric", metric, inputs, COLUMN, spec, tuple(spec["purposes"]))
    base.flow(name)
    then.flow(name)


def _private_spec(draft: Draft, metric: Private, rows: Measured) -> dict[str, Any]:
    """What stands between the rows and the number, and by what it may be asked."""
    terms = terms_of(draft, metric, None)
    if metric.mechanism is None:
        terms["region"] = terms["region"] or regions(ANYWHERE)
        terms["keep"] = terms["keep"] or keep("ever")
    dated = isinstance(rows.source, Events)
    spec = {
        **terms,
        "dimensions": rows.dimensions(),
        "grains": sorted(metric.grains) if dated else [],
        "sensitive": sensitive_of(draft, metric),
    }
    if metric.minimum is not None:
        spec["minimum"] = metric.minimum
    if metric.mechanism is not None:
        assert metric.epsilon is not None, "a mechanism has one"
        rows.check_bounds(metric)
        rows.check_reports(metric)
        spec |= {
            "mechanism": metric.mechanism,
            "epsilon": float(metric.epsilon),
            "delta": float(metric.delta),
            "answers": metric.answers,
            "max_groups": metric.max_groups,
            "max_periods": metric.max_periods,
        }
    return spec


# ---------------------------------------------------------------------- made of others


def _build_ratio(draft: Draft, name: str, metric: RatioMetric) -> None:
    parts = {"numerator": metric.numerator, "denominator": metric.denominator}
    named = _parts(draft, name, metric, parts)
    _add_composed(draft, name, metric, named, {"ratio": named})


def _build_derived(draft: Draft, name: str, metric: DerivedMetric) -> None:
    written = read(draft.declarations, metric, metric.sql)
    chosen = {used: _input(draft, metric, used) for used in sorted(written.columns)}
    if not chosen:
        fix = 'write one, as in "plays / listeners"'
        raise draft.wrong(metric, "names no metric", code="T128", fix=fix)
    named = _parts(draft, name, metric, chosen)
    kind = infer(draft.declarations, metric, written, dict.fromkeys(chosen, Type.FLOAT))
    if not kind.numeric:
        raise draft.wrong(
            metric, f"is {kind}, not a number", code="T112", fix="write arithmetic of metrics"
        )
    _add_composed(draft, name, metric, named, {"sql": written.sql, "inputs": named})


def _build_cumulative(draft: Draft, name: str, metric: CumulativeMetric) -> None:
    named = _parts(draft, name, metric, {"metric": metric.metric})
    spec = draft.nodes[named["metric"]].spec
    measure = spec.get("measure", {})
    aggregate = measure.get("aggregate")
    window = None if metric.window is None else duration(metric.window)
    # Devices do not say whether they reported before, so nobody knows who came first when.
    people = aggregate == "persons" and window is None and spec.get("mechanism") != "prio3"
    if not measure.get("time") or not (aggregate in ADDITIVE or people):
        what = f"a {aggregate} of events" if measure.get("time") else "what has no time"
        raise draft.wrong(
            metric,
            f"adds up {what} over {'a trailing window' if window else 'time'}: the periods of it do"
            " not add up to the whole",
            code="T130",
            fix="name a metric of a count or sum of events; or one of persons in the cloud, and no"
            " window",
        )
    _add_composed(draft, name, metric, named, {"cumulative": {**named, "window": window}})


def _parts(
    draft: Draft, name: str, metric: AnyMetric, parts: Mapping[str, AnyMetric]
) -> dict[str, str]:
    """Part → the name of its metric, built before. Raises T129 for metrics in a circle."""
    for part in parts.values():
        other = draft.declarations.name(part, metric)
        draft.forming.append(name)
        circle = other in draft.forming
        if not circle:
            with draft.attempt():
                build_metric(draft, other, part)
        steps = [*draft.forming, other]
        draft.forming.pop()
        if circle:
            raise draft.wrong(
                metric,
                f"stands on itself: {' → '.join(steps[steps.index(other) :])}",
                code="T129",
                fix="make one of them of measured metrics alone",
            )
    return {key: draft.standing(part, metric) for key, part in parts.items()}


def _input(draft: Draft, metric: DerivedMetric, used: str) -> AnyMetric:
    declared: Declaration | None = metric.inputs.get(used) or draft.declarations.named.get(used)
    if isinstance(declared, AnyMetric):
        return declared
    known = [*metric.inputs, *draft.declarations.of(AnyMetric)]
    close = difflib.get_close_matches(used, known, 1)
    what = f"declared as {declared.kind}" if declared is not None else "not declared"
    raise draft.wrong(
        metric,
        f"names {used!r}, which is {what}; a derived metric is over metrics",
        code="T128",
        fix=f"did you mean {close[0]!r}?" if close else "name a metric, or add it to inputs={…}",
    )


def _add_composed(
    draft: Draft,
    name: str,
    metric: AnyMetric,
    named: Mapping[str, str],
    meaning: Mapping[str, Any],
) -> None:
    """A metric of others, under the terms that all of them leave, or stricter ones of its own."""
    parts = [draft.nodes[part].spec for part in named.values()]
    for part, its in zip(named.values(), parts, strict=True):
        if "bucket" in its.get("measure", {}) and "cumulative" not in meaning:
            raise draft.wrong(
                metric,
                f"names {part!r}, which has several numbers in a cell",
                code="T128",
                fix="name a metric of one number, such as a count by that dimension",
            )
    spec = {**_terms(draft, metric, parts), **meaning}
    inputs = tuple(dict.fromkeys(named.values()))
    draft.add(name, "metric", metric, inputs, COLUMN, spec, tuple(spec["purposes"]))
    for part in inputs:
        draft.flow(Port(part, "value"), Port(name, "value"), "value")


def _terms(draft: Draft, metric: AnyMetric, parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    parts = list(parts)
    given = {
        "purposes": sorted(set.intersection(*(set(part["purposes"]) for part in parts))),
        "region": _common([part["region"] for part in parts]),
        "keep": min((part["keep"] for part in parts), key=_length),
    }
    if metric.purposes is not None:
        given["purposes"] = sorted(draft.declarations.purposes(metric.purposes, metric))
    if not given["purposes"]:
        fix = "relate metrics that share a purpose"
        raise draft.wrong(metric, "is for no purpose", code="T203", fix=fix)
    if not given["region"]:
        raise draft.wrong(
            metric,
            "is made of metrics that no region may hold together",
            code="T205",
            fix="relate metrics that may be read in one region",
        )
    if metric.region is not None:
        given["region"] = regions(metric.region)
    if metric.keep is not None:
        given["keep"] = keep(metric.keep)
    return given


def _common(stated: list[Any]) -> list[str]:
    named = [set(each) for each in stated if each and ANYWHERE not in each]
    return sorted(set.intersection(*named)) if named else regions(ANYWHERE)


def _length(kept: str | None) -> float:
    return float("inf") if kept in (None, "ever") else duration(str(kept))


_BUILDERS: Mapping[type[AnyMetric], Callable[[Draft, str, Any], None]] = {
    Metric: _build_measured,
    ConversionMetric: _build_conversion,
    RatioMetric: _build_ratio,
    DerivedMetric: _build_derived,
    CumulativeMetric: _build_cumulative,
}
