"""`tacit demo`: the whole of Tacit on interactions of yours, or on a made-up population.

It makes a project of the interactions (the starter project, with your rows), runs it as `tacit run`
would, and then measures what privacy costs: the same learner with and without it, on the item that
each person enjoyed last and that no device was told of.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from tacit.demo.experiment import Experiment, Score, growth
from tacit.demo.holdout import Holdout, hold_out
from tacit.demo.interactions import Interactions, made_up, read_interactions
from tacit.demo.picture import Chart, Line, draw
from tacit.errors import DataError
from tacit.project import Project
from tacit.project.run import Results, run
from tacit.project.scaffold import of_devices
from tacit.store.atomic import replace_file
from tacit.terminal import out, print_plan, print_ranking, steps
from tacit.values import SECOND

DEVICES = 5_000
"""Of the made-up population, unless said otherwise."""

EPSILONS = (1.0, 2.0, 4.0, 8.0)
POPULATIONS = (5_000, 50_000, 500_000)
DELTA = 1e-5
"""Of every release: the starter project's own."""

MARK = ".made-by-tacit-demo"
"""Stands in every folder that the demo made, and so may clear."""


@dataclass(frozen=True)
class Demo:
    """What the demo works on: a project of the interactions but each person's last."""

    project: Project
    holdout: Holdout
    epsilon: float
    console: Console


def run_demo(
    given: argparse.Namespace,
    *,
    populations: Sequence[int] = POPULATIONS,
    epsilons: Sequence[float] = EPSILONS,
) -> None:
    """Runs the demo and prints it; with `--json` the last line is one JSON object.

    `populations` are the sizes of the made-up ones on which growth is shown.
    """
    started = time.monotonic()
    console = out()
    interactions = _interactions(given, console)
    holdout = hold_out(interactions)
    folder = _clear(given.out) / "project"
    as_of = pc.max(interactions.history.column("at")).cast(pa.int64()).as_py() + SECOND
    of_devices(folder, holdout.train, interactions.catalogue, as_of, epsilon=given.epsilon)
    demo = Demo(Project.load(folder), holdout, given.epsilon, console)
    _heading(console, "The plan, checked before anything runs")
    print_plan(console, demo.project)
    _heading(console, "The run")
    with steps(console) as step:
        results = run(demo.project, step)
        experiment = Experiment(holdout.question, given.out / "experiment.sqlite", delta=DELTA)
        delivered = {given.epsilon: results.models["recommender"]}
        scores = experiment.scores(sorted({*epsilons, given.epsilon}), step, delivered)
        grown = growth(populations, epsilons, given.out, step, DELTA)
    _print_run(demo, results)
    _print_scores(demo, scores, experiment)
    _print_growth(console, grown)
    _print_ranking(demo, results)
    picture = _draw(given.out, demo, scores, grown)
    seconds = time.monotonic() - started
    _print_end(demo, results, picture, seconds)
    if given.json:
        print(json.dumps(_summary(demo, interactions, results, scores, grown, seconds)))


def _interactions(given: argparse.Namespace, console: Console) -> Interactions:
    for name, value in (("devices", given.devices), ("epsilon", given.epsilon)):
        if value is not None and not 0 < value < 1e9:
            raise DataError(
                f"--{name} {value} is not a positive number",
                code="T309",
                where="tacit demo",
                fix=f"write --{name} {'5000' if name == 'devices' else '4'}",
            )
    if given.data is None:
        return made_up(given.devices or DEVICES)
    chosen = {role: getattr(given, role) for role in ("user", "item", "time", "title")}
    found = read_interactions(given.data, chosen, given.where, given.devices)
    named = ", ".join(f"{role} = {column}" for role, column in found.columns.items())
    console.print(f"{given.data}: {named}; what counts: {found.where or 'every row'}")
    if found.left_out:
        console.print(f"{found.left_out:,} rows belong to nobody or to no moment: left out")
    return found


def _clear(folder: Path) -> Path:
    """An empty folder of the demo's own. Raises DataError T320 for one that it did not make."""
    ours = (folder / MARK).exists()
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            "something is there that the demo did not make",
            code="T320",
            where=str(folder),
            fix="name another folder with --out; nothing was written",
        )
    for held in folder.iterdir() if ours else ():
        if held.name != MARK:  # it goes never, so that a demo cut off here may clear on
            shutil.rmtree(held) if held.is_dir() else held.unlink()
    replace_file(folder / MARK, [b""])
    return folder


# ---------------------------------------------------------------------- what is printed


def _heading(console: Console, words: str) -> None:
    console.print(f"\n── {words} " + "─" * max(2, 76 - len(words)), style="bold cyan")


def _print_run(demo: Demo, results: Results) -> None:
    console = demo.console
    _heading(console, "What left each device")
    for released in results.releases.values():
        claim = released.task.mechanism.claim()
        console.print(
            f"  {released.reports:,} devices sent one report each: {released.bytes_out:,} bytes"
            f" in {released.task.mechanism.aggregators} messages that say nothing alone."
        )
        console.print(
            f"  The sum carries noise of sigma {claim.sigma:.3f} per coordinate against a"
            f" sensitivity of {claim.sensitivity:g}: epsilon {claim.epsilon:.3g} a device at"
            f" delta {claim.delta:g} (toward one curious aggregator:"
            f" {claim.aggregator_epsilon:.3g})."
        )
    events = demo.holdout.train.num_rows
    console.print(f"  {events:,} events stay on their devices; no history was collected.")


