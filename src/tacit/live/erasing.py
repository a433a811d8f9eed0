"""Removing people from an online store, and from everything that was made of their rows.

- Views keyed by the person: their heads, indexes and segments go.
- Views keyed by something else (an item's viewers): every row says whose it is; all keys of the
  view are read once for all the people that go, and their rows are taken out; tiles are computed
  anew from the rows that stay.
- What rows of such a view were folded into (a window that reaches back for ever keeps one state of
  what lies past its horizon) has no rows to take out. The receipt names these views; a new baseline
  from rows without the person replaces it.
- The journal's rows go, and whatever in quarantine holds the person's key as text.

Keys and rows are gone for every reader when this returns; their bytes, when `Backend.compact` has
(`compact=True`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from tacit.aggregates.columns import Array
from tacit.live import kernels
from tacit.live.chosen import check_key
from tacit.live.feed import key_parts, owner_words, split_key
from tacit.live.form import CUT, HEADER, ROWS, SEALED, Form
from tacit.live.heavy import Segments, damaged
from tacit.live.intake import QUARANTINED
from tacit.live.journal import Entry
from tacit.live.online import Online, in_batches
from tacit.live.place import Place, digest
from tacit.live.writer import seal
from tacit.store.online.base import Changing
from tacit.values import Type

_KEYS = 2000  # of a view, read in one change


@dataclass
class Erased:
    """What was removed.

    Attributes:
        keys: that were the person's own.
        changed: other keys that held rows of theirs.
        rebuild: views that keep folded states to which their rows may have added.
        journal: rows that waited for a baseline.
        quarantine: rows that had been refused.
    """

    keys: int = 0
    changed: int = 0
    rebuild: list[str] = field(default_factory=list)
    journal: int = 0
    quarantine: int = 0


def erase(
    online: Online,
    entity: str,
    people: Sequence[object],
    *,
    only: Collection[str] | None = None,
    compact: bool = True,
) -> Erased:
    """Removes people, by their keys, from all sources or `only` some. Raises DataError T390 for a
    key that is none."""
    found = Erased()
    for name, source in online.sources.items():
        columns = source.feed.people.get(entity, ())
        if not columns or (only is not None and name not in only):
            continue
        kind = source.feed.schema[columns[0]]
        for person in people:
            check_key(entity, kind, person)
        online.merger.run()  # what waits is erased where it belongs
        standing = online.standing(name)
        for version in {standing.version, standing.building} - {0}:
            for segments in source.segments:
                place = Place.of(name, version, segments.form.view.name)
                _erase_view(online, segments, place, columns, people, found)
        with online.backend.change() as store:
            found.journal += _erase_journal(store, name, columns, people)
            found.quarantine += _erase_quarantine(store, name, people)
    if compact:
        online.backend.compact()
    return found


def _erase_view(
    online: Online,
    segments: Segments,
    place: Place,
    columns: Sequence[str],
    people: Sequence[object],
    found: Erased,
) -> None:
    form = segments.form
    named = [i for i, (_, source) in enumerate(form.view.keys) if source in columns]
    kind = Type.TEXT if isinstance(people[0], str) else Type.INT
    parts = [
        key_parts([kind] * len(form.types), [person] * len(form.types))[0] for person in people
    ]
    if named and len(form.types) == 1:
        with online.backend.change() as store:
            found.keys += sum(_remove(store, segments, place, key) for key in parts)
        return
    owners = np.array(owner_words(online.salt, people), np.int64)
    owned = set(parts)
    hold = any(owner in columns for owner in form.owners)
    if not named and not hold:
        return
    if hold and form.endless and form.view.name not in found.rebuild:
        found.rebuild.append(form.view.name)
    for store, batch in in_batches(online.backend, place.heads, _KEYS):
        for at, raw in batch:
            key = at[len(place.heads) :]
            split = split_key(key, len(form.types))
            if any(split[i] in owned for i in named):
                found.keys += _remove(store, segments, place, key)
            elif hold and _holds(form, np.frombuffer(raw, np.int64), owners):
                head = np.frombuffer(raw, np.int64)
                seal(store, segments, place, key, head, int(head[CUT]), owners)
                found.changed += 1


def _holds(form: Form, head: Array, owners: Array) -> bool:
    """Whether a head has rows of these people, or segments that may."""
    if kernels.state_of(head, form.width, form.stamp) != kernels.FINE:
        raise damaged(form.view.name)
    if head[SEALED]:
        return True
    rows = head[HEADER : HEADER + int(head[ROWS]) * form.width]
    first = 1 + form.masks
    whose = rows.reshape(-1, form.width)[:, first : first + len(form.owners)]
    return bool(np.isin(whose, owners).any())


def _remove(store: Changing, segments: Segments, place: Place, key: bytes) -> int:
    """Removes all of a key; how many there were."""
    head = store.get([place.head(key)])[0]
    if head is None:
        return 0
    names = [at for at, _ in store.scan(place.segment(key))]
    store.delete([place.head(key), place.index(key), *names])
    return 1


def _erase_journal(
    store: Changing, name: str, columns: Sequence[str], people: Sequence[object]
) -> int:
    removed = 0
    for key, raw in list(store.scan(b"j" + digest(name))):
        entry = Entry.load(raw)
        kept = np.ones(entry.table.num_rows, np.bool_)
        for column in columns:
            whose = entry.table[column].to_pylist()
            kept &= np.array([value not in people for value in whose], np.bool_)
        if not kept.all():
            removed += int((~kept).sum())
            store.put([(key, entry.those(kept).dump())])
    return removed


def _erase_quarantine(store: Changing, name: str, people: Sequence[object]) -> int:
    texts = {text for person in people for text in _spellings(person)}
    gone = []
    for key, raw in store.scan(b"q" + digest(name)):
        reason, row = json.loads(raw[QUARANTINED.size :])
        said = [reason, row, _plain(row)]
        if any(text in each for text in texts for each in said):
            gone.append(key)
    store.delete(gone)
    return len(gone)


def _spellings(person: object) -> set[str]:
    """A key as it may stand in a row's text: by itself, in JSON, as Python prints it."""
    told = [json.dumps(person), json.dumps(person, ensure_ascii=False), repr(person)]
    return {str(person), *(text[1:-1] if isinstance(person, str) else text for text in told)}


def _plain(row: str) -> str:
    """A row of JSON with nothing escaped that need not be; of another nothing."""
    try:
        return json.dumps(json.loads(row), ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""
