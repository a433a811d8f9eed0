"""Kernels are compiled once, however many processes of a test run call them.

numba compiles a function when a process first calls it, and keeps the machine code beside its
source. In a fresh clone every worker of a test run would compile the same functions at the same
time, and whoever ends last would write over what others kept. Here the second waits for the first,
and loads what it kept. Kernels call each other without cycles, so nobody waits for ever.
"""

from __future__ import annotations

import fcntl
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
