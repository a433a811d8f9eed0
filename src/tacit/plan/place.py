"""The place pass: where each operation runs, by which engine, and what crosses between places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

from tacit.aggregates import algebra
from tacit.declare import Place
from tacit.declare.expression import OPERATORS
from tacit.errors import EngineError, Refused
from tacit.operations import Window
from tacit.plan.graph import Crossing, Node, Plan
from tacit.plan.window_sql import AGGREGATES
from tacit.values import Type

COMPUTED = ("prepare", "signal", "formula")
EVERY_AGGREGATE = frozenset((*algebra.REGISTRY, *algebra.FAMILIES))
VECTORS = frozenset(key for key in EVERY_AGGREGATE if key.startswith("vector_"))
EVERY_PART = frozenset(field.name for field in fields(Window)) - {
    "signal",
    "aggregate",
    "value",
    "ahead",  # whoever wants an outcome asks for it at the later moment: no engine sees it
}


@dataclass(frozen=True, slots=True)
class Capability:
    """What an engine can do. What it lacks is refused here, never at run time.

    Attributes:
        aggregates: those it computes, by the key without its argument.
        windows: the parts of a window that it reads, besides its aggregate and value: `EVERY_PART`.
        operators: those of expressions.
        reads: what its rows may be.
        lacks: why not, for aggregates, parts and operators (``length()``) that it has not.
        notes: what is particular to one that it has.
    """

    place: Place
    aggregates: frozenset[str]
    reads: tuple[str, ...]
    windows: frozenset[str] = EVERY_PART
    operators: frozenset[str] = frozenset(OPERATORS)
    lacks: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def why(self, what: str) -> str:
        """Why it lacks something."""
        return self.lacks.get(what, "no exact form of it has been written")


ENGINES: Mapping[str, Capability] = {
    "sqlite": Capability(
        Place.DEVICE,
        AGGREGATES,
        ("tables of an open SQLite or SQLCipher database",),
        lacks=dict.fromkeys(VECTORS, "SQLite keeps no lists")
        | {
            "approx_distinct": "SQL cannot hash text as its sketch does; take distinct",
            "approx_quantile": "SQL cannot read the bits of a double",
        },
        notes={
            "length()": "text ends at U+0000",
            "substr()": "text ends at U+0000",
            "starts_with()": "text ends at U+0000",
        },
    ),
    "local": Capability(Place.CLOUD, EVERY_AGGREGATE, ("Arrow tables", "Parquet files")),
    "spark": Capability(
        Place.CLOUD,
        EVERY_AGGREGATE,
        ("Arrow tables", "Parquet files", "Parquet wherever Spark reads it", "Spark DataFrames"),
    ),
}


@dataclass(frozen=True, slots=True)
class Streaming:
    """What takes streams of events into the online store, and how.

    Attributes:
        reads: where events may be.
        commits: what is there whole or not at all.
        ids: how an event that comes twice is known.
        machines: where states are kept up.
    """

    reads: tuple[str, ...]
    commits: str
    ids: str
    machines: str


STREAMS: Mapping[str, Streaming] = {
    "push": Streaming(
        ("`Project.push`", "Redis Streams", "NATS JetStream", "folders of Parquet and JSON lines"),
        "a push, in all views",
        "by its id",
        "one writer at a time, with LMDB or Redis",
    ),
    "spark": Streaming(
        ("folders of JSON lines", "Kafka"),
        "a batch in each lane",
        "by its id",
        "executors; of several machines with Redis",
    ),
    "flink": Streaming(
        ("folders of JSON lines", "Kafka"),
        "segments in each lane",
        "by its id, in each view where its key is the same",
        "takers; on several machines with Redis and a folder that all see",
    ),
}
"""They run one plan, the views as the online store prepares them: every signal that it keeps."""


def place(plan: Plan) -> Plan:
    """Gives every node a place and an engine, and lists the crossings.

    Raises Refused with EngineError T401 for an operation that no engine of its place can do.
    """
    nodes: dict[str, Node] = {}
    crossings: dict[Crossing, None] = {}
    errors: list[EngineError] = []
    for node in plan.nodes.values():
        where = _place_of(node)
        engine = _engine(node, where, plan.cloud, nodes) if node.kind in COMPUTED else None
        if _unable(node, where, engine, nodes):
            errors.append(_lacking(node, where, plan.cloud))
        nodes[node.id] = Node(
            node.id,
            node.kind,
            node.declared,
            node.inputs,
            node.columns,
            node.spec,
            node.mentions,
            where,
            engine,
        )
        crossings.update(dict.fromkeys(_crossings(node, nodes)))
    if errors:
        raise Refused(_once(errors))
    return replace(plan, nodes=nodes, crossings=tuple(crossings))


def _crossings(node: Node, nodes: Mapping[str, Node]) -> Iterator[Crossing]:
    for index, name in enumerate(node.inputs):
        reader = node.id
        if index and node.kind in ("signal", "release"):
            # A signal's tables are joined where its rows are prepared; a release encodes where its
            # signal is, and its public domain is sent there.
            reader = node.inputs[0]
        origin, target = nodes[name].place, nodes[reader].place
        assert origin is not None, "inputs come before what reads them"
        assert target is not None, "and so does what prepares them"
        if origin is not target:
            if node.kind == "release":
                reader = node.id
            if node.declassifies and not index:
                yield Crossing(name, reader, origin, target, "release")
            else:
                means = "bundle" if node.kind == "bundle" else "content"
                yield Crossing(name, reader, origin, target, means)  # type: ignore[arg-type]


def _place_of(node: Node) -> Place:
    if node.kind in ("source", "sink"):
        return Place[str(node.spec["place"]).upper()]
    if node.kind == "bundle":
        return Place.DEVICE
    return node.label.place


def _standing(where: Place, cloud: str) -> dict[str, Capability]:
    """The engines of a place; of those of the cloud, the one that was chosen."""
    return {
        name: engine
        for name, engine in ENGINES.items()
        if engine.place is where and (where is not Place.CLOUD or name == cloud)
    }


def _engine(node: Node, where: Place, cloud: str, nodes: Mapping[str, Node]) -> str | None:
    for name, engine in _standing(where, cloud).items():
        able = not _missing(node, engine)
        if node.kind == "formula":
            made = [used for used in node.inputs if nodes[used].kind != "source"]
            able = all(nodes[used].engine == name for used in made)
            able = able and (len(made) == len(node.inputs) or where is Place.CLOUD)
        if able:
            return name
    return None


def _missing(node: Node, engine: Capability) -> str | None:
    """The first thing of a signal that an engine has not."""
    if node.kind != "signal":
        return None
    key = algebra.base_key(node.spec["aggregate"])
    parts = {"length" if name == "window" else name for name in node.spec} & EVERY_PART
    lacking = [*({key} - engine.aggregates), *sorted(parts - engine.windows)]
    return lacking[0] if lacking else None


def _unable(node: Node, where: Place, engine: str | None, nodes: Mapping[str, Node]) -> bool:
    """Whether nothing in its place can do it."""
    if node.kind == "source":  # devices keep what SQLite does
        return where is Place.DEVICE and any(c.type == Type.VECTOR for c in node.columns)
    if node.kind in ("signal", "formula"):
        # What stands on something that cannot be computed is refused with that, once.
        known = node.inputs[:1] if node.kind == "signal" else node.inputs
        if any(nodes[used].engine is None for used in known if nodes[used].kind != "source"):
            return False
    return engine is None if node.kind in COMPUTED else where is Place.ENCLAVE


def _lacking(node: Node, where: Place, cloud: str) -> EngineError:
    names = {
        "prepare": "preparing rows",
        "source": "keeping vectors",
        "formula": "a formula over signals of several places",
    }
    what = node.spec.get("aggregate", names.get(node.kind, node.kind))
    reasons = [
        f"; {name} has no {missing}: {engine.why(missing)}"
        for name, engine in _standing(where, cloud).items()
        if (missing := _missing(node, engine))
    ]
    return EngineError(
        f"no engine computes {node.id!r} ({what}) in the {where}{''.join(reasons)}",
        code="T401",
        where=node.declared.where,
        fix="place it where an engine stands: "
        + ", ".join(f"{name} ({engine.place})" for name, engine in ENGINES.items()),
    )


def _once(errors: list[EngineError]) -> list[EngineError]:
    """One error a line: prepared rows stand on their source's line, once for all keys."""
    return list({error.where: error for error in reversed(errors)}.values())[::-1]
