"""What a project answers: signals of the cloud, by keys, for a purpose.

::

    answers = Answers.open(project)
    asked = answers.ask(["looks", "last"], purpose="discover")   # made once, kept
    asked.one({"person": "p1"})                                  # Values(values, status)
    asked.many({"person": "p1", "thing": ["i1", "i2", …]})       # Table: columns, status, floats()

Purposes are decided when something is asked, from the plan's decision table, not when it is read.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any

from tacit.declare import Place
from tacit.errors import ServeError, StoreError
from tacit.live.released import Released, deliveries_of
from tacit.plan.views import formulas_of, given_of
from tacit.project import Project
from tacit.project.lookup import type_of
from tacit.serve.asked import Asked
from tacit.serve.decisions import Decisions, decide
from tacit.serve.kept import Kept
from tacit.serve.problems import nearest
from tacit.serve.refusals import Refusals
from tacit.values import Type

_MOST = 1024  # different questions that are kept ready


class Answers:
    """All that a project can be asked; `open` makes it.

    Attributes:
        names: signals and formulas of the cloud that the online store keeps, as declared, and
            metrics that are delivered to it.
        entities: of each name, the entities whose keys it needs, in order.
        given: of each formula over what arrives with a read, its names and types.
        released: those metrics, by the purposes for which they are.
        decisions: which purpose may see which.
        kept: answers that are kept while they stand, up to ``room`` bytes.
    """

    def __init__(self, project: Project, room: int | None = None) -> None:
        self.project = project
        plan = project.plan
        kept = {
            window.signal: tuple(name for name, _ in view.keys)
            for source in project.online.sources.values()
            for view in source.feed.views
            for window in view.windows
        }
        self.entities: dict[str, tuple[str, ...]] = {}
        self.given: dict[str, dict[str, Type]] = {}
        for node in plan.nodes.values():
            if node.kind == "signal" and node.id in kept:
                self.entities[node.id] = kept[node.id]
            elif node.kind == "formula" and node.place is Place.CLOUD:
                [formula] = formulas_of(plan, [node.id])
                given = given_of(plan, [node.id])
                inputs = [name for name, _ in formula.inputs if name not in given]
                if all(name in kept for name in inputs):
                    self.entities[node.id] = kept[inputs[0]]
                    self.given[node.id] = given
        self.released = tuple(deliveries_of(plan).values())
        self.entities |= {each.metric: (each.entity,) for each in self.released}
        self.names = tuple(self.entities)
        self.decisions: Decisions = decide(plan, self.names)
        self.refusals = {
            purpose: Refusals.of(plan, purpose, name, self.entities)
            for purpose, name in project.settings.serve.refusals.items()
        }
        self.kept = Kept(project.settings.serve.remember if room is None else room)
        self._asked: dict[tuple[tuple[str, ...], str], Asked] = {}
        self._making = threading.Lock()

    @classmethod
    def open(cls, project: Project, room: int | None = None) -> Answers:
        """The answers of a project, over its online store."""
        return cls(project, room)

    def ask(self, signals: Sequence[str] | None, purpose: str) -> Asked:
        """Some signals for a purpose; all that there are, where None is given.

        What the purpose may not see is among them, and is DENIED when it is read. Raises ServeError
        T841 for a signal that is not served, T843 for a purpose that nobody declared.
        """
        names = self.names if signals is None else tuple(signals)
        found = self._asked.get((names, purpose))
        if found is None:
            self._check(names)
            allowed = self.decisions.row(purpose, names)
            found = Asked(
                self.project, names, purpose, allowed, self.kept, self.refusals.get(purpose)
            )
            with self._making:  # several threads may come here at once
                if len(self._asked) >= _MOST:
                    self._asked.pop(next(iter(self._asked)))
                found = self._asked.setdefault((names, purpose), found)
        return found

    def of(self, entity: str) -> tuple[str, ...]:
        """The names that need the key of this entity and no other, and nothing given.

        Raises ServeError T842 for an entity that nothing served is of.
        """
        found = tuple(
            name
            for name, needs in self.entities.items()
            if needs == (entity,) and not self.given.get(name)
        )
        if not found:
            known = sorted({needs[0] for needs in self.entities.values() if len(needs) == 1})
            raise unknown("entity", entity, known, "T842")
        return found

    def warm_up(self) -> None:
        """Loads what reading takes, by reading of nobody: else the first request waits for it.

        A store that cannot be read now may be read later: that is told to who asks then.
        """
        kinds = self.key_types()
        nobody = {name: "" if kind is Type.TEXT else 0 for name, kind in kinds.items()}
        purpose = next(iter(self.decisions.allowed), None)
        if purpose is None or not self.names:
            return
        asked = self.ask(None, purpose)
        given = dict.fromkeys(asked.given)
        with suppress(StoreError):
            asked.serving.one(nobody, self.project.now(), given=given)
            asked.serving.many(
                {n: [key] for n, key in nobody.items()}, self.project.now(), given=given
            )

    def with_keys(self, entities: Iterable[str], given: Iterable[str] = ()) -> tuple[str, ...]:
        """The names that need no keys but these, and nothing else given.

        Raises ServeError T842 for an entity that nothing served is of.
        """
        keys, there = set(entities), set(given)
        for entity in sorted(keys):
            self.known(entity)
        return tuple(
            name
            for name, needs in self.entities.items()
            if keys.issuperset(needs) and there.issuperset(self.given.get(name, ()))
        )

    def known(self, entity: str) -> None:
        """Raises ServeError T842 for an entity that nothing served is of."""
        every = sorted({each for needs in self.entities.values() for each in needs})
        if entity not in every:
            raise unknown("entity", entity, every, "T842")

    @property
    def inputs(self) -> dict[str, Type]:
        """All that formulas are over that arrives with a read, and its types."""
        return {name: kind for each in self.given.values() for name, kind in each.items()}

    def key_types(self) -> dict[str, Type]:
        """The entities that anything served is of, and the types of their keys."""
        return {
            name: kind
            for source in self.project.online.sources.values()
            for segments in source.segments
            for (name, _), kind in zip(segments.form.view.keys, segments.form.types, strict=True)
        } | {each.entity: each.type for each in self.released}

    def catalog(self) -> list[dict[str, Any]]:
        """What is served: names, types, entities and sentences, as JSON has them."""
        nodes = self.project.plan.nodes
        return [
            {
                "name": name,
                "type": type_of(self.project.plan, name),
                "entities": list(needs),
                "inputs": {given: str(kind) for given, kind in self.given.get(name, {}).items()},
                "doc": nodes[name].declared.doc,
            }
            for name, needs in self.entities.items()
        ]

    def standing(self, purposes: Collection[str]) -> dict[str, dict[str, Any]]:
        """Metric → purpose → its release that stands, as JSON has it: when it was released, from
        when on it is stale (µs), its largest standard error. Raises as the store does."""
        found: dict[str, dict[str, Any]] = {}
        wanted = [each for each in self.released if each.purpose in purposes]
        if wanted:
            with self.project.online.backend.read() as store:
                for each, stands in Released(wanted).standing(store):
                    found.setdefault(each.metric, {})[each.purpose] = stands.to_json()
        return found

    def _check(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.entities:
                raise unknown("signal", name, list(self.names), "T841")
        if len(set(names)) < len(names) or not names:
            raise ServeError(
                "a signal is asked for twice" if names else "no signal is asked for",
                code="T841",
                where="signals",
                fix="name each signal once, and one at least",
            )


def unknown(what: str, name: str, known: Sequence[str], code: str) -> ServeError:
    """A name that nothing served has, with the nearest that something has."""
    close = nearest(name, known)
    listed = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return ServeError(
        f"{name[:80]!r} is not a {what} that is served",
        code=code,
        where=what,
        fix=f"did you mean {close!r}?" if close else f"use {listed or 'none: nothing is served'}",
    )
