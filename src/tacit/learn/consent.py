"""Whether a use was allowed at a moment: records of consent, read point in time.

Records are a table with ``subject`` (a person's key), ``purpose``, ``at`` (a moment) and
``allowed``; what counts for a use at ``t`` is the last record at ``t`` or before, and among records
of one moment the one that denies. Where there are people of several entities, ``entity`` says whose
key it is. A person without a record is allowed what the lawful basis alone allows: nothing, where
the basis is consent. Or a function of (subject, purpose, t in µs) tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.aggregates.columns import Array, flat, read
from tacit.errors import DataError
from tacit.store.files import micros

Told: TypeAlias = Callable[[object, str, int], bool]
Consent: TypeAlias = pa.Table | Told
COLUMNS = ("subject", "purpose", "at", "allowed")


def allowed(
    spine: pa.Table,
    people: Sequence[str],
    purposes: Iterable[str],
    consent: Consent,
    unrecorded: bool,
) -> Array:
    """For each row of a spine, whether every person in it allows every purpose at its ``at``.

    ``people`` are the columns of people's keys. ``unrecorded`` is the answer where a table has no
    record. Raises DataError T377 for a table that is no such record.
    """
    found = np.ones(spine.num_rows, np.bool_)
    for person in people:
        for purpose in purposes:
            if isinstance(consent, pa.Table):
                records = _records(consent, person, len(people) > 1)
                found &= _recorded(spine, person, purpose, records, unrecorded)
            else:
                found &= _told(spine, person, purpose, consent)
    return found


def _told(spine: pa.Table, person: str, purpose: str, consent: Told) -> Array:
    subjects, times = spine[person].to_pylist(), spine["at"].to_pylist()
    answers: dict[tuple[object, int], bool] = {}
    for asked in zip(subjects, times, strict=True):
        if asked not in answers:
            # Nobody's row is denied by nobody; and only True itself is a yes.
            answers[asked] = asked[0] is None or consent(asked[0], purpose, asked[1]) is True
    return np.array([answers[asked] for asked in zip(subjects, times, strict=True)], np.bool_)


def _records(consent: pa.Table, person: str, several: bool) -> pa.Table:
    for name in (*COLUMNS, *(["entity"] if several else [])):
        if name not in consent.column_names:
            raise DataError(
                f"the records of consent have no column {name!r}",
                code="T377",
                where="consent",
                fix="give " + ", ".join(COLUMNS) + "; and entity, where there are several",
            )
    if not pa.types.is_boolean(consent["allowed"].type):
        raise DataError(
            f"the records of consent have `allowed` as {consent['allowed'].type}",
            code="T377",
            where="consent",
            fix="give it as true and false",
        )
    if "entity" in consent.column_names:
        consent = consent.filter(pc.equal(consent["entity"], person))
    there = pc.and_(pc.is_valid(consent["subject"]), pc.is_valid(consent["at"]))
    return consent.filter(there)


def _recorded(
    spine: pa.Table, person: str, purpose: str, records: pa.Table, unrecorded: bool
) -> Array:
    records = records.filter(pc.equal(records["purpose"], purpose))
    subjects = flat(records["subject"])
    if pa.types.is_dictionary(subjects.type):
        subjects = subjects.dictionary_decode()
    keys = flat(spine[person])
    if pa.types.is_dictionary(keys.type):
        keys = keys.dictionary_decode()
    known = pc.unique(subjects)
    of_records = pc.index_in(subjects, value_set=known).to_numpy(zero_copy_only=False)
    of_rows = pc.index_in(keys.cast(known.type), value_set=known, skip_nulls=True)
    of_rows = pc.fill_null(of_rows, -1).to_numpy(zero_copy_only=False)
    # Records and rows in one order of time; each row then looks at the last record before it.
    person_of = np.concatenate([of_records, of_rows])
    at = np.concatenate([read(micros(records["at"])).numbers, read(spine["at"]).numbers])
    asks = np.arange(len(person_of)) >= len(of_records)
    denies = ~pc.fill_null(flat(records["allowed"]), False).to_numpy(zero_copy_only=False)
    denied = np.concatenate([denies, np.zeros(len(of_rows), np.bool_)])
    order = np.lexsort((denied, asks, at, person_of))
    last = np.maximum.accumulate(np.where(asks[order], -1, np.arange(len(order))))
    record = order[np.maximum(last, 0)]
    heard = (last >= 0) & (person_of[record] == person_of[order]) & (person_of[order] >= 0)
    answer = np.empty(len(order), np.bool_)
    answer[order] = np.where(heard, ~denied[record], unrecorded)
    return answer[len(of_records) :]
