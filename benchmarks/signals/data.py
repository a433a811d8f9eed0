"""A seeded stream of events and a spine, as Parquet: Zipf users and items over ninety days.

Events are nearly in the order of time: two in a hundred are late, by up to a day. Users and items
are text. `--keys 50` makes the skewed variant. Spine rows are users and items of events that
happened, at moments of their own; one in fifty is of a user that no event has.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DAY = 86_400_000_000
SPAN = 90 * DAY
BATCH = 1 << 20
ITEMS = 100_000


def zipf(generator: np.random.Generator, size: int, count: int, exponent: float) -> np.ndarray:
    """Draws from 0..count-1 with probability proportional to 1 / (rank + 3) ** exponent."""
    weights = 1.0 / (np.arange(count) + 3.0) ** exponent
    edges = np.cumsum(weights)
    return np.searchsorted(edges, generator.random(size) * edges[-1], side="right").astype(np.int32)


def names(prefix: str, count: int, generator: np.random.Generator) -> pa.Array:
    """Text keys, in no order of popularity."""
    return pa.array([f"{prefix}{number}" for number in generator.permutation(count)])


def text(codes: np.ndarray, vocabulary: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes), vocabulary).cast(pa.string())


def write(folder: Path, events: int, spine: int, keys: int | None, seed: int = 1) -> None:
    """`events.parquet` and `spine.parquet`; `keys` users, or one for each hundred events."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    users = keys or max(events // 100, 50)
    people = names("u", users, generator)
    items = names("i", ITEMS, generator)
    at = np.sort(generator.integers(0, SPAN, events))
    late = generator.random(events) < 0.02
    at[late] -= generator.integers(0, DAY, int(late.sum()))
    asked = np.sort(generator.choice(events, spine, replace=spine > events))
    rows: dict[str, list[np.ndarray]] = {"user": [], "item": []}
    with pq.ParquetWriter(folder / "events.parquet", SCHEMA) as writer:
        for start in range(0, events, BATCH):
            size = min(BATCH, events - start)
            # A key alone would be no skew: fifty equal keys are the hard case.
            user = (
                generator.integers(0, users, size, dtype=np.int32)
                if keys
                else zipf(generator, size, users, 0.9)
            )
            item = zipf(generator, size, ITEMS, 1.0)
            price = np.round(generator.gamma(2.0, 10.0, size), 2)
            columns = [
                text(user, people),
                text(item, items),
                pa.array(at[start : start + size]),
                pa.array(price, mask=generator.random(size) < 0.01),
            ]
            writer.write_table(pa.table(columns, schema=SCHEMA), row_group_size=BATCH)
            inside = asked[(asked >= start) & (asked < start + size)] - start
            rows["user"].append(user[inside])
            rows["item"].append(item[inside])
    _write_spine(folder, rows, people, items, generator)


def _write_spine(
    folder: Path,
    rows: dict[str, list[np.ndarray]],
    people: pa.Array,
    items: pa.Array,
    generator: np.random.Generator,
) -> None:
    user, item = (np.concatenate(rows[name]) for name in ("user", "item"))
    strangers = np.flatnonzero(generator.random(user.size) < 0.02)
    everybody = pa.concat_arrays([people, pa.array([f"stranger{i}" for i in strangers])])
    user[strangers] = len(people) + np.arange(len(strangers))
    order = generator.permutation(user.size)
    table = pa.table(
        {
            "user": text(user[order], everybody),
            "item": text(item[order], items),
            "at": generator.integers(SPAN // 3, SPAN, user.size),
        }
    )
    pq.write_table(table, folder / "spine.parquet", row_group_size=1 << 18)


SCHEMA = pa.schema(
    [
        ("user", pa.string()),
        ("item", pa.string()),
        ("at", pa.int64()),
        ("price", pa.float64()),
    ]
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--spine", type=int, default=100_000)
    parser.add_argument("--keys", type=int)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    write(given.folder, given.events, given.spine, given.keys, given.seed)


if __name__ == "__main__":
    main()
