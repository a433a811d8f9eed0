"""What the server counts, and its text for Prometheus (exposition format 0.0.4).

Nothing of it is about anybody: routes, statuses and reasons are words of ours.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

BOUNDS: Final = (
    50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Seconds."""
TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Route:
    """What is counted of a route: answers by status, and how long they took."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)


class RespCounts(Protocol):
    """What a server for Redis clients counts by itself."""

    answered: int
    refused: int
    connections: set[Any]


@dataclass
class Metrics:
    """The counts of a server; one thread writes them."""

    routes: dict[str, Route] = field(default_factory=dict)
    in_flight: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    events: dict[tuple[str, str], int] = field(default_factory=dict)
    values: int = 0
    resp: RespCounts | None = None

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        found = self.routes.get(route)
        if found is None:
            found = self.routes[route] = Route()
        found.buckets[bisect_left(BOUNDS, seconds)] += 1
        found.seconds += seconds
        found.statuses[status] = found.statuses.get(status, 0) + 1

    def refuse(self, code: str) -> None:
        """Counts a refusal, by its code."""
        self.refused[code] = self.refused.get(code, 0) + 1

    def took(self, source: str, counts: Mapping[str, int]) -> None:
        """Counts events of a source, by what became of them."""
        for what, count in counts.items():
            self.events[source, what] = self.events.get((source, what), 0) + count

    def text(
        self,
        ages: Mapping[str, float],
        released: Mapping[tuple[str, str], float] | None = None,
        store: bool = True,
    ) -> bytes:
        """All of it; ``ages`` are seconds since a source was heard of, ``released`` those since a
        metric was released for a purpose, ``store`` says whether the store could be read."""
        lines = [
            "# HELP tacit_requests_total Requests answered.",
            "# TYPE tacit_requests_total counter",
        ]
        for route, found in self.routes.items():
            for status, count in sorted(found.statuses.items()):
                lines.append(f'tacit_requests_total{{route="{route}",status="{status}"}} {count}')
        lines += [
            "# HELP tacit_request_seconds Time from a request's head to its answer.",
            "# TYPE tacit_request_seconds histogram",
        ]
        for route, found in self.routes.items():
            lines += _histogram(route, found)
        lines += [
            "# HELP tacit_in_flight Requests under way.",
            "# TYPE tacit_in_flight gauge",
            f"tacit_in_flight {self.in_flight}",
            "# HELP tacit_values_total Values told.",
            "# TYPE tacit_values_total counter",
            f"tacit_values_total {self.values}",
            "# HELP tacit_refused_total Requests refused, by the code of the error.",
            "# TYPE tacit_refused_total counter",
        ]
        for code, count in sorted(self.refused.items()):
            lines.append(f'tacit_refused_total{{code="{code}"}} {count}')
        lines += [
            "# HELP tacit_events_total Events pushed, by what became of them.",
            "# TYPE tacit_events_total counter",
        ]
        for (source, what), count in sorted(self.events.items()):
            lines.append(f'tacit_events_total{{source="{source}",outcome="{what}"}} {count}')
        if self.resp is not None:
            lines += [
                "# HELP tacit_resp_commands_total Commands of Redis clients answered.",
                "# TYPE tacit_resp_commands_total counter",
                f"tacit_resp_commands_total {self.resp.answered}",
                "# HELP tacit_resp_refused_total Those refused with an error of Tacit.",
                "# TYPE tacit_resp_refused_total counter",
                f"tacit_resp_refused_total {self.resp.refused}",
                "# HELP tacit_resp_connections Redis clients connected.",
                "# TYPE tacit_resp_connections gauge",
                f"tacit_resp_connections {len(self.resp.connections)}",
            ]
        lines += [
            "# HELP tacit_store_up Whether the store can be read.",
            "# TYPE tacit_store_up gauge",
            f"tacit_store_up {int(store)}",
            "# HELP tacit_source_age_seconds Time since a source was heard of.",
            "# TYPE tacit_source_age_seconds gauge",
        ]
        for source, age in sorted(ages.items()):
            lines.append(f'tacit_source_age_seconds{{source="{source}"}} {age:.6f}')
        lines += [
            "# HELP tacit_release_age_seconds Time since a served metric was released.",
            "# TYPE tacit_release_age_seconds gauge",
        ]
        for (metric, purpose), age in sorted((released or {}).items()):
            of = f'metric="{metric}",purpose="{purpose}"'
            lines.append(f"tacit_release_age_seconds{{{of}}} {age:.6f}")
        return ("\n".join(lines) + "\n").encode()


def _histogram(route: str, found: Route) -> list[str]:
    lines, total = [], 0
    name = "tacit_request_seconds"
    for bound, count in zip((*BOUNDS, float("inf")), found.buckets, strict=True):
        total += count
        edge = "+Inf" if bound == float("inf") else f"{bound:g}"
        lines.append(f'{name}_bucket{{route="{route}",le="{edge}"}} {total}')
    lines.append(f'{name}_sum{{route="{route}"}} {found.seconds:.9f}')
    lines.append(f'{name}_count{{route="{route}"}} {total}')
    return lines
