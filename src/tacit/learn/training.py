"""Makes training sets: what was known of each row at its moment, and what came of it.

Features are of `[t - window, t)`, strictly before a row's moment; outcomes begin at it. Rows come
out as they went in. `learn.training_set` says what statuses values have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.aggregates.columns import Array, read
from tacit.declare.expression import Node, parse, show
from tacit.engines.base import Computing, Engine
from tacit.errors import warn
from tacit.learn.known import features_as_known
from tacit.learn.leaks import check_moments, check_names, check_values
from tacit.learn.reach import Rows, arrived_by, late_share
from tacit.learn.spine import AT, Spine, check_columns, with_given
from tacit.learn.training_set import (
    COMPLETE,
    DENIED,
    EXPIRED,
    FRESH,
    MISSING,
    PENDING,
    STALE,
    TrainingSet,
)
from tacit.operations import Computed, Derived, View, Window
from tacit.values import Type

LATE = 0.5
"""The share of rows, not known by then, of which there is a warning."""

AsOf = int | Literal["spine"] | None


@dataclass(frozen=True, slots=True)
class Question:
    """All that a training set is made of.

    Attributes:
        views: the windows of the features, and of what formulas are over; no outcome is among them.
        formulas: the features that are formulas.
        given: the columns of the spine that these are over, as well as over signals.
        outcomes: the labels' windows, each `ahead`.
        labels: the label's column → the outcome's signal.
        sources: opens each source and content table, the same rows every time.
        arrivals: source → the column that says when its rows arrived; needed with `as_of`.
        as_of: what had arrived by then counts (µs), or by each row's own moment; None for all.
        now: the moment at which outcomes are complete, in µs; that of `as_of` if it is one.
        kept: signal → µs, for those made of rows or columns that are not kept for ever.
        fresh: signal → the freshness that it states, in µs.
        personal: the signals that are about people.
        allowed: for each row, whether its people allow the use; None where all is allowed.
    """

    spine: Spine
    views: tuple[View, ...]
    formulas: tuple[Derived, ...]
    given: Mapping[str, Type]
    outcomes: tuple[View, ...]
    labels: Mapping[str, str]
    sources: Callable[[], AbstractContextManager[Mapping[str, Rows]]]
    arrivals: Mapping[str, str]
    as_of: AsOf
    now: int
    kept: Mapping[str, int]
    fresh: Mapping[str, int]
    personal: frozenset[str]
    allowed: Array | None

    @property
    def signals(self) -> dict[str, tuple[View, Window]]:
        """The windows of `views`, by name."""
        return {w.signal: (view, w) for view in self.views for w in view.windows}

    @property
    def ends(self) -> int:
        """The moment at which an outcome must be over."""
        return self.as_of if isinstance(self.as_of, int) else self.now


def make(engine: Computing, question: Question, names: Sequence[str]) -> TrainingSet:
    """The training set of a question, with its features in the order of `names`.

    Raises DataError T371 for two columns of one name, T372 or T373 for a spine that tells of the
    time to come.
    """
    spine = question.spine
    check_columns(spine.table, [*names, *question.labels])
    check_moments(spine)
    check_names(spine, question.outcomes)
    late = _late(question)
    with _sources(question) as sources:
        features = _features(engine, question, question.views, sources)
        outcomes = _outcomes(engine, question, sources)
    for place, name in enumerate(features.column_names):
        if name in question.signals:
            told = _blank(features[name], _barred(question, name), [DENIED, EXPIRED])
            features = features.set_column(place, name, told)
    features = with_given(features, spine.table, question.given)
    features = engine.derive(features, question.formulas)
    table = spine.table
    for name in names:
        table = table.append_column(name, _told(question, name, features[name]))
    labels = {}
    for label, signal in question.labels.items():
        empty = [DENIED, EXPIRED, PENDING]
        labels[label] = _blank(outcomes[signal], _barred(question, signal), empty)
        table = table.append_column(label, labels[label])
    check_values(spine, labels)

    def status() -> dict[str, Array]:
        with _sources(question) as sources:
            views = tuple(map(newest_view, question.views))
            newest = _features(engine, question, views, sources)
        each = {name: _status(question, name, newest[name]) for name in question.signals}
        each |= {f.signal: _joined(f, each, question.given) for f in question.formulas}
        found = {name: each[name] for name in names}
        return found | {
            label: np.where(barred < 0, COMPLETE, barred)
            for label, signal in question.labels.items()
            for barred in [_barred(question, signal)]
        }

    return TrainingSet(table, spine.row, names, list(question.labels), status, late)


def _late(question: Question) -> dict[str, float]:
    """Source → the share of what had happened that was not known; warns of much (T347)."""
    found: dict[str, float] = {}
    if question.as_of is None or not question.spine.table.num_rows:
        return found
    moment = question.as_of
    if moment == "spine":
        moment = int(np.median(read(question.spine.table[AT]).numbers))
    times = {view.source: view.time for view in (*question.views, *question.outcomes)}
    with question.sources() as sources:
        for source, column in question.arrivals.items():
            share = late_share(sources[source], times[source], column, moment)
            if share is not None:
                found[source] = share
    for source, share in found.items():
        if share > LATE:
            warn(
                f"{share:.0%} of the rows of {source!r} that had happened had not arrived: the set"
                " does not know of them",
                code="T347",
                where=f"as_of, and the column {question.arrivals[source]!r}",
                fix="leave as_of out; or, if the rows were brought in later than they were known,"
                ' declare when they were with arrival="…"',
            )
    return found


def _told(question: Question, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A feature; a formula is null where a signal that it is over may not be told."""
    for formula in question.formulas:
        if formula.signal == name:
            for signal, _ in formula.inputs:
                if signal in question.given:
                    continue
                column = _blank(column, _barred(question, signal), [DENIED, EXPIRED])
    return column


