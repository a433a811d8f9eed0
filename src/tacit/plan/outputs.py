"""Build, part four: what comes of signals: releases, models with bundles, sinks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tacit.declare import AnyMetric, Model, Private, Release, Sink
from tacit.declare.expression import parse
from tacit.plan.delivered import deliveries
from tacit.plan.draft import Draft
from tacit.plan.graph import Column, Port, prepared
from tacit.plan.sources import keep, key_columns, names, regions
from tacit.plan.taxonomy import CATEGORIES, nearest
from tacit.privacy.mechanism import MECHANISMS, mechanism
from tacit.values import Type, duration

LEARNERS = ("item_item", "spectral")


def terms_of(
    draft: Draft, user: Release | Model | AnyMetric | Sink, release: Release | None = None
) -> dict[str, Any]:
    """The clearance that an output states; it must state one purpose or more.

    A model or a metric of a release that leaves a term out has its release's.
    """
    given = {term: getattr(user, term) for term in ("purposes", "region", "keep")}
    for term, value in given.items() if release is not None else ():
        given[term] = getattr(release, term) if value is None else value
    purposes = draft.declarations.purposes(given["purposes"], user)
    if not purposes:
        raise draft.wrong(user, "is for no purpose", code="T203", fix="write purposes=[…]")
    return {
        "purposes": sorted(purposes),
        "region": regions(given["region"]),
        "keep": keep(given["keep"]),
    }


def sensitive_of(draft: Draft, user: Release | Private | Sink) -> list[str]:
    for category in names(user.sensitive):
        if category not in CATEGORIES:
            raise draft.wrong(
                user,
                f"clears an unknown category {category!r}",
                code="T104",
                fix=nearest(category, CATEGORIES, "data categories"),
            )
    return sorted(set(names(user.sensitive)))


def _registered(
    draft: Draft, user: Release | Model, what: str, name: str, known: Sequence[str]
) -> None:
    if name not in known:
        raise draft.wrong(
            user,
            f"asks for an unknown {what} {name!r}",
            code="T117",
            fix="use one of " + ", ".join(sorted(known)),
        )


def build_release(draft: Draft, name: str, release: Release) -> None:
    """Adds a release node. Raises T117 for an unknown mechanism, T113 for a signal it cannot take,
    T114 for one whose histogram is not by the keys of `over`."""
    signal = draft.standing(release.signal, release)
    table = draft.standing(release.over, release)
    _registered(draft, release, "mechanism", release.mechanism, tuple(MECHANISMS))
    _check_kind(draft, release, signal)
    _check_domain(draft, release, signal, table)
    spec = {
        **terms_of(draft, release),
        "mechanism": release.mechanism,
        "to": release.to,
        "epsilon": float(release.epsilon),
        "delta": float(release.delta),
        "sensitive": sensitive_of(draft, release),
        "options": release.options,
    }
    columns = (Column("value", "statistic"),)
    draft.add(name, "release", release, (signal, table), columns, spec, tuple(spec["purposes"]))
    domain = key_columns(release.over, release.over.of)[0]
    draft.flow(Port(signal, "value"), Port(name, "value"), "value")
    draft.flow(Port(table, domain), Port(name, "value"), "domain")


def _check_kind(draft: Draft, release: Release, signal: str) -> None:
    """The signal must be a histogram by a text key of what the mechanism takes, or one such key."""
    kind = draft.nodes[signal].columns[0].type
    takes = mechanism(release.mechanism).takes
    amounts = sorted(takes - {Type.TEXT})
    if kind not in {f"map<text, {type_}>" for type_ in amounts} | (takes & {Type.TEXT}):
        alone = " or a text" if Type.TEXT in takes else ""
        listed = " or ".join(amounts)
        raise draft.wrong(
            release,
            f"takes {signal!r}, which is {kind}; {release.mechanism} takes {listed} by text{alone}",
            code="T113",
            fix=f'make it a signal with by="…" whose values are {listed}'
            + (", or of one key, such as its last" if alone else ""),
        )


def _check_domain(draft: Draft, release: Release, signal: str, table: str) -> None:
    """The signal's `by` must be a key of the entity whose keys `over` lists; without `by`, its
    value."""
    spec = draft.nodes[signal].spec
    word = "by" if "by" in spec else "of"
    by = parse(spec["by"] if "by" in spec else spec["value"])
    joined, dot, column = next(iter(by.columns), "").rpartition(".")
    source = draft.declarations.named[joined] if dot else release.signal.source
    declared = getattr(source, "columns", {}).get(column)
    if by.tree.op != "column" or declared is None or declared.entity is not release.over.of:
        entity = draft.declarations.name(release.over.of, release)
        raise draft.wrong(
            release,
            f"is of {signal!r} {word} {by.sql}, which is not a key of {entity} as in {table!r}",
            code="T114",
            fix=f"make it a signal {word} a column made with key({entity}, …), or release it over"
            f" the table of what it is {word}",
        )


def build_model(draft: Draft, name: str, model: Model) -> None:
    """Adds a model node and the bundle that takes it to the devices."""
    release = draft.standing(model.release, model)
    _registered(draft, model, "learner", model.learner, LEARNERS)
    terms = terms_of(draft, model, model.release)
    mentions = tuple(terms["purposes"])
    spec = {**terms, "learner": model.learner, "options": model.options}
    draft.add(name, "model", model, (release,), (Column("value", "model"),), spec, mentions)
    draft.flow(Port(release, "value"), Port(name, "value"), "value")
    bundle = f"{name}:bundle"
    expires = {**terms, "expires": duration(model.expires)}
    columns = (Column("value", "bundle"),)
    draft.add(bundle, "bundle", model, (name,), columns, expires, mentions)
    draft.flow(Port(name, "value"), Port(bundle, "value"), "value")


def build_sink(draft: Draft, name: str, sink: Sink) -> None:
    """Adds a sink node with one column per signal, and per metric."""
    signals = [draft.standing(signal, sink) for signal in sink.signals]
    if not signals:
        raise draft.wrong(sink, "takes no signals", code="T116", fix="write signals=[…]")
    if len(set(signals)) < len(signals):
        raise draft.wrong(sink, "takes a signal twice", code="T102", fix="name each signal once")
    metrics = [each for each in signals if draft.nodes[each].kind == "metric"]
    _check_spine(draft, sink, [each for each in signals if each not in metrics])
    spec = {
        **terms_of(draft, sink),
        "to": sink.to,
        "place": sink.place,
        "linkability": sink.linkability,
        "sensitive": sensitive_of(draft, sink),
        **deliveries(draft, sink, metrics),
    }
    columns = tuple(Column(signal, draft.nodes[signal].columns[0].type) for signal in signals)
    draft.add(name, "sink", sink, tuple(signals), columns, spec, tuple(spec["purposes"]))
    for signal in signals:
        draft.flow(Port(signal, "value"), Port(name, signal), "value")


def _check_spine(draft: Draft, sink: Sink, signals: Sequence[str]) -> None:
    """One row of a sink is one moment of the same keys, of the same types.

    The rows of a training set bear the keys of several entities, and each signal is joined by its
    own; there only the types of one entity's key must agree. So it is with what is asked online.
    """
    spines: dict[str, str] = {}
    for signal in signals:
        rows = prepared(draft.nodes, signal)
        keys = [c for c in rows.columns if any(c.name == k for k, _ in rows.spec["keys"])]
        spines.setdefault(" and ".join(f"{key.name} ({key.type})" for key in keys), signal)
    each = {key for spine in spines for key in spine.split(" and ")}
    entities = {key.partition(" ")[0] for key in each}
    if len(each) > len(entities) or (len(spines) > 1 and sink.to == "export"):
        listed = "; ".join(f"{signal} per {spine}" for spine, signal in sorted(spines.items()))
        raise draft.wrong(
            sink,
            f"takes signals of different keys: {listed}",
            code="T114",
            fix="deliver each kind of key to a sink of its own",
        )
