"""The house rules that a test can hold: who imports whom, and which rooms never touch the outside."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import tacit

PACKAGE = Path(tacit.__file__).parent
ROOMS = (
    ("errors",),
    ("values",),
    ("operations",),
    ("aggregates", "privacy"),
    ("declare",),
    ("plan",),
    ("engines",),
    ("store",),
    ("live",),
    ("govern",),
    ("collect",),
    ("device",),
    ("learn",),
    ("project",),
    ("serve",),
    ("terminal",),
    ("terminal_budget", "terminal_lake", "terminal_query", "terminal_stream"),
    ("demo",),
    ("cli",),
)
"""From what everything stands on to what stands on everything. Rooms of one line know nothing of
each other. The package's own face (`tacit/__init__.py`) hands on the names of `declare`."""

LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
PURE = ("aggregates", "privacy", "declare", "plan")
OUTSIDE = {
    "asyncio", "builtins.open", "duckdb", "glob", "http", "io", "logging", "lmdb", "multiprocessing",
    "os", "pathlib", "requests", "secrets", "shutil", "signal", "socket", "sqlcipher3", "sqlite3",
    "subprocess", "tempfile", "threading", "urllib",
}  # fmt: skip
ENTROPY = "privacy/randomness.py"


@cache
def modules() -> tuple[tuple[Path, str, tuple[ast.AST, ...]], ...]:
    """Every module: its path, its room, its syntax from top to bottom."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        room = relative.parts[0].removesuffix(".py")
        found.append((relative, room, tuple(ast.walk(ast.parse(path.read_text())))))
    return tuple(found)


def imports(nodes: tuple[ast.AST, ...]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_is_placed() -> None:
    assert {room for _, room, _ in modules()} - {"__init__", "__main__"} == set(LEVEL)


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path} imports {name}"
        for path, room, nodes in modules()
        for name in imports(nodes)
        if room in LEVEL and name.startswith("tacit.")
        for other in [name.split(".")[1]]
        # A name of the package's own face (`from tacit import Entity`) is no room.
        if other in LEVEL and other != room and LEVEL[other] >= LEVEL[room]
    ]
    assert wrong == []


def test_pure_rooms_do_no_io() -> None:
    wrong = [
        f"{path} imports {name}"
        for path, room, nodes in modules()
        for name in imports(nodes)
        if room in PURE and name.split(".")[0] in OUTSIDE
        if (str(path), name) != (ENTROPY, "secrets")
    ]
    calls = [
        f"{path}:{node.lineno} calls {node.func.id}"
        for path, room, nodes in modules()
        for node in nodes
        if room in PURE and isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in ("open", "print", "input", "exec", "eval", "__import__")
    ]
    assert wrong + calls == []


def test_randomness_is_the_systems() -> None:
    """Nothing in the package draws from a generator that is not keyed by the system's CSPRNG.

    The one exception is no secret: the demo's made-up population, seeded so that it repeats.
    """
    seeded = {"demo/synthetic.py"}
    wrong = [
        f"{path} imports {name}"
        for path, _, nodes in modules()
        for name in imports(nodes)
        if name.split(".")[0] == "random" or name.startswith("numpy.random")
    ]
    wrong += [
        f"{path}:{node.lineno}"
        for path, _, nodes in modules()
        for node in nodes
        if isinstance(node, ast.Attribute) and node.attr == "random" and str(path) not in seeded
        if isinstance(node.value, ast.Name) and node.value.id in ("np", "numpy")
    ]
    assert wrong == []


def test_kernels_are_quick_to_compile() -> None:
    """A user waits when a kernel is first called. What NumPy sorts and searches with takes seconds to
    compile, in each process that meets it, and so does a slice assigned to a slice, for the words of
    its error: `sorting.sort_times`, `kernels.at_least` and a loop do the same."""
    slow = {"np.sort", "np.argsort", "np.unique", "np.searchsorted"}
    wrong = []
    for path, _, nodes in modules():
        for kernel in nodes:
            if not isinstance(kernel, ast.FunctionDef):
                continue
            if not any("njit" in ast.unparse(one) for one in kernel.decorator_list):
                continue
            for node in ast.walk(kernel):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in slow:
                    wrong.append(f"{path}:{node.lineno} calls {ast.unparse(node.func)}")
                if isinstance(node, ast.Assign) and all(map(_slice, (*node.targets, node.value))):
                    wrong.append(f"{path}:{node.lineno} assigns a slice to a slice")
    assert wrong == []


def _slice(node: ast.AST) -> bool:
    if not isinstance(node, ast.Subscript):
        return False
    index = node.slice
    return any(isinstance(i, ast.Slice) for i in getattr(index, "elts", [index]))


@pytest.mark.parametrize(
    "heavy", ["numba", "duckdb", "pyarrow", "scipy", "fideslang", "numpy", "pyiceberg"]
)
def test_declaring_imports_nothing_heavy(heavy: str) -> None:
    code = f"import sys, tacit, tacit.cli; assert {heavy!r} not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
