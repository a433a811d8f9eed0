"""A PostgreSQL server of its own for tests, in a temporary folder, reached by a socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPLATE = Path(__file__).parents[2] / "build" / "postgres"
"""A new cluster as `initdb` makes it, which takes seconds; made once, then copied."""


def binaries() -> Path | None:
    """Where `initdb` and `pg_ctl` are."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).parent if found else None


def install() -> Path | None:
    """The server's programs; installed from Debian's packages when root and missing."""
    if binaries() is None and shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
        subprocess.run(["apt-get", "update"], **quiet)  # type: ignore[call-overload]
        subprocess.run(["apt-get", "install", "-y", "postgresql"], **quiet)  # type: ignore[call-overload]
    return binaries()


@contextmanager
def server(programs: Path) -> Iterator[str]:
    """A running server; gives its libpq URL without a database's name."""
    root = Path(tempfile.mkdtemp(prefix="pg"))
    as_user: list[str] = []
    if os.geteuid() == 0:  # it refuses to run as root
        pwd.getpwnam("postgres")
        shutil.chown(root, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def run(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, cwd=root, stdout=subprocess.DEVNULL)

    data = str(root / "data")
    if TEMPLATE.is_dir():
        shutil.copytree(TEMPLATE, data)
    else:
        run(str(programs / "initdb"), "-D", data, "-U", "tacit", "-A", "trust", "--no-sync")
        _keep(Path(data))
    if as_user:
        for place in (root / "data", *(root / "data").rglob("*")):
            shutil.chown(place, "postgres")
    (root / "data").chmod(0o700)
    # What is tested is what transactions do, not what a power failure does to the server.
    options = f"-c listen_addresses='' -c unix_socket_directories={root} -c fsync=off"
    options += " -c full_page_writes=off -c shared_buffers=16MB"
    log = str(root / "log")
    run(str(programs / "pg_ctl"), "-D", data, "-o", options, "-l", log, "-w", "start")
    try:
        yield f"postgresql://tacit@/{{name}}?host={root}"
    finally:
        run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(root, ignore_errors=True)


def databases(url: str) -> tuple[str, str]:
    """Two new databases of a server, for leader and helper."""
    import psycopg

    names = tuple(f"{party}_{uuid.uuid4().hex}" for party in ("leader", "helper"))
    with psycopg.connect(url.format(name="postgres"), autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE DATABASE {name}")
    return url.format(name=names[0]), url.format(name=names[1])


def _keep(data: Path) -> None:
    """Keeps the new cluster for the next time, whole or not at all."""
    aside = TEMPLATE.with_name(f"postgres.{os.getpid()}")
    TEMPLATE.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(data, aside)
    try:
        aside.rename(TEMPLATE)
    except OSError:  # another test was quicker
        shutil.rmtree(aside, ignore_errors=True)
