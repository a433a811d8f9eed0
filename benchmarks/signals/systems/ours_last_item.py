"""Tacit's local engine on what Feast can express: the last item of each user."""

from __future__ import annotations

from pathlib import Path

from common import measure

from tacit.engines.local import Local
from tacit.operations import Computed, View, Window
from tacit.values import Type

LAST = View(
    "last",
    "events",
    (("user", "user"),),
    "at",
    (),
    (Computed("item", "item", Type.TEXT),),
    (Window("last_item", "last", "item", None, None, None),),
)


def work(folder: Path, target: Path) -> None:
    sources = {"events": folder / "events.parquet"}
    Local().write([LAST], sources, folder / "spine.parquet", target)


if __name__ == "__main__":
    measure(work)
