"""Models: what is learned in the cloud from releases, and goes back to devices in a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tacit.declare.arguments import (
    DURATION,
    KEEP,
    OPTIONS,
    REGION,
    WORD,
    Takes,
    instance,
    optional,
)
from tacit.declare.base import Declaration
from tacit.declare.column import PURPOSES, Names, Purposes
from tacit.declare.release import Release


@dataclass(frozen=True, eq=False, kw_only=True)
class Model(Declaration):
    """A learner over a release. Its terms are the release's, where it states none of its own.

    Args:
        learner: a registered learner, such as "item_item".
        release: the statistic that it learns from, and all that it ever sees.
        purposes: what the model is for; left out, all that the release is for.
        region: where it is trained and kept; left out, the release's.
        keep: how long a trained version may be kept, or "ever"; left out, as long as the release.
        expires: how long a device may use a bundle before it must have a newer one.
        options: further settings of the learner.
    """

    kind: ClassVar[str] = "model"
    takes: ClassVar[Mapping[str, Takes]] = {
        **Declaration.takes,
        "learner": WORD,
        "release": instance(Release, "a Release", "the release that it learns from"),
        "purposes": optional(PURPOSES),
        "region": optional(REGION),
        "keep": optional(KEEP),
        "expires": DURATION,
        "options": OPTIONS,
    }

    learner: str
    release: Release
    purposes: Purposes | None = None
    region: Names | None = None
    keep: str | None = None
    expires: str = "30d"
    options: Mapping[str, Any] = field(default_factory=dict)
