"""Build, part zero: entities and purposes, the words that labels are written in."""

from __future__ import annotations

from typing import Any

from tacit.declare import Entity, Purpose
from tacit.plan.draft import Draft
from tacit.plan.graph import Entry
from tacit.plan.taxonomy import USES, nearest
from tacit.values import duration


def build_entity(draft: Draft, name: str, entity: Entity) -> None:
    """Adds an entity to the vocabulary."""
    budget: dict[str, Any] = {}
    if entity.epoch is not None:
        budget = {"epoch": duration(entity.epoch), "epsilon": float(entity.epsilon)}
        budget |= {"delta": float(entity.delta)}
        budget |= {} if entity.quotas is None else {"quotas": dict(entity.quotas)}
    draft.vocabulary[name] = Entry(name, "entity", entity, {"person": entity.person}, budget)


def build_purpose(draft: Draft, name: str, purpose: Purpose) -> None:
    """Adds a purpose to the vocabulary. Raises T104 for a use that fideslang does not know."""
    if purpose.use not in USES:
        raise draft.wrong(
            purpose,
            f"has an unknown use {purpose.use!r}",
            code="T104",
            fix=nearest(purpose.use, USES, "data uses"),
        )
    spec = {"use": purpose.use, "basis": tuple(sorted(set(purpose.bases)))}
    budget = {"epsilon": float(purpose.epsilon), "delta": float(purpose.delta)}
    budget |= {"per_epoch": True} if purpose.per_epoch else {}
    draft.vocabulary[name] = Entry(name, "purpose", purpose, spec, budget)
