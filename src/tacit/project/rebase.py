"""Baselines of the online store from a project's rows: in one step, with no gap that can be told.

A baseline takes the place of all that was there. What was pushed before it began, and is not among
the rows, would be gone without a word; so where anything was, the rows must hold it, as far as ids
and marks tell, or somebody must say that they take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from tacit.errors import StoreError
from tacit.live.baseline import begin
from tacit.live.intake import PUSHED
from tacit.live.place import Mark
from tacit.live.streams.lanes import counted

if TYPE_CHECKING:
    from tacit.project.project import Project


def rebase(
    project: Project,
    name: str,
    ids: str | None,
    marks: Mapping[str, Mark] | None,
    replace: bool,
    progress: Callable[[int], None],
) -> int:
    """See `Project.rebase`."""
    online = project.online
    while True:
        standing = online.standing(name)
        taken = counted(online, name).get("accepted", 0) if standing.version else 0
        if taken and not (replace or ids or marks):
            raise _gap(
                name, f"{taken:,} rows were pushed, and nothing tells whether the rows hold them"
            )
        baseline = begin(online, name)
        if taken or not standing.version or baseline.begun[PUSHED].floor == (standing.number,):
            break
        baseline.give_up()  # the first push came after the look: it is in no journal
    try:
        rows = project.rows(name).table
        kept = baseline.add(rows, now=project.now(), ids=ids, progress=progress)
        if taken and ids and not replace:
            known, absent = baseline.pushed()
            if not known:
                raise _gap(name, f"{taken:,} rows were pushed, and none of them with an id")
            if absent:
                raise _gap(name, f"{absent:,} ids of pushes are not among the rows")
        baseline.finish(now=project.now(), marks=marks)
    except BaseException:
        with suppress(StoreError):  # a store that is away: the next one that begins gives it up
            baseline.give_up()
        raise
    return kept


def _gap(name: str, what: str) -> StoreError:
    return StoreError(
        what,
        code="T730",
        where=name,
        fix="bring them into the rows first, and say ids=FIELD (--ids) or marks; "
        "to have the rows alone, replace=True (--replace)",
    )
