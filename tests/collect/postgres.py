"""A PostgreSQL server of its own for tests, in a temporary folder, reached by a socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    run(str(programs / "initdb"), "-D", data, "-U", "tacit", "-A", "trust", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={root}"
    log = str(root / "log")
    run(str(programs / "pg_ctl"), "-D", data, "-o", options, "-l", log, "-w", "start")
    try:
        yield f"postgresql://tacit@/{{name}}?host={root}"
    finally:
        run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(root, ignore_errors=True)
