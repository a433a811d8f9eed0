"""Released numbers in the online store: noisy cells by an entity's key, a version at a time.

::

    r METRIC PURPOSE               what stands of a delivery (`Standing`)
    t METRIC PURPOSE               the version that is being written
    d METRIC PURPOSE VERSION KEY   a cell: the number and its standard error, two doubles

What was not released, or was withheld because too few people stand behind it, has no cell: nothing
in the store tells the two apart, nor from a key that there never was. A reader looks at what stands
and at its cells in one trip, and so sees one version or another, never some of both. Versions have
names by chance, and whoever writes one says so first: of two that do so at once, the first stops.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from tacit.errors import StoreError
from tacit.live.chosen import check_key
from tacit.live.feed import key_parts
from tacit.live.form import MOST
from tacit.live.lasting import Trace
from tacit.live.online import in_batches
from tacit.live.place import digest
from tacit.live.values import Status
from tacit.plan import Plan
from tacit.plan.sources import retention
from tacit.privacy.randomness import system
from tacit.store.online.base import Backend, Changing, Reading, unreachable
from tacit.values import Type

_CELL = struct.Struct("<dd")
_HEAD = struct.Struct(">8sqqq")
_STANDS, _WRITTEN = b"r", b"t"
_BATCH = 10_000  # cells that are written in one change
_PATIENCE = 8  # times that what stands is looked at again because it changed meanwhile


@dataclass(frozen=True, slots=True)
class Delivery:
    """A metric that a sink delivers for a purpose.

    Attributes:
        entity, type: whose keys its cells have.
        meaning: of what is delivered: what stands of another is nothing to a reader.
        every: the grain by which it is released anew; None for never.
        keep: µs for which a release may be kept; None is for ever.
    """

    metric: str
    purpose: str
    entity: str
    type: Type
    meaning: str
    every: str | None
    keep: int | None

    @property
    def place(self) -> bytes:
        """Where it is stored what stands of it."""
        return _STANDS + self._digest

    @property
    def cells(self) -> bytes:
        """Before the version of all its cells."""
        return b"d" + self._digest

    @property
    def written(self) -> bytes:
        """Where it is stored which version is being written."""
        return _WRITTEN + self._digest

    @property
    def _digest(self) -> bytes:
        return digest(f"{self.metric}\0{self.purpose}")  # no source has a name like it


class Standing(NamedTuple):
    """What stands of a delivery: a version, when it was released (µs), from when on it is stale,
    until when it may be kept; its meaning, and of which time it is."""

    version: bytes
    released: int
    stale: int
    gone: int
    meaning: str
    told: Mapping[str, Any]

    def dump(self) -> bytes:
        told = json.dumps({"meaning": self.meaning, **self.told}, sort_keys=True)
        return _HEAD.pack(*self[:4]) + told.encode()

    def to_json(self) -> dict[str, Any]:
        """What a reader may be told of it."""
        stale = None if self.stale == MOST else self.stale
        return {"at": self.released, "stale": stale, "error": self.told.get("error")}

    @classmethod
    def load(cls, raw: bytes | None) -> Standing | None:
        if raw is None:
            return None
        told = json.loads(raw[_HEAD.size :])
        version, released, stale, gone = _HEAD.unpack_from(raw)
        return cls(version, released, stale, gone, told.pop("meaning"), told)


def deliveries_of(plan: Plan) -> dict[tuple[str, str], Delivery]:
    """(metric, purpose) → what sinks `to="online"` deliver."""
    found = {}
    for sink in plan.of("sink"):
        for metric, by in sink.spec.get("released", {}).items():
            node = plan.nodes[metric]
            kept = [retention(each.spec["keep"]) for each in (sink, node)]
            for purpose in sink.spec["purposes"]:
                found[metric, purpose] = Delivery(
                    metric,
                    purpose,
                    by["entity"],
                    Type(by["type"]),
                    f"{node.hash} {sink.spec['every']}",
                    sink.spec["every"],
                    min((each for each in kept if each is not None), default=None),
                )
    return found


# ---------------------------------------------------------------------- reading


class Cells(NamedTuple):
    """The numbers of a delivery for some keys, and their statuses; its time of release."""

    values: list[float | None]
    status: list[Status]


class Released:
    """Deliveries, ready to be read, from any thread."""

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self.deliveries = tuple(deliveries)
        self._places = [each.place for each in deliveries]
        # What stood when it was last looked at: whether it stands still is seen with the cells.
        self._seen: tuple[list[bytes | None], list[bytes | None], list[Standing | None]] = (
            [None] * len(deliveries), [None] * len(deliveries), [None] * len(deliveries),
        )  # fmt: skip

    def read(
        self,
        store: Reading,
        keys: Mapping[str, Any],
        count: int,
        at: int,
        now: int,
        traces: Sequence[Trace] = (),
    ) -> list[Cells]:
        """Of each delivery the numbers of so many keys, at a moment: ``keys`` has of each entity a
        list of them, or one for all. ``now`` decides what is kept no longer.

        Raises DataError T390 for a key that is none, StoreError T722.
        """
        wanted = [self._keys(each, keys, count) for each in self.deliveries]
        for _ in range(_PATIENCE):
            raws, prefixes, stands = self._seen
            names = [
                prefix + key
                for prefix, each in zip(prefixes, wanted, strict=True)
                if prefix is not None
                for key in each
            ]
            found = store.get([*self._places, *names])
            if found[: len(raws)] == raws:
                break
            self._seen = self._look(found[: len(raws)])
        else:
            raise unreachable("released numbers", "they changed each time they were read")
        cells = dict(zip(names, found[len(raws) :], strict=True))
        for k, trace in enumerate(traces):
            trace.heads |= dict(zip(self._places, raws, strict=True))
            for prefix, each in zip(prefixes, wanted, strict=True):
                if prefix is not None:
                    trace.heads[prefix + each[k]] = cells[prefix + each[k]]
            for moment in _turns(stands, at):
                trace.by(moment)
        return [
            _told(
                stand,
                [None] * count if prefix is None else [cells[prefix + key] for key in each],
                at,
                now,
            )
            for stand, prefix, each in zip(stands, prefixes, wanted, strict=True)
        ]

    def standing(self, store: Reading) -> list[tuple[Delivery, Standing]]:
        """What stands of those that were released."""
        _, _, stands = self._look(store.get(self._places))
        named = zip(self.deliveries, stands, strict=True)
        return [(each, stand) for each, stand in named if stand is not None]

    def _look(
        self, raws: list[bytes | None]
    ) -> tuple[list[bytes | None], list[bytes | None], list[Standing | None]]:
        """What stands, of the meaning that the plan has; and before which key its cells lie."""
        stands: list[Standing | None] = []
        for each, raw in zip(self.deliveries, raws, strict=True):
            found = Standing.load(raw)
            stands.append(found if found is not None and found.meaning == each.meaning else None)
        prefixes = [
            None if stand is None else each.cells + stand.version
            for each, stand in zip(self.deliveries, stands, strict=True)
        ]
        return raws, prefixes, stands

    def _keys(self, delivery: Delivery, keys: Mapping[str, Any], count: int) -> list[bytes]:
        given = keys.get(delivery.entity)
        each = given if isinstance(given, list | tuple) else [given] * count
        kind = delivery.type
        return [key_parts([kind], [check_key(delivery.entity, kind, key)])[0] for key in each]


def _told(stand: Standing | None, cells: Sequence[bytes | None], at: int, now: int) -> Cells:
    """Before it was released, and once it may be kept no longer, nothing is known of it."""
    if stand is None or at < stand.released or now > stand.gone:
        cells = [None] * len(cells)
    known = Status.STALE if stand is not None and at >= stand.stale else Status.NOISED
    return Cells(
        [None if raw is None else _CELL.unpack(raw)[0] for raw in cells],
        [Status.MISSING if raw is None else known for raw in cells],
    )


def _turns(stands: Iterable[Standing | None], at: int) -> Iterable[int]:
    """The moments after one at which what stands is told otherwise."""
    for stand in stands:
        if stand is not None:
            later = (stand.released, stand.stale, min(stand.gone, MOST - 1) + 1)
            yield from (moment for moment in later if moment > at)


# ---------------------------------------------------------------------- writing


def deliver(
    backend: Backend,
    delivery: Delivery,
    numbers: Mapping[Any, tuple[float, float]],
    *,
    released: int,
    stale: int | None,
    told: Mapping[str, Any],
) -> bool:
    """Has a release stand: key → (number, standard error). False where that one stands already.

    Cells are written first, beside those that are read; then one change has them stand, and those
    of before are removed. Raises DataError T390 for a key that is none, StoreError as the backend's
    `change`, T721 where another process delivers at the same time.
    """
    gone = MOST if delivery.keep is None else released + delivery.keep
    version, later = system().bytes(8), MOST if stale is None else stale
    new = Standing(version, released, later, gone, delivery.meaning, told)
    with backend.change() as change:
        stood = Standing.load(change.get([delivery.place])[0])
        if stood is not None and stood._replace(version=version) == new:
            return False
        change.put([(delivery.written, version)])
    _clear(backend, delivery.place)  # what a crash left
    kind = delivery.type
    cells = (
        (
            delivery.cells
            + version
            + key_parts([kind], [check_key(delivery.entity, kind, key)])[0],
            _CELL.pack(*each),
        )
        for key, each in numbers.items()
    )
    while batch := list(islice(cells, _BATCH)):
        with _writing(backend, delivery, version) as change:
            change.put(batch)
    with _writing(backend, delivery, version) as change:
        change.put([(delivery.place, new.dump())])
        change.delete([delivery.written])
    _clear(backend, delivery.place)
    return True


@contextmanager
def _writing(backend: Backend, delivery: Delivery, version: bytes) -> Iterator[Changing]:
    """A change of a version that is being written. Raises StoreError T721 once another is."""
    with backend.change() as change:
        if change.get([delivery.written])[0] != version:
            raise StoreError(
                f"another process delivers {delivery.metric!r} too",
                code="T721",
                where=delivery.metric,
                fix="run one `tacit run` at a time",
            )
        yield change


def sweep(backend: Backend, deliveries: Collection[Delivery], now: int) -> int:
    """Removes what nothing delivers any more, and what may be kept no longer; how many releases
    that were."""
    kept = {each.place for each in deliveries}
    with backend.read() as store:
        standing = [(place, Standing.load(raw)) for place, raw in store.scan(_STANDS)]
    gone = [
        place
        for place, stand in standing
        if place not in kept or (stand is not None and now > stand.gone)
    ]
    for place in gone:
        with backend.change() as change:
            # First, so that nobody reads what is being removed.
            change.delete([place, _WRITTEN + place[len(_STANDS) :]])
        _clear(backend, place)
    return len(gone)


def _clear(backend: Backend, place: bytes) -> None:
    """Removes the cells of all versions but that which stands, and that which is being written."""
    name = place[len(_STANDS) :]
    prefix = b"d" + name
    for store, batch in in_batches(backend, prefix, _BATCH):
        stands, written = store.get([place, _WRITTEN + name])
        kept = {written, None if stands is None else stands[:8]}
        store.delete([key for key, _ in batch if key[len(prefix) :][:8] not in kept])
