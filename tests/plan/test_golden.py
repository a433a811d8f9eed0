"""One whole plan, as the document that is stored and as the text that is read.

After a change that is meant: `TACIT_GOLDEN=write pytest tests/plan/test_golden.py`, then read the
difference as a user of `tacit plan` would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tacit.declare import collect
from tacit.plan import Plan, compile_plan, difference, document
from tacit.plan import explain as module
from tacit.plan.explain import explain
from tacit.privacy.histogram import HistogramSum

GOLDEN = Path(__file__).parents[1] / "golden"
SOURCE = GOLDEN / "shop.py"


def shop() -> Plan:
    """The example's plan, with places as if it were read from its own folder."""
    namespace: dict[str, object] = {"__name__": "shop"}
    exec(compile(SOURCE.read_text(), "shop.py", "exec"), namespace)
    return compile_plan(collect(namespace))


def held(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("TACIT_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_document() -> None:
    held("shop.json", json.dumps(document(shop()), indent=1, ensure_ascii=False) + "\n")


def test_explanation(monkeypatch: pytest.MonkeyPatch) -> None:
    trusted = SimpleNamespace(
        trust=("One of two aggregators is honest.", "Both add noise."),
        shows=HistogramSum.shows,
        price=HistogramSum.price,
    )
    monkeypatch.setattr(module, "mechanism", lambda key: trusted)
    before = json.loads((GOLDEN / "shop.json").read_text())
    del before["nodes"]["popular"]
    before["nodes"]["taste"]["hash"] = ""
    before["nodes"]["taste"]["spec"]["epsilon"] = 2.0
    before["vocabulary"]["discover"]["hash"] = ""
    before["vocabulary"]["discover"]["budget"]["epsilon"] = 6.0
    plan = shop()
    change = difference(before, document(plan))
    lines = [f"{line.mark:2}{line.text}".rstrip() for line in explain(plan, change)]
    held("shop.txt", "\n".join(lines) + "\n")


def test_document_is_the_same_in_another_process() -> None:
    """Nothing in it hangs on the order of sets, which differs from process to process."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import json, test_golden as g; print(json.dumps(g.document(g.shop())))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {(json.dumps(document(shop())) + "\n").encode()}


def test_document_is_whole() -> None:
    """Every declaration of the project has its place in it, and it survives JSON."""
    plan = shop()
    told = document(plan)
    assert set(told["vocabulary"]) | set(told["nodes"]) >= set(plan.declarations.named)
    assert json.loads(json.dumps(told)) == told
    assert not difference(told, document(shop()))
    assert len(told["lineage"]) == len(plan.edges)
