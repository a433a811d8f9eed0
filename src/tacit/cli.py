"""The command line. Each command imports what it needs when it runs: `--help` answers at once."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tacit import __version__
from tacit.collect.dap.command import add_dap
from tacit.errors import DataError, StoreError, TacitError, TacitWarning
from tacit.serve.command import add_serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status: 0 done, 1 refused or failed, 2 not a command, 130 stopped."""
    # One thread for linear algebra unless said otherwise: its threads spin while they wait, and
    # beside other work two took ten times as long as one. NumPy reads it when it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    parser = _parser()
    given = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] | None = getattr(given, "command", None)
    if command is None:
        parser.print_help()
        return 2
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _beside
            status = command(given)
        sys.stdout.flush()
        return status
    except TacitError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            return _unread()
        print(_outside(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _beside(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """A warning as the command line shows it: without the place in our own code."""
    print(f"{'' if category is TacitWarning else 'warning: '}{message}", file=sys.stderr)


def _unread() -> int:
    """The reader of a pipe has gone (`tacit plan | head`): there is nobody left to tell, and
    Python is not to try again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _outside(error: OSError) -> StoreError:
    """What the system refused where no room of ours knew better."""
    return StoreError(
        f"the system refused: {error.strerror or error}",
        code="T704",
        where=str(error.filename) if error.filename else None,
        fix="check that the file or folder is there, and that it may be read and written",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tacit", description="Personalization without anybody's history in the cloud."
    )
    parser.add_argument("--version", action="version", version=f"tacit {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="")
    _add_init(commands)
    _add_plan(commands)
    _add_ingest(commands)
    _add_lake(commands)
    _add_rebase(commands)
    _add_stream(commands)
    _add_run(commands)
    _add_query(commands)
    _add_budget(commands)
    _add_quality(commands)
    _add_forget(commands)
    _add_rank(commands)
    _add_demo(commands)
    _add_evaluate(commands)
    add_serve(commands)
    add_dap(commands)
    return parser


Commands = Any


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of items")
    return int(text)


def _add_init(commands: Commands) -> None:
    init = commands.add_parser("init", help="make a project that plans and runs at once")
    init.add_argument("folder", type=Path, metavar="DIR")
    init.add_argument(
        "--cloud", action="store_true", help="of an app's events in the cloud, to serve and learn"
    )
    init.set_defaults(command=_init)


def _add_plan(commands: Commands) -> None:
    plan = commands.add_parser("plan", help="check a project and print what would run where")
    plan.add_argument("folder", type=Path, metavar="DIR", nargs="?", default=Path())
    plan.add_argument("--json", action="store_true", help="print the whole plan as JSON")
    plan.set_defaults(command=_plan)


def _add_ingest(commands: Commands) -> None:
    ingest = commands.add_parser("ingest", help="bring rows into the lake, each file once")
    ingest.add_argument("source", metavar="SOURCE", help="the declared source")
    ingest.add_argument("files", type=Path, metavar="FILE", nargs="+", help=".parquet .csv .jsonl")
    ingest.add_argument("--project", type=Path, metavar="DIR", default=Path())
    ingest.add_argument("--batch", metavar="ID", help="an id of the rows, in place of their bytes")
    ingest.add_argument("--ahead", metavar="5m", help="how far ahead of now a row may be dated")
    ingest.add_argument("--json", action="store_true", help="print one JSON object for each file")
    ingest.set_defaults(command=_ingest)


def _add_lake(commands: Commands) -> None:
    lake = commands.add_parser("lake", help="what the lake holds; keep it in order")
    lake.add_argument("folder", type=Path, metavar="DIR", nargs="?", default=Path())
    lake.add_argument("--retain", action="store_true", help="delete what is past its retention")
    lake.add_argument("--compact", action="store_true", help="put small files together")
    lake.add_argument("--purge", action="store_true", help="remove files nothing refers to")
    lake.add_argument("--expire", metavar="30d", help="first forget snapshots older than this")
    lake.set_defaults(command=_lake)


def _add_rebase(commands: Commands) -> None:
    rebase = commands.add_parser("rebase", help="build the online store anew from a source's rows")
    rebase.add_argument("sources", metavar="SOURCE", nargs="*", help="left out: all that have rows")
    rebase.add_argument("--project", type=Path, metavar="DIR", default=Path())
    rebase.add_argument(
        "--ids", metavar="FIELD", help="what identifies an event: what was pushed must be there"
    )
    rebase.add_argument(
        "--replace", action="store_true", help="what was pushed and is not among the rows may go"
    )
    rebase.set_defaults(command=_rebase)


def _share(text: str) -> tuple[int, int]:
    part, _, whole = text.partition("/")
    if not (part.isdecimal() and whole.isdecimal() and int(part) < int(whole)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a share, such as 0/4")
    return int(part), int(whole)


def _add_stream(commands: Commands) -> None:
    stream = commands.add_parser("stream", help="take streams into the online store")
    stream.add_argument("folder", type=Path, metavar="DIR", nargs="?", default=Path())
    stream.add_argument(
        "--engine",
        choices=("push", "spark", "flink"),
        default="push",
        help="this process alone (push), or past one machine",
    )
    stream.add_argument(
        "--source", action="append", default=[], metavar="SOURCE", help="only this; all of [stream]"
    )
    stream.add_argument("--once", action="store_true", help="end when what is there is taken")
    stream.add_argument(
        "--idle", type=float, default=30.0, metavar="30", help="Flink: that is, after so long (s)"
    )
    stream.add_argument(
        "--share",
        type=_share,
        metavar="0/4",
        default=(0, 1),
        help="Flink: take a share of the shards; the first, 0, also runs the job",
    )
    stream.add_argument(
        "--show", action="store_true", help="print what is read, or the engine told"
    )
    stream.add_argument("--setup", action="store_true", help="install Flink, some 850 MB, by pip")
    stream.set_defaults(command=_stream)


def _add_run(commands: Commands) -> None:
    run = commands.add_parser("run", help="apply the plan: collect, learn, deliver")
    run.add_argument("folder", type=Path, metavar="DIR", nargs="?", default=Path())
    run.add_argument("--json", action="store_true", help="print the results as JSON")
    run.set_defaults(command=_run)


def _add_query(commands: Commands) -> None:
    query = commands.add_parser("query", help="ask a metric: a number, its interval, what it cost")
    query.add_argument("metric", metavar="METRIC")
    query.add_argument("--by", nargs="+", action="extend", default=[], metavar="DIM")
    query.add_argument("--grain", metavar="1d", help="one number for each 1h, 1d, 1w or 1mo (UTC)")
    query.add_argument("--where", metavar="SQL", help="over dimensions, such as \"country = 'fr'\"")
    query.add_argument("--since", metavar="WHEN", help="2026-01-31, or 90d for so long ago")
    query.add_argument("--until", metavar="WHEN", help="left out: the end of the last whole period")
    query.add_argument("--purpose", metavar="NAME", help="what for, where the metric has several")
    query.add_argument(
        "--rollup", action="store_true", help="add up a finer answer, at no cost, if there is one"
    )
    shape = query.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print one JSON object")
    shape.add_argument("--csv", action="store_true", help="print the cells as CSV")
    query.add_argument("--project", type=Path, metavar="DIR", default=Path())
    query.set_defaults(command=_query)


def _add_budget(commands: Commands) -> None:
    budget = commands.add_parser("budget", help="print what has been spent, and what is left")
    budget.add_argument("folder", type=Path, metavar="DIR", nargs="?", default=Path())
    budget.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw it too")
    budget.add_argument("--json", action="store_true", help="print one JSON object")
    budget.add_argument(
        "--new-witness",
        action="store_true",
        help="make witnesses of the ledger anew that are gone; only if nothing was put back",
    )
    budget.set_defaults(command=_budget)


def _add_quality(commands: Commands) -> None:
    quality = commands.add_parser("quality", help="drift, skew, nulls and freshness of signals")
    quality.add_argument("folder", type=Path, metavar="DIR", nargs="?", default=Path())
    quality.add_argument("--days", type=_count, default=28, help="how many days are now (28)")
    quality.add_argument(
        "--against",
        choices=("before", "last"),
        default="before",
        help="compare with the days before them, or with what was found the last time",
    )
    quality.add_argument(
        "--served", type=Path, metavar="FILE", help="served values in Parquet: keys, at, signals"
    )
    quality.add_argument(
        "--fail-on",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=LIMIT",
        help="exit with 1 beyond a limit, such as psi=0.25 nulls=0.5 skew=0",
    )
    quality.add_argument("--json", action="store_true", help="print one JSON object")
    quality.set_defaults(command=_quality)


def _add_forget(commands: Commands) -> None:
    forget = commands.add_parser("forget", help="erase a person everywhere in the cloud")
    forget.add_argument("name", metavar="ENTITY", nargs="?", help="or a source of such rows")
    forget.add_argument("key", metavar="KEY", nargs="?", help="left out: finish what was cut off")
    forget.add_argument("--project", type=Path, metavar="DIR", default=Path())
    forget.add_argument("--json", action="store_true", help="print one JSON object a receipt")
    forget.set_defaults(command=_forget)


def _add_rank(commands: Commands) -> None:
    rank = commands.add_parser("rank", help="let one device rank for itself, with reasons")
    rank.add_argument("folder", type=Path, metavar="DIR")
    rank.add_argument("device", help="the key of the device's person")
    rank.add_argument("--model", help="the model; the first one unless given")
    rank.add_argument("--count", type=_count, default=10, help="how many items (10)")
    rank.set_defaults(command=_rank)


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser("demo", help="the whole of it, on your interactions or made-up ones")
    demo.add_argument("--data", type=Path, help="a Parquet file of interactions")
    demo.add_argument("--devices", type=int, help="at most this many devices")
    demo.add_argument("--epsilon", type=float, default=4.0, help="the loss per device (4)")
    demo.add_argument("--out", type=Path, default=Path("out/demo"), help="where results go")
    demo.add_argument("--json", action="store_true", help="end with one JSON object on one line")
    for column, meaning in (
        ("user", "who"),
        ("item", "what"),
        ("time", "when"),
        ("title", "the item's public text"),
    ):
        demo.add_argument(f"--{column}", metavar="COLUMN", help=f"the column that says {meaning}")
    demo.add_argument("--where", metavar="SQL", help="which rows count, such as 'quantity > 0'")
    demo.set_defaults(command=_demo)


def _add_evaluate(commands: Commands) -> None:
    evaluate = commands.add_parser("evaluate", help="score the learners on a split of your own")
    evaluate.add_argument("--train", type=Path, required=True, help="CSV: user,item")
    evaluate.add_argument("--test", type=Path, required=True, help="CSV: user,item")
    evaluate.add_argument(
        "--candidates", type=Path, help=".npy: for each test row, the items to rank"
    )
    evaluate.add_argument(
        "--regularisation", type=float, default=1000.0, help="lambda of EASE without privacy (1000)"
    )
    evaluate.add_argument("--epsilon", type=float, help="score a private release of this loss too")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    evaluate.set_defaults(command=_evaluate)


def _init(given: argparse.Namespace) -> int:
    from tacit.demo.starter import start, start_cloud

    where = given.folder
    if given.cloud:
        start_cloud(where)
        print(f"made {where}; next: cd {where} && tacit ingest views data/views.parquet")
    else:
        start(where)
        print(f"made {where}; next: tacit plan {where} && tacit run {where}")
    return 0


def _plan(given: argparse.Namespace) -> int:
    from tacit.project import Project
    from tacit.terminal import show_plan

    show_plan(Project.load(given.folder), as_json=given.json)
    return 0


def _ingest(given: argparse.Namespace) -> int:
    from tacit.terminal_lake import show_ingest

    show_ingest(given)
    return 0


def _lake(given: argparse.Namespace) -> int:
    from tacit.terminal_lake import show_lake

    show_lake(given)
    return 0


def _rebase(given: argparse.Namespace) -> int:
    from tacit.terminal_lake import show_rebase

    show_rebase(given)
    return 0


def _stream(given: argparse.Namespace) -> int:
    from tacit.terminal_stream import show_stream

    show_stream(given)
    return 0


def _run(given: argparse.Namespace) -> int:
    from tacit.project import Project
    from tacit.terminal import show_run

    show_run(Project.load(given.folder), as_json=given.json)
    return 0


def _query(given: argparse.Namespace) -> int:
    from tacit.terminal_query import show_query

    show_query(given)
    return 0


def _budget(given: argparse.Namespace) -> int:
    from tacit.project import Project
    from tacit.terminal_budget import show_budget

    project = Project.load(given.folder)
    if given.new_witness:
        project.open_control(accept=True).close()
    show_budget(project, given)
    return 0


def _quality(given: argparse.Namespace) -> int:
    from tacit.project import Project
    from tacit.terminal import show_quality

    return show_quality(Project.load(given.folder), given)


def _forget(given: argparse.Namespace) -> int:
    from tacit.project import Project
    from tacit.terminal_lake import show_forget

    if (given.name is None) != (given.key is None):
        raise DataError(
            "a person is named by their entity, or a source, and their key",
            code="T317",
            fix="tacit forget ENTITY KEY, or tacit forget alone to go on with what was cut off",
        )
    show_forget(Project.load(given.project), given)
    return 0


def _rank(given: argparse.Namespace) -> int:
    from tacit.project import Project
    from tacit.terminal import show_ranking

    show_ranking(Project.load(given.folder), given.device, given.model, given.count)
    return 0


def _demo(given: argparse.Namespace) -> int:
    from tacit.demo.run import run_demo

    run_demo(given)
    return 0


def _evaluate(given: argparse.Namespace) -> int:
    from tacit.terminal import show_evaluation

    show_evaluation(given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
