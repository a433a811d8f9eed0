"""The commands of `tacit dap`: make a task, serve a party, upload, collect."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tacit.collect.dap.errors import refuse


def add_dap(commands: Any) -> None:
    """Add `dap` and its subcommands to a parser's commands."""
    dap = commands.add_parser("dap", help="private sums by DAP: leader, helper, client, collector")
    verbs = dap.add_subparsers(title="commands", metavar="", required=True)
    _add_new(verbs)
    for party in ("leader", "helper"):
        serve = verbs.add_parser(party, help=f"serve as the {party}")
        serve.add_argument("settings", type=Path, metavar=f"{party.upper()}.toml")
        serve.set_defaults(command=_serve, party=party)
    upload = verbs.add_parser("upload", help="report measurements, one JSON value on a line")
    upload.add_argument("settings", type=Path, metavar="CLIENT.toml")
    upload.add_argument(
        "measurements", type=argparse.FileType("r"), metavar="FILE", help="- : stdin"
    )
    upload.set_defaults(command=_upload)
    collect = verbs.add_parser("collect", help="collect a sum; with noise, it is paid for first")
    collect.add_argument("settings", type=Path, metavar="COLLECTOR.toml")
    collect.add_argument("--start", type=int, help="seconds since 1970; leader-selected: left out")
    collect.add_argument("--end", type=int)
    collect.add_argument("--epoch", help="leader-selected: names the release in the ledger")
    collect.add_argument(
        "--forget",
        action="store_true",
        help="leader-selected: once it is printed, drop it; the next call is for the next batch",
    )
    collect.add_argument("--patience", type=float, default=300.0, help="seconds to wait (300)")
    collect.set_defaults(command=_collect)


def _add_new(verbs: Any) -> None:
    new = verbs.add_parser("new", help="make a task: a file of settings for each party")
    new.add_argument("folder", type=Path, metavar="DIR")
    new.add_argument("vdaf", choices=["count", "sum", "sum_vec", "histogram", "multihot_count_vec"])
    new.add_argument("--length", type=int, help="of vectors and histograms")
    new.add_argument("--max-measurement", type=int)
    new.add_argument("--max-weight", type=int)
    new.add_argument("--chunk-length", type=int, help="of the proof; the best one unless given")
    new.add_argument("--leader", required=True, metavar="URL")
    new.add_argument("--helper", required=True, metavar="URL")
    new.add_argument("--listen", nargs=2, default=["127.0.0.1:8001", "127.0.0.1:8002"])
    new.add_argument("--time-precision", type=int, default=3600, help="seconds (3600)")
    new.add_argument("--min-batch-size", type=int, default=100, help="reports (100)")
    new.add_argument("--leader-selected", action="store_true", help="batches as the leader fills")
    new.add_argument(
        "--noise",
        nargs=2,
        metavar=("KIND", "PARAMETER"),
        help="of each aggregator: gaussian VARIANCE, or laplace SCALE",
    )
    new.add_argument(
        "--budget",
        nargs=3,
        metavar=("PURPOSE", "EPSILON", "DELTA"),
        help="with noise: what all releases may cost",
    )
    new.add_argument("--draft", type=int, choices=[18, 9], default=18)
    new.set_defaults(command=_new)


def _new(given: argparse.Namespace) -> int:
    from fractions import Fraction

    from tacit.collect.dap.messages import BatchMode
    from tacit.collect.dap.profile import profile
    from tacit.collect.dap.settings import new_task
    from tacit.collect.dap.task import Task, Vdaf
    from tacit.govern.ledger import Budget
    from tacit.privacy.randomness import system
    from tacit.privacy.sum_noise import SumNoise

    randomness = system()
    noise = budget = None
    if bool(given.noise) != bool(given.budget):
        raise refuse("T825", "noise and budget go together", "give both, or neither")
    if given.noise:
        try:
            noise = SumNoise(given.noise[0], Fraction(given.noise[1]))
            budget = Budget(given.budget[0], float(given.budget[1]), float(given.budget[2]))
        except (ValueError, ZeroDivisionError) as error:
            raise refuse("T825", f"no number: {error}", "write 25, 25/4 or 0.5") from None
    task = Task(
        id=randomness.bytes(32),
        leader=given.leader,
        helper=given.helper,
        time_precision=given.time_precision,
        min_batch_size=given.min_batch_size,
        mode=BatchMode.LEADER_SELECTED if given.leader_selected else BatchMode.TIME_INTERVAL,
        vdaf=Vdaf(given.vdaf, _parameters(given), profile(given.draft).vdaf),
        noise=noise,
        version=given.draft,
    )
    new_task(given.folder, task, randomness, given.listen, budget)
    print(f"made leader.toml, helper.toml, collector.toml and client.toml in {given.folder}")
    print("give each party its own file, and no other")
    return 0


