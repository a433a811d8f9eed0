"""By which declared sink signals leave: the plan has checked what it is cleared for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tacit.declare import Purpose
from tacit.errors import DataError
from tacit.plan import Node

if TYPE_CHECKING:
    from tacit.project.project import Project

_CODES = {"training": "T374", "online": "T378"}


def cleared(
    project: Project, to: str, signals: Sequence[str], sink: str | None, purpose: str | None
) -> Node:
    """The sink of a kind by which the plan allows these signals together; one of that name, or one
    for that purpose, where they are given.

    Raises DataError T374 (training) or T378 (online) where there is none, or several of different
    purposes.
    """
    able = [n for n in project.plan.of("sink") if n.spec["to"] == to]
    where = str(project.settings.module)
    if sink is not None:
        able = [node for node in able if node.id == sink]
        if not able:
            raise uncleared(to, f"there is no {to} sink {sink!r}", where, "name a declared one")
        lacking = sorted(set(signals) - set(able[0].inputs))
        if lacking:
            raise uncleared(
                to,
                f"the sink {sink!r} is not cleared for {', '.join(lacking)}",
                able[0].declared.where,
                f"add {', '.join(lacking)} to its signals",
            )
    able = [
        node
        for node in able
        if set(signals) <= set(node.inputs)
        and (purpose is None or purpose in node.spec["purposes"])
    ]
    if not able:
        use = f" for {purpose}" if purpose else ""
        raise uncleared(
            to,
            f"no {to} sink is cleared for these signals together{use}",
            where,
            f'declare Sink(to="{to}", signals=[{", ".join(signals)}], …): the plan checks it',
        )
    if len({node.spec["purposes"] for node in able}) > 1:
        raise uncleared(
            to,
            f"several {to} sinks take them: {', '.join(node.id for node in able)}",
            where,
            "say which: sink=…, or purpose=…",
        )
    return able[0]


def purpose_of(project: Project, purpose: str | Purpose | None) -> str | None:
    """The name of a declared purpose. Raises DataError T374 for none."""
    if purpose is None:
        return None
    for name, each in project.declarations.of(Purpose).items():
        if each is purpose or name == purpose:
            return name
    where = str(project.settings.module)
    raise uncleared("training", f"there is no purpose {purpose!r}", where, "name a declared one")


def uncleared(to: str, message: str, where: str, fix: str) -> DataError:
    """T374 or T378."""
    return DataError(message, code=_CODES[to], where=where, fix=fix)
