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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from tacit.declare import Place
from tacit.errors import ServeError, StoreError
from tacit.live.lasting import Trace
from tacit.live.released import Released, deliveries_of
from tacit.live.values import Table, Values
from tacit.plan.views import formulas_of, given_of
from tacit.project import Project
from tacit.project.serving import Serving, ready, type_of
from tacit.serve.decisions import Decisions, decide
from tacit.serve.encode import Encoder, floats_of
from tacit.serve.kept import Entry, Kept, Shelf
from tacit.serve.problems import nearest
from tacit.serve.refusals import Refusals
from tacit.values import Type

Keys = Mapping[str, Any]
"""Entity → its key; of a batch, a list of keys or one for all."""
Given = Mapping[str, Any]
"""What arrives with a read, by its declared name; of a batch, a list or one for all."""

Ages: TypeAlias = Mapping[int, int]
Make: TypeAlias = Callable[[Sequence[Any], Sequence[int], Ages], tuple[bytes, bytes]]
"""What is kept of an answer, by values, statuses, and which values are ages: bytes that ages may be
filled into, and the rest."""

_NO_AGES: Ages = {}
_MOST = 1024  # different questions that are kept ready


class Asked:
    """Some signals for a purpose, ready to be read; from any thread. `Answers.ask` makes it.

    Attributes:
        signals: in the order in which values come.
        purpose: for which they are read.
        allowed: of each signal, whether the purpose may see it.
        entities: whose keys are needed, and their types.
        types: of each signal, as the plan has it: "int", "float", "text", "bool", "time",
            "map<…>", "list<…>".
        given: what must arrive with each read, and its types.
        encode: makes bodies of what was read.
    """

    def __init__(
        self,
        project: Project,
        signals: Sequence[str],
        purpose: str,
        allowed: Sequence[bool],
        kept: Kept,
        refusals: Refusals | None,
    ) -> None:
        self.project = project
        self.signals = tuple(signals)
        self.purpose = purpose
        self.allowed = list(allowed)
        self.types = tuple(type_of(project.plan, name) for name in self.signals)
        self.encode = Encoder(self.signals, self.types)
        self._guard = None
        read, may = list(self.signals), list(self.allowed)
        if refusals is not None:
            self._guard = refusals.over(project.plan, self.signals, self.allowed)
        if self._guard is not None:
            # Whether a use was refused is for every use to know, if not to be told.
            if self._guard.signal not in read:
                read.append(self._guard.signal)
                may.append(True)
            may[self._guard.place] = True
        self.serving: Serving = ready(project, read, purpose)
        self._refusing = None
        if self._guard is not None:
            self._refusing = ready(project, [self._guard.signal])
            self._refusing.lookup.stale = None  # a refusal stands, also where nothing was heard
        self._ahead = project.online.settings.skew + 1  # rows that are kept are dated before it
        self._own = refusals.entities if refusals is not None else ()
        self.given = self.serving.given
        self.entities = dict(self.serving.keys)
        self._entity = next(iter(self.entities)) if len(self.entities) == 1 else None
        self._allowed = None if all(may) else may
        # Released numbers stand beside what is plain.
        self._plain = self.serving.plain and self.serving.signals == self.serving.lookup.signals
        self._plain &= self._guard is None and self._allowed is None
        self._backend = project.online.backend
        self._kept = kept
        self._rows, self._packed = kept.shelf(), kept.shelf()

    def one(self, keys: Keys, at: int | None = None, given: Given | None = None) -> Values:
        """The values of one key, now unless a moment is given (µs). Raises as `Serving.one`."""
        now = self.project.now()
        moment = now if at is None else at
        read = max(now, moment)  # what may be kept no longer is past by the later of the two
        found = self.serving.one(keys, moment, now=read, allowed=self._allowed, given=given)
        if self._guard is None or self._refusing is None:
            return found
        own = {name: keys[name] for name in self._own}
        by_now: bool | None = False
        if self._refusing.one(own, now + self._ahead).values[0]:
            by_now = True  # a refusal that is dated ahead counts at once
        elif moment != now:
            by_now = self._refusing.one(own, now).values[0]
        return self._guard.one(found, by_now)

    def many(
        self,
        keys: Keys,
        at: int | None = None,
        given: Given | None = None,
        *,
        traces: Sequence[Trace] | None = None,
    ) -> Table:
        """The values of many keys. Raises as `Serving.many`."""
        now = self.project.now()
        moment = now if at is None else at
        found = self.serving.many(
            keys, moment, now=max(now, moment), allowed=self._allowed, given=given, traces=traces
        )
        if self._guard is None or self._refusing is None:
            return found
        size = len(found.status)
        own = {name: k if isinstance(k := keys[name], list) else [k] * size for name in self._own}
        later = None if traces is None else [Trace() for _ in traces]
        ahead = self._refusing.many(own, now + self._ahead, traces=later).columns[0]
        for trace, each in zip(traces or (), later or (), strict=True):
            self._until(trace, each)
        then = [False] * size if moment == now else self._refusing.many(own, now).columns[0]
        by_now = [True if no else told for no, told in zip(ahead, then, strict=True)]
        return self._guard.many(found, self.signals, by_now)

    def _until(self, trace: Trace, later: Trace) -> None:
        """Has a trace say what records that are dated ahead are made of, too."""
        trace.heads = {**later.heads, **trace.heads}
        trace.by(later.until - self._ahead)

    def json(self, keys: Keys) -> bytes:
        """The JSON body of one key, now; one that was made before, if it still stands. For signals
        that want nothing given."""
        at = self.project.now()
        entry = self.entry(self._rows, self._known(keys), lambda: keys, at, self._row)
        return self.encode.whole(entry.told(at), entry.rest, at)

    def remembered(self, known: Any, at: int) -> bytes | None:
        """The same of what a key is `_known` by, where it was made before and nothing was changed
        since: with the least that tells."""
        entry = self._rows.young.get(known)
        if entry is None or not entry.begun <= at < entry.until:
            return None
        moment = self._backend.moment()
        if moment is None or moment != entry.moment:
            return None
        return self.encode.whole(entry.told(at), entry.rest, at)

    def packed(self, keys: Keys) -> bytes:
        """The same as the binary body."""
        at = self.project.now()
        found = self.entry(self._packed, self._known(keys), lambda: keys, at, self._floats)
        return found.packed(self.encode.head(1, at), at)

    def json_all(self, keys: Keys, count: int) -> bytes:
        """The JSON body of so many keys, now: of each what was made before, if it still stands."""
        at = self.project.now()
        lists = [
            given if isinstance(given := keys.get(name), list) else [given] * count
            for name in self.entities
        ]
        rows = list(zip(*lists, strict=True))
        known = rows if len(lists) > 1 else lists[0]

        def some(places: Sequence[int]) -> Keys:
            each = zip(*(rows[i] for i in places), strict=True)
            return dict(zip(self.entities, map(list, each), strict=True))

        entries = self.entries(self._rows, known, some, at, self._row)
        told = [(entry.told(at), entry.rest) for entry in entries]
        return self.encode.rows(told, at)

    def _floats(
        self, values: Sequence[Any], status: Sequence[int], ages: Ages
    ) -> tuple[bytes, bytes]:
        return b"", self.encode.body(floats_of(values), [list(status)])

    def _row(self, values: Sequence[Any], status: Sequence[int], ages: Ages) -> tuple[bytes, bytes]:
        return self.encode.row(values, ages), self.encode.statuses(status)

    def _known(self, keys: Keys) -> Any:
        """What an answer is kept under: the key of the one entity, or those of several."""
        if self._entity is not None:
            return keys.get(self._entity)
        return tuple(map(keys.get, self.entities))

    def entry(
        self, shelf: Shelf, known: Any, keys: Callable[[], Keys], at: int, make: Make
    ) -> Entry:
        """What was made before of one key, under a name, if it still stands; else made now."""
        entry = shelf.get(known)
        if entry is not None:
            if not entry.begun <= at < entry.until:
                entry = None
            elif (moment := self._backend.moment()) is not None and moment == entry.moment:
                return entry
        with self._backend.read() as store:
            moment = self._kept.one_of(store.moment())
            if entry is not None and self.serving.lookup.stand(store, [entry], at)[0]:
                entry.moment = moment
                return entry
            asked = keys()
            if self._plain:
                [plain] = self.serving.lookup.numbers(store, [asked], at)
                if plain is not None:
                    told = make(plain.values, plain.status, _NO_AGES)
                    made = Entry(moment, at, plain.until, plain, _NO_AGES, told)
                    return _keep(shelf, known, made)
            found, trace = self.serving.traced(store, asked, at, allowed=self._allowed)
            ahead = False
            if self._guard is not None and self._refusing is not None:
                own = {name: asked[name] for name in self._own}
                refused, later = self._refusing.traced(store, own, at + self._ahead)
                ahead = bool(refused.values[0])
                self._until(trace, later)
        if self._guard is not None:
            found = self._guard.one(found, ahead)
            ages = trace.ages.items()
            trace.ages = {k: since for k, since in ages if found.values[k] is not None}
        told = make(found.values, found.status, trace.ages)
        entry = Entry(moment, at, trace.until, trace.made(), trace.ages, told)
        return _keep(shelf, known, entry)

    def entries(
        self,
        shelf: Shelf,
        known: Sequence[Any],
        keys: Callable[[Sequence[int]], Keys],
        at: int,
        make: Make,
    ) -> list[Entry]:
        """The same of many, in two trips to the store: ``keys`` gives those at some places."""
        moment = self._kept.one_of(self._backend.moment())
        found = [shelf.get(each) for each in known]
        unsure: dict[int, Entry] = {}
        for i, entry in enumerate(found):
            if entry is None or not entry.begun <= at < entry.until:
                found[i] = None
            elif moment is None or moment != entry.moment:
                unsure[i] = entry
        if unsure:
            with self._backend.read() as store:
                stand = self.serving.lookup.stand(store, list(unsure.values()), at)
            for (i, entry), stands in zip(unsure.items(), stand, strict=True):
                entry.moment = moment if stands else None
                found[i] = entry if stands else None
        lacking = [i for i, entry in enumerate(found) if entry is None]
        if lacking:
            made = [Trace() for _ in lacking]
            table = self.many(keys(lacking), at, traces=made)
            values = zip(*table.columns, strict=True)
            status = table.status.tolist()
            for i, trace, row, each in zip(lacking, made, values, status, strict=True):
                if self._guard is not None:
                    ages = trace.ages.items()
                    trace.ages = {k: since for k, since in ages if row[k] is not None}
                told = make(row, each, trace.ages)
                entry = Entry(moment, at, trace.until, trace.made(), trace.ages, told)
                found[i] = _keep(shelf, known[i], entry)
        return [entry for entry in found if entry is not None]


def _keep(shelf: Shelf, known: Any, entry: Entry) -> Entry:
    """Keeps what lasts."""
    if entry.until > entry.begun:
        shelf.put(known, entry)
    return entry


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
