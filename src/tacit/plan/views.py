"""Views with fewer windows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tacit.declare.expression import parse
from tacit.operations import View


def view_of(view: View, signals: Collection[str]) -> View:
    """The view with only the windows of these signals, and only what they need of columns and
    joins: a join finds one row or none, so leaving one out leaves no event out."""
    windows = tuple(window for window in view.windows if window.signal in signals)
    used = {name for w in windows for name in (w.value, w.by, w.where)}
    computed = tuple(column for column in view.computed if column.name in used)
    read = {
        name.partition(".")[0] for c in computed for name in parse(c.sql).columns if "." in name
    }
    joins = tuple(join for join in view.joins if join.table in read)
    return replace(view, windows=windows, computed=computed, joins=joins)
