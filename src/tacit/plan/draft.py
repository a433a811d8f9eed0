"""The working state of the build pass: nodes and edges as they come, and errors as they occur."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from tacit.declare import Declaration, Declarations
from tacit.declare.arguments import frozen
from tacit.declare.expression import Expression
from tacit.errors import DeclarationError, Refused, TacitError
from tacit.operations import Computed, Derived, Join, View, Window
from tacit.plan.graph import Column, Edge, Entry, Kind, Node, Port, Role
from tacit.values import Type


@dataclass
class Preparing:
    """A view being gathered: each expression once, under its canonical SQL.

    `written` holds the same columns under the SQL that the user wrote, so that each is read once.
    """

    name: str
    source: str
    keys: tuple[tuple[str, str], ...]
    time: str
    joins: dict[Join, None] = field(default_factory=dict)
    written: dict[str, Computed] = field(default_factory=dict)
    computed: dict[str, Computed] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)

    def view(self) -> View:
        """The view as it stands."""
        return View(
            self.name,
            self.source,
            self.keys,
            self.time,
            tuple(self.joins),
            tuple(self.computed.values()),
            tuple(self.windows),
        )


class Draft:
    """A plan in the making. One error does not hide the next: each declaration is tried alone.

    Attributes:
        schemas: source → column → type, derived columns included.
        derived: source → derived column → its expression over stored columns alone.
        kept: source → column → microseconds, for columns kept shorter than their source.
        views: prepare node → the view being gathered.
        formulas: formula → what it comes to over signals alone.
        forming: formulas that wait for the one that is being built; `tried`: all that were begun.
    """

    def __init__(self, declarations: Declarations) -> None:
        self.declarations = declarations
        self.nodes: dict[str, Node] = {}
        self.edges: dict[Edge, None] = {}
        self.errors: list[TacitError] = []
        self.schemas: dict[str, Mapping[str, Type]] = {}
        self.derived: dict[str, Mapping[str, Expression]] = {}
        self.kept: dict[str, Mapping[str, int]] = {}
        self.vocabulary: dict[str, Entry] = {}
        self.views: dict[str, Preparing] = {}
        self.formulas: dict[str, Derived] = {}
        self.forming: list[str] = []
        self.tried: set[str] = set()

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Keeps an error of one declaration for the end, and goes on with the next."""
        try:
            yield
        except _BrokenError:
            pass
        except Refused as several:
            self.errors.extend(several.errors)
        except TacitError as error:
            self.errors.append(error)

    def add(
        self,
        id: str,
        kind: Kind,
        declared: Declaration,
        inputs: tuple[str, ...],
        columns: tuple[Column, ...],
        spec: Mapping[str, Any],
        mentions: tuple[str, ...] = (),
    ) -> None:
        """Adds a node whose inputs stand already."""
        sealed = MappingProxyType({name: frozen(value) for name, value in spec.items()})
        self.nodes[id] = Node(id, kind, declared, inputs, columns, sealed, mentions)

    def flow(self, source: Port, target: Port, role: Role) -> None:
        """Adds an edge; the same edge once."""
        self.edges[Edge(source, target, role)] = None

    def wrong(self, user: Declaration, message: str, *, code: str, fix: str) -> DeclarationError:
        """An error of a declaration, under its name."""
        return self.declarations.wrong(user, message, code=code, fix=fix)

    def settle(self) -> None:
        """Gives every prepare node the columns that its view gathered."""
        for name, view in self.views.items():
            node = self.nodes[name]
            computed = (Column(c.name, str(c.type)) for c in view.computed.values())
            self.nodes[name] = replace(node, columns=(*node.columns, *computed))

    def standing(self, declaration: Declaration, user: Declaration) -> str:
        """The name of a declaration that has been built.

        One that failed is skipped in silence with all that stands on it: its own error is told.
        """
        name = self.declarations.name(declaration, user)
        if name not in self.nodes:
            raise _BrokenError
        return name


class _BrokenError(TacitError):
    """What this declaration stands on is broken, and says so itself."""

    def __init__(self) -> None:
        super().__init__("stands on a broken declaration", fix="mend that one")
