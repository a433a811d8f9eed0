# Written by tests/aggregates/write_golden.py from the aggregates; do not edit it by hand.
from tacit.declare.entity import Entity
from tacit.declare.signal import Signal

class SignalMethods:
    def count(
        self,
        window: str | None = None,
        *,
        value: str | None = None,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """How many events there were; with `value`, how many in which it is not null."""
    def sum(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The sum of an expression; null when there is nothing to add."""
    def mean(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The mean of an expression; null when there is nothing to average."""
    def variance(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The population's variance of an expression; null when there is nothing."""
    def stddev(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The square root of the variance."""
    def min(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The least value of an expression."""
    def max(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The greatest value of an expression."""
    def first(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The value at the earliest event; among events of one moment, the least."""
    def last(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The value at the latest event; among events of one moment, the greatest."""
    def last_k(
        self,
        value: str,
        k: int,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The last k values, newest first; among events of one moment, the greatest first."""
    def top_k(
        self,
        value: str,
        k: int,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The k most frequent values, the most frequent first; of equals, the least first."""
    def distinct(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """How many different values there were, exactly."""
    def approx_distinct(
        self,
        value: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """About how many different values there were: exactly up to 384, then within 2% or so."""
    def approx_quantile(
        self,
        value: str,
        q: float,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The quantile q of an expression, from 0 to 1: less than 0.8% too near to zero."""
    def since(
        self,
        window: str | None = None,
        *,
        value: str | None = None,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """Microseconds since the last event; with `value`, since the last in which it is not null.

        Null when there was none.
        """
    def decayed(
        self,
        value: str,
        half: str,
        window: str | None = None,
        *,
        by: str | None = None,
        where: str | None = None,
        hop: str | None = None,
        per: Entity | tuple[Entity, ...] | list[Entity] | None = None,
        doc: str = "",
        name: str | None = None,
        owner: str | None = None,
    ) -> Signal:
        """The sum in which a value counts half after each half-life, such as "7d"."""
