"""Reading a project's Python module: it runs, and what it declares is collected."""

from __future__ import annotations

import runpy
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tacit.declare import Declarations, collect
from tacit.errors import DeclarationError, TacitError

_ALONE = threading.RLock()
"""Where modules are looked for, and their names, are the whole process's: threads read in turn."""


def read_module(path: Path) -> Declarations:
    """The declarations of a module; it may import others of its own folder.

    Raises DeclarationError T120 when there is none or it fails as Python, with its file and line,
    and what the declarations themselves raise.
    """
    if not path.is_file():
        raise DeclarationError(
            "the project's module does not exist",
            code="T120",
            where=str(path),
            fix="write it, or name another as `module` in tacit.toml",
        )
    try:
        with _ALONE, _beside(path.parent):
            namespace = runpy.run_path(str(path), run_name=f"project_{path.stem}")
    except TacitError:
        raise
    except SyntaxError as error:
        place = f"{error.filename or path}" + (f":{error.lineno}" if error.lineno else "")
        raise _broken(place, f"{error.msg}: {(error.text or '').strip()}") from error
    except (Exception, SystemExit) as error:
        message = f"{type(error).__name__}: {error}"
        raise _broken(_place(error, path), message) from error
    return collect(namespace)


@contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Lets the module import others of its own folder, and forgets them afterwards: another
    project may have modules of the same names."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        home = folder.resolve()
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and Path(file).resolve().is_relative_to(home):
                del sys.modules[name]


def _place(error: BaseException, path: Path) -> str:
    """The last line of the project's own that was running."""
    home = path.parent.resolve()
    own = [
        f"{frame.filename}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve().is_relative_to(home)
    ]
    return own[-1] if own else str(path)


def _broken(place: str, message: str) -> DeclarationError:
    return DeclarationError(
        f"the project's module cannot be read: {message}",
        code="T120",
        where=place,
        fix="correct that line",
    )
