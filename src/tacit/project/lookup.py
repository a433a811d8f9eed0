"""What may be looked up online, for whom, and what reads it: the door to `project.serving`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from tacit.declare import AnyMetric, Declaration, Purpose
from tacit.errors import warn
from tacit.live.feeds import feeds_of, fresh_window
from tacit.live.intake import Settings
from tacit.live.online import Online
from tacit.live.reader import Lookup
from tacit.live.released import Released, deliveries_of
from tacit.plan import Plan
from tacit.plan.views import formulas_of, given_of, served, views_of
from tacit.project.noised import Noised
from tacit.project.serving import Serving
from tacit.project.sinks import cleared, purpose_of, uncleared
from tacit.project.training import check_kinds, named
from tacit.store.online.base import Backend

if TYPE_CHECKING:
    from tacit.project.project import Project

Asked: TypeAlias = str | Declaration | Iterable[str | Declaration]
"""Names of signals, formulas and metrics, or those declared; or one."""


def open_online(project: Project, backend: Backend) -> Online:
    """See `Project.online`."""
    where = project.settings.online
    units = {name: binding.unit for name, binding in project.settings.sources.items()}
    feeds = feeds_of(project.plan, lambda table: project.rows(table).table, where.baseline, units)
    return Online(backend, feeds, Settings(stale=where.stale))


def lookup(
    project: Project, signals: Asked, sink: str | None, purpose: str | Purpose | None
) -> Serving:
    """See `Project.lookup`."""
    given = [signals] if isinstance(signals, str | Declaration) else list(signals)
    metrics = [_metric(project, each) for each in given]
    names = [
        metric or named(project, [each])[0]  # type: ignore[list-item]
        for metric, each in zip(metrics, given, strict=True)
    ]
    check_kinds(project, names, {})
    use = purpose_of(project, purpose)
    if sink is not None or use is not None or served(project.plan) or any(metrics):
        purposes = cleared(project, "online", names, sink, use).spec["purposes"]
        use = use or (purposes[0] if len(purposes) == 1 else None)
        if use is None and any(metrics):
            raise uncleared(
                "online",
                f"numbers are released for a purpose, and the sink has {', '.join(purposes)}",
                str(project.settings.module),
                "say which: purpose=…",
            )
    return ready(project, names, use)


def _metric(project: Project, asked: str | Declaration) -> str | None:
    """The name of a declared metric; None for what is none."""
    metrics = project.declarations.of(AnyMetric)
    if isinstance(asked, str):
        return asked if asked in metrics else None
    return next((name for name, each in metrics.items() if each is asked), None)


def ready(project: Project, names: Sequence[str], purpose: str | None = None) -> Serving:
    """What is asked, to be read by one that has decided who may see it; metrics are those released
    for a purpose. Raises DataError T393 for a signal that the online store does not keep."""
    plan = project.plan
    metrics = [name for name in names if plan.nodes[name].kind == "metric"]
    signals = [name for name in names if name not in metrics]
    views = views_of(plan, signals)
    for source in sorted({view.source for view in views}):
        check_based(project, source)
    needed = [window.signal for view in views for window in view.windows]
    read = [*(n for n in signals if n in needed), *(n for n in needed if n not in signals)]
    read += [fresh_window(name) for name in read if "fresh" in plan.nodes[name].spec]
    formulas, given = formulas_of(plan, signals), given_of(plan, signals)
    if not metrics:
        return Serving(project.online.lookup(read), names, formulas, given)
    online = project.online
    lookup = online.lookup(read) if read else Lookup(online.backend, [], [], None)
    known = deliveries_of(plan)
    of = {each.metric: (each.entity, each.type) for each in known.values()}
    found = [known[name, purpose] for name in metrics if purpose and (name, purpose) in known]
    return Noised(
        lookup, names, formulas, given, {name: of[name] for name in metrics}, Released(found)
    )


def type_of(plan: Plan, name: str) -> str:
    """The type of what is served: "int", "float", "text", "bool", "time", "map<…>", "list<…>"."""
    node = plan.nodes[name]
    return "float" if node.kind == "metric" else node.columns[0].type


def has_rows(project: Project, source: str) -> bool:
    """Whether a source is bound to a file, or in the lake."""
    binding = project.settings.sources.get(source)
    return (binding is not None and binding.path is not None) or project.in_lake(source)


def check_based(project: Project, source: str) -> None:
    """Warns (T318) where a source has rows that the online store never took: none of them is in
    what it answers."""
    online = project.online
    if (
        not has_rows(project, source)
        or source not in online.sources
        or online.sources[source].feed.baseline
    ):
        return
    if online.standing(source).version <= 1:
        warn(
            f"the online store knows of {source!r} only what was pushed: no baseline was built from"
            " its rows",
            code="T318",
            where=f"[sources.{source}]",
            fix=f"tacit rebase {source}, or project.rebase({source!r}); to answer nothing before"
            " that, name it under [online] baseline",
        )
