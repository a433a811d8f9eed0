"""Reports go in, and the right sum comes out: every VDAF, both drafts, both batch modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dap_world import World, make_task

from tacit.collect.dap.messages import BatchMode

CASES: list[tuple[str, dict[str, int], list[Any], Any]] = [
    ("count", {}, [1, 0, 1, 1] * 4, 12),
    ("sum", {"max_measurement": 255}, list(range(16)), 120),
    (
        "sum_vec",
        {"length": 3, "max_measurement": 15, "chunk_length": 2},
        [[1, 2, 3]] * 12,
        [12, 24, 36],
    ),
    ("histogram", {"length": 4, "chunk_length": 2}, [0, 1, 1, 3] * 4, [4, 8, 0, 4]),
    (
        "multihot_count_vec",
        {"length": 4, "chunk_length": 2, "max_weight": 2},
        [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]] * 3,
        [3, 6, 3, 3],
    ),
]


@pytest.mark.parametrize("version", [18, 9])
@pytest.mark.parametrize("mode", list(BatchMode))
@pytest.mark.parametrize(
    ("name", "parameters", "values", "total"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_the_sum_is_right(
    tmp_path: Path,
    version: int,
    mode: BatchMode,
    name: str,
    parameters: dict[str, int],
    values: list[Any],
    total: Any,
) -> None:
    task = make_task(version, name, parameters=parameters, mode=mode, min_batch_size=len(values))
    world = World(task, tmp_path)
    world.upload(values)
    collector = world.collector()
    query = collector.next_batch() if mode is BatchMode.LEADER_SELECTED else world.everything()
    found = collector.collect(query, patience=20)
    assert (found.value, found.reports, found.sigma) == (total, len(values), 0.0)
    world.stop()
