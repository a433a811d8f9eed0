"""One aggregator as a process: its settings, its state, its threads, and an HTTP server."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tacit.collect.dap.aggregation import Aggregation
from tacit.collect.dap.aggregator import Aggregator
from tacit.collect.dap.asgi import Application
from tacit.collect.dap.collection import Collecting
from tacit.collect.dap.database import Database, open_database
from tacit.collect.dap.driver import Driver, Work
from tacit.collect.dap.errors import refuse
from tacit.collect.dap.helper import Helper
from tacit.collect.dap.helper_store import HELPER_SCHEMA
from tacit.collect.dap.leader import Leader
from tacit.collect.dap.leader_store import LEADER_SCHEMA, release_leases
from tacit.collect.dap.messages import Role
from tacit.collect.dap.peer import HttpPeer
from tacit.collect.dap.routes import HelperService, LeaderService, Served, Service
from tacit.collect.dap.settings import Settings, TaskSettings
from tacit.collect.dap.writer import ReportWriter
from tacit.errors import CollectError
from tacit.privacy.randomness import system

_LOG = logging.getLogger("tacit.dap")
_PATIENCE = 1.0  # seconds: as long as a collector that is not kept waiting stays away
_OBJECTS = 20_000  # that are made before cycles are looked for


def application(settings: Settings) -> Application:
    """The ASGI application of an aggregator. Its threads run from now until it is shut down."""
    makers: dict[str, Callable[[Settings], tuple[Service[Any], Callable[[], None]]]] = {
        "leader": _leader,
        "helper": _helper,
    }
    if settings.party not in makers:
        raise _incomplete(f"a {settings.party} is not served")
    prefixes = {_prefix(one, settings.party) for one in settings.tasks}
    if len(prefixes) != 1:
        raise _incomplete("the tasks have this aggregator at different paths, or there is none")
    service, close = makers[settings.party](settings)
    return Application(service, prefixes.pop(), close)


def serve(settings: Settings) -> None:
    """Serve until the process is told to stop (SIGTERM, SIGINT); then finish what is under way."""
    try:
        import uvicorn
    except ImportError:
        fix = 'install it: pip install "tacit[dap]"'
        raise refuse("T825", "the HTTP server is not installed", fix) from None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    host, port = settings.address
    app: Any = application(settings)
    _settle()
    _LOG.info("the %s listens on %s", settings.party, settings.listen)
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=30,
    )


def _settle() -> None:
    """Fit the interpreter to a server: threads that compute beside some that must answer.

    What is loaded by now stays, and is not looked through for cycles again; reports make many
    objects and no cycles. A thread that computes lets others go on after a millisecond, not five.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS)
    sys.setswitchinterval(1e-3)


def _leader(settings: Settings) -> tuple[Service[Leader], Callable[[], None]]:
    database = open_database(settings.database, LEADER_SCHEMA)
    if database.exclusive:
        with database.transaction(b"leases") as session:
            release_leases(session)
    randomness, peer = system(), HttpPeer()
    woken = threading.Event()
    writer = ReportWriter(database, woken.set)
    served, work = [], []
    for one in settings.tasks:
        party = _party(settings, one, Role.LEADER)
        leader = Leader(party, database, writer, randomness, patience=_PATIENCE)
        if one.token is None:
            raise _incomplete("the leader has no token for the helper")
        served.append(Served(leader, one.accept))
        aggregation = Aggregation(leader, peer, one.token, randomness, job_size=settings.job_size)
        work.append(Work(aggregation, Collecting(leader, peer, one.token)))
    driver = Driver(work, woken, threads=settings.workers)
    driver.start()

    def close() -> None:
        writer.close()
        driver.close()
        peer.close()
        database.close()

    return LeaderService(served, [pair.config for pair in settings.keys]), close


def _helper(settings: Settings) -> tuple[Service[Helper], Callable[[], None]]:
    database: Database = open_database(settings.database, HELPER_SCHEMA)
    served = [
        Served(Helper(_party(settings, one, Role.HELPER), database), one.accept)
        for one in settings.tasks
    ]
    return HelperService(served, [pair.config for pair in settings.keys]), database.close


def _party(settings: Settings, one: TaskSettings, role: Role) -> Aggregator:
    if one.verify_key is None or one.collector is None:
        raise _incomplete("a task has no verification key, or no configuration of the collector")
    if not one.accept:
        raise _incomplete("a task accepts no token, so that nobody could ask for anything")
    party = Aggregator(
        one.task,
        role,
        one.verify_key,
        settings.keys,
        one.collector,
        randomness=system(),
        expiry=settings.expiry,
    )
    threading.Thread(target=party.warm_up, name="warm up", daemon=True).start()
    return party


def _prefix(one: TaskSettings, party: str) -> str:
    return urlsplit(one.task.leader if party == "leader" else one.task.helper).path.rstrip("/")


def _incomplete(what: str) -> CollectError:
    return refuse("T825", what, "complete the settings; tacit dap new writes whole ones")