def _parameters(given: argparse.Namespace) -> dict[str, int]:
    from tacit.privacy.prio3.circuits import best_chunk_length

    named = {
        "length": given.length,
        "max_measurement": given.max_measurement,
        "max_weight": given.max_weight,
        "chunk_length": given.chunk_length,
    }
    found = {name: value for name, value in named.items() if value is not None}
    if given.length and not given.chunk_length:
        bits = (given.max_measurement or 1).bit_length() if given.vdaf == "sum_vec" else 1
        extra = given.max_weight.bit_length() if given.max_weight else 0
        found["chunk_length"] = best_chunk_length(given.length * bits + extra)
    return found


def _serve(given: argparse.Namespace) -> int:
    from tacit.collect.dap.serve import serve
    from tacit.collect.dap.settings import read_settings

    serve(read_settings(given.settings, given.party))
    return 0


def _upload(given: argparse.Namespace) -> int:
    from tacit.collect.dap.client import Client
    from tacit.collect.dap.peer import HttpPeer
    from tacit.collect.dap.settings import read_client

    with given.measurements as lines:
        try:
            values = [json.loads(line) for line in lines if line.strip()]
        except ValueError as error:
            fix = "write one JSON value on a line, such as 3 or [1, 0, 2]"
            raise refuse("T825", f"a measurement is not JSON: {error}", fix) from None
    client, refused = Client(read_client(given.settings), HttpPeer()), 0
    for at in range(0, len(values), 200):
        for status in client.upload(client.reports(values[at : at + 200])):
            print(f"{status.id.hex()} {status.error.name.lower()}")
            refused += 1
    print(f"{len(values) - refused} reports are with the leader, {refused} were refused")
    return 1 if refused else 0


def _collect(given: argparse.Namespace) -> int:
    from tacit.collect.dap.collector import Collector
    from tacit.collect.dap.messages import BatchMode
    from tacit.collect.dap.peer import HttpPeer
    from tacit.collect.dap.settings import read_settings

    settings = read_settings(given.settings, "collector")
    [one] = settings.tasks
    if one.token is None or not settings.keys:
        raise refuse("T825", "the collector has no token, or no key", "use collector.toml")
    collector = Collector(one.task, settings.keys[0], HttpPeer(), one.token)
    if one.task.mode is BatchMode.LEADER_SELECTED:
        query = collector.next_batch()
    elif given.start is None or given.end is None:
        raise refuse("T825", "no interval is given", "give --start and --end, in seconds")
    else:
        query = collector.interval(given.start, given.end)
    if one.task.noise is None:
        found = collector.collect(query, patience=given.patience)
    else:
        found = _release(given, settings, collector, query)
    interval = [found.interval.start, found.interval.duration]
    answer = {"value": found.value, "reports": found.reports, "interval": interval}
    print(json.dumps(answer | ({"sigma": found.sigma} if found.sigma else {})), flush=True)
    if given.forget and one.task.mode is BatchMode.LEADER_SELECTED:
        collector.forget(query)
    return 0


def _release(given: argparse.Namespace, settings: Any, collector: Any, query: Any) -> Any:
    """The sum of a task with noise, through the collector's ledger. The same query again is the
    same release, and costs nothing more. Where there are epochs, it touches those of the interval;
    of a batch that the leader selects no interval is known before, so it touches all."""
    from tacit.govern.ledger import Ledger
    from tacit.govern.spends import Touched
    from tacit.store.control import ControlStore
    from tacit.values import SECOND

    [one] = settings.tasks
    if one.budget is None:
        raise refuse("T825", "the collector has no budget for the task", "write [tasks.budget]")
    epoch = given.epoch or (query.interval and f"{query.interval.start}+{query.interval.duration}")
    if not epoch:
        raise refuse("T825", "the release has no name", "give --epoch; each batch wants its own")
    touched = None
    if one.epochs is not None and query.interval:
        precision = one.task.time_precision
        start, end = given.start // precision * precision, -(-given.end // precision) * precision
        touched = [Touched(one.epochs.subject, start * SECOND, end * SECOND)]
    with ControlStore.open(settings.ledger) as store:
        claim = collector.claim(one.task.name, one.budget.delta)
        ledger = Ledger(store, [one.budget], [one.epochs] if one.epochs else [])
        reservation = ledger.reserve(
            one.budget.purpose, one.task.name, claim, epoch, touched=touched, querier=one.team
        )
        found, _ = collector.release(query, reservation, patience=given.patience)
    return found
