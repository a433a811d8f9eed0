"""The README says only what is so: its example plans, its refusal is the one printed, it is short."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tacit import Sink
from tacit.cli import main
from tacit.declare import Declarations, collect
from tacit.errors import Refused
from tacit.plan import compile_plan
from tacit.values import DAY

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def example() -> dict[str, object]:
    code, _ = (text for language, text in BLOCKS if language == "python")
    namespace: dict[str, object] = {"__name__": "project_readme"}
    exec(compile(code, "signals.py", "exec"), namespace)
    return namespace


def declared(namespace: dict[str, object]) -> Declarations:
    return collect(namespace)


def test_the_example_plans(example: dict[str, object]) -> None:
    plan = compile_plan(declared(example))
    [view] = plan.views
    [window] = view.windows
    assert (window.signal, window.length) == ("listened_7d", 7 * DAY)
    assert str(plan.nodes["listened_7d"].place) == "device"


def test_the_refusal_is_the_one_printed(example: dict[str, object]) -> None:
    example["training"] = Sink(
        "To learn from.",
        signals=[example["listened_7d"]],  # type: ignore[list-item]
        to="training",
        place="cloud",
        purposes=[example["discover"]],  # type: ignore[list-item]
        region="eu",
        keep="30d",
    )
    with pytest.raises(Refused) as refused:
        compile_plan(declared(example))
    [shown] = [text for _, text in BLOCKS if text.startswith("T202")]
    printed = str(refused.value.errors[0])
    assert re.sub(r"at   .*", "", printed).strip() == re.sub(r"at   .*", "", shown).strip()


def test_it_is_short_and_comes_to_the_point() -> None:
    lines = README.splitlines()
    assert len(lines) < 150
    assert next(n for n, line in enumerate(lines, 1) if "plays.sum(" in line) <= 40
    assert "make demo" in README
    assert "make test" in README


def test_the_cloud_side_runs(
    online_retail: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the declarations of docs/training.md, on the rows of one customer in twenty."""
    page = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
    (tmp_path / "shop").mkdir()
    declarations = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    (tmp_path / "shop" / "signals.py").write_text(declarations)
    settings = 'name = "shop"\nas_of = 2011-12-09T13:00:00Z\n'
    (tmp_path / "shop" / "tacit.toml").write_text(settings)
    rows = pq.read_table(online_retail, columns=["customer", "item", "quantity", "price", "at"])
    rows = rows.filter(pc.equal(pc.bit_wise_and(rows["customer"].cast(pa.int64()), 15), 17850 & 15))
    pq.write_table(rows.append_column("received_at", rows["at"]), tmp_path / "orders.parquet")
    monkeypatch.chdir(tmp_path)
    _, code = (text for language, text in BLOCKS if language == "python")
    [command] = re.findall(r"^tacit (quality .*?) +#", README, re.MULTILINE)
    assert len(code.splitlines()) <= 14
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    said = capsys.readouterr().out
    assert "'back'" in said
    assert "'spend_30d:status'" in said
    assert main(command.split()) == 0
    assert "sold_7d" in capsys.readouterr().out
