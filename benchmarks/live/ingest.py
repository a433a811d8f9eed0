"""Ingestion into ten signals: events a second of CPU, growth a million, memory a million pairs.

`ingest.py EVENTS`. A pair is a key and one of its signals: a listener has seven, a track three.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import shop

from tacit.values import MINUTE


def main() -> None:
    count = int(sys.argv[1])
    folder = Path(tempfile.mkdtemp(prefix="tacit-ingest-"))
    try:
        warm = shop.write(folder / "warm", shop.ten())
        shop.fill(warm, shop.plays(50_000, 10_000, 2000, warm.now() - MINUTE), 20_000)
        project = shop.write(folder / "ten", shop.ten())
        table = shop.plays(count, 100_000, 20_000, project.now() - MINUTE)
        rates = shop.fill(project, table)
        online = project.online
        grown = online.backend.size()
        online.backend.compact()
        size = online.backend.size()
        keys = {name: len(table[name].unique()) for name in ("listener", "track")}
        pairs = 7 * keys["listener"] + 3 * keys["track"]
        told = {
            "ingest_events_per_s": round(rates["per_cpu_s"]),
            "ingest_events_per_s_wall": round(rates["per_s"]),
            "store_mb_per_million_events": round(size / count, 1),
            "store_mb_per_million_events_uncompacted": round(grown / count, 1),
            "pairs": pairs,
            "store_mb_per_million_pairs": round(size / pairs, 1),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
