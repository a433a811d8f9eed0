"""Reading a project's Python module: it runs, and what it declares is collected."""

from __future__ import annotations

import runpy
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tacit.declare import Declarations, collect
from tacit.errors import DeclarationError, TacitError


def read_module(path: Path) -> Declarations:
    """The declarations of a module.

    Raises DeclarationError T120 when there is none or it fails as Python, with its file and line.
    """
    if not path.is_file():
        raise DeclarationError(
            "the project's module does not exist",
            code="T120",
            where=str(path),
            fix="write it, or name another as `module` in tacit.toml",
        )
    try:
        with _beside(path.parent):
            namespace = runpy.run_path(str(path), run_name=f"project_{path.stem}")
    except TacitError:
        raise
    except SyntaxError as error:
        raise _broken(path, error.lineno, f"{error.msg}: {(error.text or '').strip()}") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        message = f"{type(error).__name__}: {error}"
        raise _broken(path, lines[-1] if lines else None, message) from error
    return collect(namespace)


@contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Lets the module import others of its own folder."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _broken(path: Path, line: int | None, message: str) -> DeclarationError:
    return DeclarationError(
        f"the project's module cannot be read: {message}",
        code="T120",
        where=f"{path}:{line}" if line else str(path),
        fix="correct that line",
    )
