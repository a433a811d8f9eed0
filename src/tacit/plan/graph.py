"""The plan: an immutable graph of operations with a place, an engine and a label on every column.

Everything Tacit says of a project is read from here: `tacit plan`, lineage, the catalog, the
privacy bill, a device's bundle. Nothing keeps a second copy of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from tacit.declare import Declaration, Declarations, Label, Place
from tacit.operations import Derived, View
from tacit.privacy.loss import Loss
from tacit.values import fingerprint

Kind = Literal[
    "source", "prepare", "signal", "formula", "release", "model", "metric", "sink", "bundle"
]
Flow = Literal["direct", "indirect"]
Role = Literal["value", "condition", "filter", "group", "key", "time", "row", "join", "domain"]


class Port(NamedTuple):
    """A column of a node."""

    node: str
    column: str

    def __str__(self) -> str:
        return f"{self.node}.{self.column}"


class Edge(NamedTuple):
    """One column flows into another: by its value (direct), or by what it decides (indirect).

    ==========  =================================================================================
    value       carried, or computed with
    condition   decides what a CASE yields
    filter      decides which rows count
    group       is the second key of a histogram
    key, time   decide whose history a row is of, and when it is seen
    row         is about the person without whom the row would not be there
    join        finds the row of a content table
    domain      lists the keys that a release may speak of
    ==========  =================================================================================
    """

    source: Port
    target: Port
    role: Role

    @property
    def flow(self) -> Flow:
        """Direct where the value itself is carried; the terms are OpenLineage's."""
        return "direct" if self.role == "value" else "indirect"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a node. `type` is a `Type`, or `map<by, value>` for a histogram."""

    name: str
    type: str
    label: Label | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    Attributes:
        id: the declaration's name; for prepared rows and bundles, a name made from it.
        declared: what the user wrote, for its sentence, owner and line.
        inputs: ids of the nodes it reads.
        spec: all that its meaning depends on, besides its inputs and `mentions`; JSON.
        mentions: the entries of the vocabulary that its meaning depends on.
        hash: of kind, spec, mentions and the inputs' hashes: the same meaning, the same hash.
    """

    id: str
    kind: Kind
    declared: Declaration
    inputs: tuple[str, ...]
    columns: tuple[Column, ...]
    spec: Mapping[str, Any]
    mentions: tuple[str, ...] = ()
    place: Place | None = None
    engine: str | None = None
    hash: str = ""

    @property
    def declassifies(self) -> bool:
        """Whether it writes a label of its own: a release, or a metric with a mechanism."""
        return "mechanism" in self.spec

    @property
    def label(self) -> Label:
        """The joined label of its columns."""
        labels = [column.label for column in self.columns if column.label is not None]
        result = labels[0]
        for label in labels[1:]:
            result = result.join(label)
        return result


def prepared(nodes: Mapping[str, Node], name: str) -> Node:
    """The prepared rows that a signal is made of; of a formula, those of its first input."""
    node = nodes[name]
    while node.kind != "prepare":
        node = nodes[node.inputs[0]]
    return node


@dataclass(frozen=True, slots=True)
class Entry:
    """A word that labels are written in: an entity or a purpose.

    Attributes:
        spec: what all that mentions it depends on; JSON.
        budget: what it may spend, which changes the meaning of nothing else; JSON.
    """

    id: str
    kind: Literal["entity", "purpose"]
    declared: Declaration
    spec: Mapping[str, Any]
    budget: Mapping[str, Any] = field(default_factory=dict)
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Crossing:
    """Data that moves from one place to another, and what lets it."""

    source: str
    target: str
    origin: Place
    destination: Place
    by: Literal["release", "bundle", "content"]


@dataclass(frozen=True, slots=True)
class Charge:
    """A line of the privacy bill: the most that one release costs each device."""

    release: str
    mechanism: str
    purposes: tuple[str, ...]
    epsilon: float
    delta: float
    loss: Loss


@dataclass(frozen=True)
class Plan:
    """What the passes of `compile_plan` make of a project's declarations. Immutable throughout.

    `cloud` is the engine that the project chose for the cloud.
    """

    declarations: Declarations
    vocabulary: Mapping[str, Entry] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    edges: tuple[Edge, ...] = ()
    views: tuple[View, ...] = ()
    formulas: tuple[Derived, ...] = ()
    crossings: tuple[Crossing, ...] = ()
    bill: tuple[Charge, ...] = ()
    cloud: str = "local"

    def __post_init__(self) -> None:
        for attribute in ("vocabulary", "nodes"):
            object.__setattr__(self, attribute, MappingProxyType(dict(getattr(self, attribute))))

    @cached_property
    def hash(self) -> str:
        """The fingerprint of the whole plan's meaning."""
        parts = (self.vocabulary, self.nodes)
        return fingerprint(*({name: each.hash for name, each in part.items()} for part in parts))

    @cached_property
    def incoming(self) -> Mapping[str, tuple[Edge, ...]]:
        """Edges by the node they flow into."""
        found: dict[str, list[Edge]] = {}
        for edge in self.edges:
            found.setdefault(edge.target.node, []).append(edge)
        return MappingProxyType({node: tuple(edges) for node, edges in found.items()})

    @cached_property
    def _labels(self) -> Mapping[Port, Label | None]:
        return {
            Port(node.id, column.name): column.label
            for node in self.nodes.values()
            for column in node.columns
        }

    def of(self, kind: Kind) -> tuple[Node, ...]:
        """The nodes of one kind, in order."""
        return tuple(node for node in self.nodes.values() if node.kind == kind)

    def label(self, port: Port) -> Label:
        """The label of a column."""
        label = self._labels[port]
        assert label is not None, f"{port} is not labelled yet"
        return label
