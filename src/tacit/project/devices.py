"""The simulated devices of a project, and the agent of one of them."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from tacit.declare import Events
from tacit.device.agent import Agent
from tacit.device.population import Population
from tacit.errors import DataError
from tacit.project.terms import people_columns
from tacit.values import Type

if TYPE_CHECKING:
    from tacit.project.project import Project


def population(project: Project, source: str) -> Population:
    """See `Project.population`."""
    events = project.source(source)
    assert isinstance(events, Events), "devices hold events"
    people = people_columns(events)
    if len(people) != 1:
        raise DataError(
            f"the rows of {source!r} are not of one person each",
            code="T316",
            where=events.where,
            fix="declare events of a device with one column that is the key of its person",
        )
    entity = events.columns[people[0]].entity
    assert entity is not None, "the column is a key"
    return Population(
        folder=project.state / "devices" / project.declarations.name(entity, events),
        project=project.settings.name,
        trusted=project.signing_key.public,
        tables={source: project.schema(source)},
        person={source: people[0]},
        clocks={source: events.time},
    )


def device(project: Project, source: str, person: str) -> AbstractContextManager[Agent]:
    """See `Project.device`."""
    held = project.population(source)
    kind = project.schema(source)[held.person[source]]
    number = kind is Type.INT and re.fullmatch(r"-?\d{1,19}", person)
    return held.agent(int(person) if number else person)