def _joined(formula: Derived, statuses: Mapping[str, Array], given: Collection[str]) -> Array:
    """The status of a formula, of those of the signals that it is over."""
    each = np.stack([statuses[name] for name, _ in formula.inputs if name not in given])
    found = np.where((each == MISSING).all(axis=0), MISSING, FRESH).astype(np.int8)
    for status in (STALE, EXPIRED, DENIED):  # the last has the last word
        found[(each == status).any(axis=0)] = status
    return found


@contextmanager
def _sources(question: Question) -> Iterator[dict[str, Rows]]:
    """The sources; as of a moment, with the rows that had arrived by then."""
    with question.sources() as opened:
        sources = dict(opened)
        if isinstance(question.as_of, int):
            for source, column in question.arrivals.items():
                sources[source] = arrived_by(sources[source], column, question.as_of)
        yield sources


def _features(
    engine: Engine, question: Question, views: Sequence[View], sources: Mapping[str, Rows]
) -> pa.Table:
    asked = question.spine.asked
    if question.as_of == "spine":
        return features_as_known(engine, views, sources, asked, question.arrivals)
    return engine.features(views, sources, asked)


def _outcomes(
    engine: Engine, question: Question, sources: Mapping[str, Rows]
) -> dict[str, pa.ChunkedArray]:
    """Each outcome, asked when it is over."""
    found: dict[str, pa.ChunkedArray] = {}
    asked = question.spine.asked
    for ahead in sorted({w.ahead for view in question.outcomes for w in view.windows}):
        views = [
            replace(
                view,
                windows=tuple(replace(w, ahead=0) for w in view.windows if w.ahead == ahead),
            )
            for view in question.outcomes
        ]
        at = pc.add(asked[AT], ahead)
        later = asked.set_column(asked.column_names.index(AT), AT, at)
        table = engine.features([v for v in views if v.windows], sources, later)
        found |= {w.signal: table[w.signal] for view in views for w in view.windows}
    return found


def _barred(question: Question, signal: str) -> Array:
    """The status of each row in which the value may not be told; -1 where it may."""
    windows = question.signals | {
        w.signal: (view, w) for view in question.outcomes for w in view.windows
    }
    _, window = windows[signal]
    at = read(question.spine.table[AT]).numbers
    barred = np.full(len(at), -1, np.int8)
    if window.ahead:
        barred[at > question.ends - window.ahead] = PENDING
    kept = question.kept.get(signal)
    if kept is not None and window.length is not None:
        start = at + (window.ahead - window.length)
        start = start if window.hop is None else start // window.hop * window.hop
        barred[start < question.now - kept] = EXPIRED
    if question.allowed is not None and signal in question.personal:
        barred[~question.allowed] = DENIED
    return barred


def _blank(column: pa.ChunkedArray, barred: Array, empty: Sequence[int]) -> pa.ChunkedArray:
    """The column, null where its status is one of these."""
    gone = np.isin(barred, empty)
    if not gone.any():
        return column
    return column.take(pa.array(np.arange(len(column)), mask=gone))


def _status(question: Question, signal: str, newest: pa.ChunkedArray) -> Array:
    at = read(question.spine.table[AT]).numbers
    seen = read(newest)
    found = np.full(len(at), FRESH, np.int8)
    fresh = question.fresh.get(signal)
    if fresh is not None:
        found[at - fresh > seen.numbers] = STALE
    if seen.valid is not None:
        found[~seen.valid] = MISSING
    barred = _barred(question, signal)
    return np.where(barred < 0, found, barred)


def newest_view(view: View) -> View:
    """The view whose signals are the moment of the newest event that contributes to each.

    Expressions cannot tell whether a vector is one: there any event counts.
    """
    when = Computed("newest", show(Node("column", (), view.time)), Type.TIME)
    computed, windows = [when], []
    for i, window in enumerate(view.windows):
        tests = [view.column(window.where).sql] if window.where else []
        parts = [view.column(name) for name in (window.value, window.by) if name]
        tests += [f"({part.sql}) IS NOT NULL" for part in parts if part.type is not Type.VECTOR]
        where = f"counts{i}" if tests else None
        if where is not None:
            sql = parse(" AND ".join(f"({test})" for test in tests)).sql
            computed.append(Computed(where, sql, Type.BOOL))
        windows.append(Window(window.signal, "max", when.name, None, where, None))
    return replace(view, computed=tuple(computed), windows=tuple(windows))
