"""A question: some signals for a purpose, ready to be read; and what it kept of its answers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeAlias

from tacit.live.lasting import Trace
from tacit.live.values import Table, Values
from tacit.project import Project
from tacit.project.lookup import ready, type_of
from tacit.project.serving import Serving
from tacit.serve.encode import Encoder, floats_of
from tacit.serve.kept import Entry, Kept, Shelf
from tacit.serve.refusals import Refusals
from tacit.store.online.base import Reading

Keys = Mapping[str, Any]
"""Entity → its key; of a batch, a list of keys or one for all."""
Given = Mapping[str, Any]
"""What arrives with a read, by its declared name; of a batch, a list or one for all."""

Ages: TypeAlias = Mapping[int, int]
Make: TypeAlias = Callable[[Sequence[Any], Sequence[int], Ages], tuple[bytes, bytes]]
"""What is kept of an answer, by values, statuses, and which values are ages: bytes that ages may be
filled into, and the rest."""
Some: TypeAlias = Callable[[Sequence[int]], Mapping[str, list[Any]]]
"""The keys at some places: of each entity a list."""

_NO_AGES: Ages = {}


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
        together: whether several keys are read by fewer looks at the store than each by itself.
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
        self.together = self._plain
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
        return self._whole(self._entry(self._rows, keys, at, self._row), at)

    def json_each(self, several: Sequence[Any]) -> list[bytes]:
        """The same of several keys of the one entity, each by itself."""
        assert self._entity is not None, "they are asked for by one key"
        at, entity = self.project.now(), self._entity

        def some(places: Sequence[int]) -> Mapping[str, list[Any]]:
            return {entity: [several[i] for i in places]}

        entries = self.entries(self._rows, several, some, at, self._row)
        return [self._whole(entry, at) for entry in entries]

    def remembered(self, known: Any, at: int) -> bytes | None:
        """The same of what a key is `_known` by, where it was made before and nothing was changed
        since: with the least that tells."""
        entry = self._rows.young.get(known)
        if entry is None or not entry.stands(at, self._backend.moment()):
            return None
        return self._whole(entry, at)

    def _whole(self, entry: Entry, at: int) -> bytes:
        return self.encode.whole(entry.told(at), entry.rest, at)

    def packed(self, keys: Keys) -> bytes:
        """The same as the binary body."""
        at = self.project.now()
        found = self._entry(self._packed, keys, at, self._floats)
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

        def some(places: Sequence[int]) -> Mapping[str, list[Any]]:
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

    def _entry(self, shelf: Shelf, keys: Keys, at: int, make: Make) -> Entry:
        def some(places: Sequence[int]) -> Mapping[str, list[Any]]:
            return {name: [key] for name, key in keys.items()}

        return self.entries(shelf, [self._known(keys)], some, at, make)[0]

    def entries(
        self, shelf: Shelf, known: Sequence[Any], keys: Some, at: int, make: Make
    ) -> list[Entry]:
        """Of each name what was made before, if it still stands; else made now. All that is plain
        is read together, in one look at the store."""
        moment = self._kept.one_of(self._backend.moment())
        found = list(map(shelf.get, known))
        kept = [entry for entry in found if entry is not None and entry.stands(at, moment)]
        if len(kept) == len(found):
            return kept
        with self._backend.read() as store:
            moment = self._kept.one_of(store.moment())
            lacking = self._lacking(store, found, at, moment)
            new = self._numbers(store, lacking, keys, moment, at, make)
            lacking = [i for i in lacking if i not in new]
            if len(lacking) == 1:
                one = {name: key for name, [key] in keys(lacking).items()}
                new[lacking[0]] = self._one(store, one, moment, at, make)
        if len(lacking) > 1:
            new |= self._many(lacking, keys, moment, at, make)
        for i, entry in new.items():
            found[i] = entry
            if entry.until > entry.begun:  # what lasts
                shelf.put(known[i], entry)
        return [entry for entry in found if entry is not None]

    def _lacking(
        self, store: Reading, found: Sequence[Entry | None], at: int, moment: Hashable
    ) -> list[int]:
        """The places of what is not there, or stands no more."""
        lasting = {
            i: entry for i, entry in enumerate(found) if entry is not None and entry.lasts(at)
        }
        unsure = [i for i, entry in lasting.items() if not entry.stands(at, moment)]
        if unsure:
            told = self.serving.lookup.stand(store, [lasting[i] for i in unsure], at)
            for i, stands in zip(unsure, told, strict=True):
                if stands:
                    lasting[i].moment = moment
                else:
                    del lasting[i]
        return [i for i in range(len(found)) if i not in lasting]

    def _numbers(
        self,
        store: Reading,
        lacking: Sequence[int],
        keys: Some,
        moment: Hashable,
        at: int,
        make: Make,
    ) -> dict[int, Entry]:
        """Entries of those of which all is numbers, with the least that tells."""
        if not self._plain or not lacking:
            return {}
        told = self.serving.lookup.numbers(store, keys(lacking), len(lacking), at)
        return {
            i: Entry(
                moment, at, each.until, each, _NO_AGES, make(each.values, each.status, _NO_AGES)
            )
            for i, each in zip(lacking, told, strict=True)
            if each is not None
        }

    def _one(self, store: Reading, keys: Keys, moment: Hashable, at: int, make: Make) -> Entry:
        """The entry of one key."""
        found, trace = self.serving.traced(store, keys, at, allowed=self._allowed)
        if self._guard is not None and self._refusing is not None:
            own = {name: keys[name] for name in self._own}
            refused, later = self._refusing.traced(store, own, at + self._ahead)
            self._until(trace, later)
            found = self._guard.one(found, bool(refused.values[0]))
        return self._made(trace, found.values, found.status, moment, at, make)

    def _many(
        self, lacking: Sequence[int], keys: Some, moment: Hashable, at: int, make: Make
    ) -> dict[int, Entry]:
        """Entries of many, read together."""
        traces = [Trace() for _ in lacking]
        table = self.many(keys(lacking), at, traces=traces)
        rows = zip(*table.columns, strict=True)
        return {
            i: self._made(trace, values, status, moment, at, make)
            for i, trace, values, status in zip(
                lacking, traces, rows, table.status.tolist(), strict=True
            )
        }

    def _made(
        self,
        trace: Trace,
        values: Sequence[Any],
        status: Sequence[int],
        moment: Hashable,
        at: int,
        make: Make,
    ) -> Entry:
        """An entry of what was read, and what that was made of."""
        ages = trace.ages
        if self._guard is not None:
            ages = {k: since for k, since in ages.items() if values[k] is not None}
        told = make(values, status, ages)
        return Entry(moment, at, trace.until, trace.made(), ages, told)
