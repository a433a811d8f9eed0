"""Which engine computes the cloud's signals: `engine` and `[engines.NAME]` of `tacit.toml`.

::

    engine = "spark"                    # left out: local

    [engines.spark]
    master = "spark://head:7077"
    buckets = 512                       # left out: by the size of the sources
    spark.executor.memory = "8g"        # any setting of Spark
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tacit.declare import Place
from tacit.errors import EngineError
from tacit.plan.place import ENGINES

if TYPE_CHECKING:
    from tacit.engines.base import Computing


def _local(options: Mapping[str, Any]) -> Computing:
    from tacit.engines.local import Local

    if options:
        raise EngineError(
            f"the engine local has no setting {next(iter(options))!r}",
            code="T412",
            where="[engines.local]",
            fix="leave it out",
        )
    return Local()


def _spark(options: Mapping[str, Any]) -> Computing:
    from tacit.engines.spark import Spark

    return Spark.configured(options)


_STARTS: Mapping[str, Callable[[Mapping[str, Any]], Computing]] = {"local": _local, "spark": _spark}
CLOUD = tuple(name for name, engine in ENGINES.items() if engine.place is Place.CLOUD)
"""The engines that a project may choose from."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The engine of the cloud, and its settings."""

    name: str = "local"
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def start(self) -> Computing:
        """The engine. Raises EngineError T411 or T412 for one that cannot start like this."""
        return _STARTS[self.name](self.options)


def chosen(raw: Mapping[str, Any], wrong: Callable[[str, str], Exception]) -> Chosen:
    """The engine that the settings choose. Raises what ``wrong(message, fix)`` makes."""
    name, engines = raw.get("engine", "local"), raw.get("engines", {})
    if name not in CLOUD:
        raise wrong(f"there is no engine {name!r} for the cloud", f"use {', '.join(CLOUD)}")
    tables = engines.values() if isinstance(engines, dict) else [None]
    if not all(isinstance(table, dict) for table in tables) or set(engines) - set(CLOUD):
        fix = f"write [engines.NAME] for {' or '.join(CLOUD)}, and its settings"
        raise wrong("`engines` holds something else than settings of engines", fix)
    return Chosen(name, engines.get(name, {}))