def _print_scores(demo: Demo, scores: list[Score], experiment: Experiment) -> None:
    console = demo.console
    _heading(console, f"What privacy costs here, {experiment.asked:,} people asked")
    console.print("  The item each person enjoyed last, ranked among all that they had not yet.")
    console.print(f"  {'learner':<34}{'HR@10':>9}{'NDCG@10':>18}{'coverage':>10}")
    top = max(score.ndcg for score in scores) or 1.0
    for s in scores:
        spread = f" ± {s.spread:.4f}" if s.spread else ""
        bar = "▇" * round(24 * s.ndcg / top)
        console.print(
            f"  {s.name:<34}{s.hit_rate:>9.4f}{s.ndcg:>9.4f}{spread:<9}{s.coverage:>10.3f}  {bar}"
        )
    console.print(f"  {_cost(scores, demo.epsilon)}")
    console.print(
        "  The first draw at the project's epsilon is what it delivered. The others are an"
        " experiment:\n  each is a release that the project might have made instead; all of them"
        f" cost epsilon\n  {experiment.spent():.3g}, and the experiment's ledger says so."
    )


def _print_growth(console: Console, grown: dict[int, list[Score]]) -> None:
    _heading(console, "How the cost shrinks as the population grows (made-up people)")
    names = [score.name for score in next(iter(grown.values()))]
    console.print(f"  {'NDCG@10':<34}" + "".join(f"{n:>14,}" for n in grown))
    for place, name in enumerate(names):
        row = "".join(f"{scores[place].ndcg:>14.4f}" for scores in grown.values())
        console.print(f"  {name:<34}{row}")
    for people, scores in grown.items():
        strictest = min(score.epsilon for score in scores if score.epsilon is not None)
        console.print(f"  {people:>9,} devices: {_cost(scores, strictest)}")


def _cost(scores: list[Score], epsilon: float) -> str:
    """What privacy costs at an ε, in one sentence."""
    full = next(score for score in scores if score.key == "non_private")
    private = next(score for score in scores if score.epsilon == epsilon)
    # Among few people a learner that leans on public text may win.
    wins = private.ndcg >= full.ndcg
    cost = "nothing" if wins else f"{1 - private.ndcg / full.ndcg:.0%}"
    return (
        f"epsilon {epsilon:g} costs {cost} of the NDCG@10 that collecting every history gives"
        f" ({private.ndcg:.4f} of {full.ndcg:.4f})."
    )


def _print_ranking(demo: Demo, results: Results) -> None:
    person = demo.holdout.someone()
    _heading(demo.console, f"One device ranks for itself: {person}")
    model = next(iter(results.bundles))
    print_ranking(demo.console, demo.project, person, model, results.bundles[model], 10)


def _print_end(demo: Demo, results: Results, picture: Path, seconds: float) -> None:
    _heading(demo.console, "Where it lies")
    for name, path in results.bundles.items():
        demo.console.print(f"  bundle   {path}  ({path.stat().st_size:,} bytes, {name})")
    demo.console.print(f"  project  {demo.project.root}  (tacit plan, tacit budget, tacit rank)")
    demo.console.print(f"  picture  {picture}")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    demo.console.print(
        f"  {seconds:.0f} seconds; at most {own / 1e6:.1f} GB, and {workers / 1e6:.1f} GB a worker"
    )


# ---------------------------------------------------------------------- for machines, and to see


def _draw(out: Path, demo: Demo, scores: list[Score], grown: dict[int, list[Score]]) -> Path:
    replace_file(out / "curve.svg", [draw(_charts(demo, scores, grown)).encode()], mode=0o644)
    return out / "curve.svg"


def _charts(demo: Demo, scores: list[Score], grown: dict[int, list[Score]]) -> list[Chart]:
    private = [s for s in scores if s.epsilon is not None]
    curve = Line("private", [(s.epsilon or 0.0, s.ndcg, s.spread) for s in private])
    levels = [Line(s.name, [(1.0, s.ndcg, 0.0)], dashed=True) for s in scores if s.epsilon is None]
    people = f"{len(demo.holdout.people):,} devices"
    here = Chart(
        f"What privacy costs: {people}",
        "epsilon a device",
        "NDCG@10",
        [s.epsilon for s in private if s.epsilon is not None],
        [*levels, curve],
    )
    sizes = list(grown)
    names = [score.name for score in grown[sizes[0]]]
    lines = [
        Line(
            name,
            [(float(n), grown[n][place].ndcg, 0.0) for n in sizes],
            dashed=grown[sizes[0]][place].epsilon is None,
        )
        for place, name in enumerate(names)
    ]
    there = Chart("As the population grows (made-up)", "devices", "NDCG@10", sizes, lines)
    return [here, there]


def _summary(
    demo: Demo,
    interactions: Interactions,
    results: Results,
    scores: list[Score],
    grown: dict[int, list[Score]],
    seconds: float,
) -> dict[str, Any]:
    released = next(iter(results.releases.values()))
    summary: dict[str, Any] = {
        "devices": released.reports,
        "events": interactions.history.num_rows,
        "bytes_out_per_device": released.bytes_out,
        "seconds": round(seconds, 1),
        "bundle": str(next(iter(results.bundles.values()))),
        **_learners(scores),
        "growth": {str(n): _learners(found) for n, found in grown.items()},
    }
    return summary


def _learners(scores: list[Score]) -> dict[str, Any]:
    """Scores by learner; the private ones by their epsilon."""
    found: dict[str, Any] = {"private": {}}
    for s in scores:
        entry = {"hr10": s.hit_rate, "ndcg10": s.ndcg, "coverage": s.coverage}
        if s.epsilon is None:
            found[s.key] = entry
        else:
            found["private"][f"{s.epsilon:g}"] = entry | {"ndcg10_sd": s.spread}
    return found
