"""What a fresh clone lacks is made once, however many processes of a test run want it.

numba compiles a function when a process first calls it, and keeps the machine code beside its
source. In a fresh clone every worker of a test run would compile the same functions at the same
time, and whoever ends last would write over what others kept. Here the second waits for the first,
and loads what it kept. Kernels call each other without cycles, so nobody waits for ever.

pytest rewrites the assertions of every test module, and keeps what Python makes of it, too. Workers
collect the same modules in the same order, so both would rewrite each: one begins at the other end.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def once() -> None:
    """From now on this process compiles no kernel that another is compiling."""
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.dispatcher import Dispatcher

    compiles, held = Dispatcher.compile, set[Path]()

    def compile_alone(self: Any, signature: Any) -> Any:
        cache = self._cache
        if cache.cache_path is None:
            return compiles(self, signature)
        lock = Path(cache.cache_path) / f"{cache._impl.filename_base}.lock"
        # Threads of this process come one by one first: a file is locked for all of them.
        with global_compiler_lock:
            if lock in held:
                return compiles(self, signature)
            with lock.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                held.add(lock)
                try:
                    return compiles(self, signature)
                finally:
                    held.remove(lock)

    Dispatcher.compile = compile_alone


def from_both_ends(folders: Sequence[Path]) -> None:
    """Every other worker imports the test modules of these folders before it collects them, the
    last one first. A module that cannot be imported is told of when it is collected."""
    if int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % 2 == 0:
        return
    for folder in folders:
        for path in sorted(folder.rglob("test_*.py"), reverse=True):
            if str(path.parent) not in sys.path:
                sys.path.insert(0, str(path.parent))
            with contextlib.suppress(Exception):
                importlib.import_module(path.stem)
