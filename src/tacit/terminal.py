"""What the commands print, for people: plans, runs, budgets and rankings in a terminal."""

from __future__ import annotations

import argparse
import errno
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tacit.errors import DataError
from tacit.plan import document
from tacit.plan.explain import explain
from tacit.project import Project

STYLES = {"": "bold", "+": "green", "~": "yellow", "-": "red", "→": "cyan", " ": ""}


class Terminal(Console):
    """A console that leaves it to the command what becomes of a reader who has gone."""

    def on_broken_pipe(self) -> None:
        """Raises BrokenPipeError, where rich would end the process as failed."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def out() -> Console:
    """The terminal. Without one (a pipe, a file), plain text that is never wrapped."""
    console = Terminal(highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        console = Terminal(highlight=False, emoji=False, markup=False, width=10_000, no_color=True)
    return console


@contextmanager
def steps(console: Console) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Progress bars: `step(title, total)` begins one and returns what advances it.

    Without a terminal each step is a line when it begins, and a line with its seconds when it ends.
    """
    columns = (
        TextColumn("{task.description:<52}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:

        def step(title: str, total: int) -> Callable[[int], None]:
            task = bars.add_task(title, total=total)
            if console.is_terminal:
                return lambda done: bars.advance(task, done)
            console.print(f"{title} …")
            began = time.monotonic()
            left = [total]

            def advance(done: int) -> None:
                left[0] -= done
                if left[0] == 0:
                    console.print(f"{title}: {total:,} in {time.monotonic() - began:.1f} s")

            return advance

        yield step


def show_plan(project: Project, *, as_json: bool = False) -> None:
    """Prints a project's plan, and what changed since it was last applied."""
    if as_json:
        print(json.dumps(document(project.plan), indent=1, ensure_ascii=False))
        return
    print_plan(out(), project)


def print_plan(console: Console, project: Project) -> None:
    """The lines of the plan, with a colour for each mark."""
    for line in explain(project.plan, project.change()):
        if not line.mark:
            console.print()
        console.print(f"{line.mark:2}{line.text}".rstrip(), style=STYLES[line.mark])


def show_run(project: Project, *, as_json: bool = False) -> None:
    """Runs a project and prints what came of it."""
    from tacit.project.run import run

    console = Console(stderr=True, highlight=False, markup=False) if as_json else out()
    with steps(console) as step:
        results = run(project, step)
    if as_json:
        print(json.dumps(_results(results), indent=1))
        return
    for name, released in results.releases.items():
        again = "taken up again, at no cost" if released.reused else "collected"
        refused = f"; {released.refused:,} reports refused" if released.refused else ""
        console.print(
            f"release {name}: {again}; {released.reports:,} devices sent"
            f" {released.bytes_out:,} bytes each{refused}"
        )
        if released.rows.left_out:
            console.print(
                f"        {released.rows.left_out:,} rows were left out:"
                f" {released.rows.without_key:,} of nobody, {released.rows.without_time:,} of no"
                f" moment, {released.rows.expired:,} past their retention"
            )
    for name, estimates in results.metrics.items():
        console.print(f"metric  {name}: {len(estimates):,} values, the largest")
        for item, value, error in sorted(estimates, key=lambda e: -e.value)[:5]:
            console.print(f"          {item:<30} {value:12,.1f} ± {error:,.1f}")
    for name, path in results.bundles.items():
        console.print(f"model   {name}: {path}")
    for name, path in results.sinks.items():
        console.print(f"sink    {name}: {path}")
    for each in results.delivered:
        when = f"{datetime.fromtimestamp(each.released / 1e6, UTC):%Y-%m-%d %H:%M} UTC"
        paid = f"; spent ε {each.spent:g}" if each.spent else ""
        console.print(
            f"served  {each.metric}: {each.numbers:,} numbers by {each.entity} for {each.purpose},"
            f" released {when}{paid}"
        )
    for node in project.plan.of("sink"):
        if node.spec["to"] == "online":
            console.print(f"sink    {node.id}: read by Project.lookup, as events are pushed")
        elif node.id not in results.sinks:
            console.print(f"sink    {node.id}: no events bear all its keys; ask for training sets")


def _results(results: Any) -> dict[str, Any]:
    return {
        "releases": {
            name: {
                "devices": r.reports,
                "bytes_out_per_device": r.bytes_out,
                "reused": r.reused,
                "reports_refused": r.refused,
                "rows_left_out": r.rows.left_out,
            }
            for name, r in results.releases.items()
        },
        "metrics": {
            name: {e.item: [e.value, e.stderr] for e in estimates}
            for name, estimates in results.metrics.items()
        },
        "bundles": {name: str(path) for name, path in results.bundles.items()},
        "sinks": {name: str(path) for name, path in results.sinks.items()},
        "delivered": [asdict(each) for each in results.delivered],
    }


def show_evaluation(given: argparse.Namespace) -> None:
    """Scores the learners on a split from files, and prints a line for each."""
    from tacit.learn.split import evaluate_split

    found = evaluate_split(
        given.train,
        given.test,
        given.candidates,
        regularisation=given.regularisation,
        epsilon=given.epsilon,
    )
    if given.json:
        print(json.dumps(found))
        return
    console = out()
    console.print(f"{'learner':<24}{'HR@10':>9}{'NDCG@10':>10}{'coverage':>10}")
    for name, score in found["learners"].items():
        console.print(
            f"{name:<24}{score['hr10']:>9.4f}{score['ndcg10']:>10.4f}{score['coverage']:>10.3f}"
        )


def show_quality(project: Project, given: argparse.Namespace) -> int:
    """Prints the quality of the cloud's signals; 1 where one is beyond a threshold."""
    from tacit.project.quality import limits, look, to_json

    bounds = limits(given.fail_on)
    found = look(project, days=given.days, against=given.against, served=given.served)
    beyond = {each.signal: over for each in found if (over := each.beyond(bounds))}
    if given.json:
        print(json.dumps({"signals": to_json(found), "beyond": beyond}))
        return 1 if beyond else 0
    console = out()
    width = max(len(each.signal) for each in found) + 2
    heads = ("rows", "nulls", "missing", "stale", "age", "psi", "js", "ks", "skew")
    console.print(f"{'signal':<{width}}" + "".join(f"{h:>9}" for h in heads) + "  now")
    for each in found:
        shares = [_percent(value) for value in (each.nulls, each.missing, each.stale)]
        distances = [_number(value) for value in (each.psi, each.js, each.ks)]
        cells = [f"{each.rows:,}", *shares, _age(each.age), *distances, _percent(each.skew)]
        line = "".join(f"{cell:>9}" for cell in cells)
        mark = "  beyond " + ", ".join(beyond[each.signal]) if each.signal in beyond else ""
        style = "red" if mark else ""
        console.print(f"{each.signal:<{width}}{line}  {sparkline(each.bins)}{mark}", style=style)
    return 1 if beyond else 0


def sparkline(bins: Mapping[int, int], width: int = 16) -> str:
    """A picture of a histogram: neighbouring bins joined, the fullest a whole block."""
    if not bins:
        return "·" * width
    numbers = sorted(bins)
    low, span = numbers[0], max(numbers[-1] - numbers[0], 1)
    if any(abs(number) == 1 << 20 for number in numbers) or span > 4 * len(numbers):
        places = [i * width // len(numbers) for i in range(len(numbers))]
    else:
        places = [min((number - low) * width // span, width - 1) for number in numbers]
    heights = [0] * width
    for place, number in zip(places, numbers, strict=True):
        heights[place] += bins[number]
    top = max(heights)
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * height // top)] for height in heights)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _age(seconds: float | None) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds is not None and seconds >= size:
            return f"{seconds / size:.1f}{unit}"
    return "–" if seconds is None else f"{seconds:.0f}s"


def show_ranking(project: Project, person: str, model: str | None, count: int) -> None:
    """Lets one simulated device install the newest bundle and rank for itself."""
    models = [node.id for node in project.plan.of("model")]
    if not models or (model is not None and model not in models):
        raise DataError(
            f"the project declares no model {model!r}"
            if model
            else "the project declares no model",
            code="T314",
            where=str(project.settings.module),
            fix=f"name one of: {', '.join(models)}" if models else "declare a Model",
        )
    name = model or models[0]
    last = project.published(name)
    if last is None:
        raise DataError(
            f"no bundle of {name!r} has been made",
            code="T314",
            where=str(project.root),
            fix=f"run the project first: tacit run {project.root}",
        )
    print_ranking(out(), project, person, name, last[0], count)


def print_ranking(
    console: Console, project: Project, person: str, model: str, path: Path, count: int
) -> None:
    """One device's own ranking, with the reason for each item."""
    release = project.plan.nodes[project.plan.nodes[model].inputs[0]]
    source = project.plan.nodes[project.plan.nodes[release.inputs[0]].inputs[0]].inputs[0]
    with project.device(source, person) as agent:
        agent.install(path, project.now())
        ranked = agent.rank(agent.ranker(model, project.now()), project.now(), count)
    for place, found in enumerate(ranked, 1):
        why = f"because of {found.because}" if found.because else "because it is popular"
        console.print(f"  {place:>2}. {found.title[:44]:<44}  {why[:64]}")
