"""Every error Tacit raises on purpose, as one tree.

::

    TacitError
    ├── DeclarationError      what the user declared is wrong in itself          T1xx
    ├── FlowError             data would go where its label forbids              T2xx
    ├── DataError             input does not fit its declaration                 T3xx
    ├── EngineError           an engine cannot do, or failed at, an operation    T4xx
    ├── PrivacyError          a mechanism or the ledger refuses a release        T5xx
    │   └── BudgetError       the ledger has no budget left for it
    ├── SecurityError         something that must verify did not                 T6xx
    │   ├── VaultError        a device vault is unreadable, corrupt or locked
    │   └── BundleError       a bundle is tampered with, expired or downgraded
    ├── StoreError            a store is full, unreadable or rolled back         T7xx
    ├── CollectError          a party of a collection refuses, or cannot be
    │                         reached                                            T80x to T82x
    ├── ServeError            a request for signals is refused                   T84x to T86x
    ├── QueryError            a question to a metric cannot be answered          T89x
    └── Refused               a plan with one or more errors; carries all of them

An error says four things: what is wrong, where (`file:line`, a row, a path), by which way it came
(`path`, from source column to sink), and the smallest change that mends it (`fix`). What is not
wrong, but may not be what was wanted, is a `TacitWarning` and says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar
from warnings import warn as _warn


class TacitError(Exception):
    """Base of the tree. ``code`` is stable and may be searched for in the documentation."""

    default_code: ClassVar[str] = "T000"

    def __init__(
        self,
        message: str,
        *,
        fix: str,
        where: str | None = None,
        code: str | None = None,
        path: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.where = where
        self.code = code or self.default_code
        self.path = tuple(path)

    def __str__(self) -> str:
        lines = [f"{self.code}: {self.message}"]
        if self.where:
            lines.append(f"  at   {self.where}")
        if self.path:
            lines.append("  path " + "\n       → ".join(self.path))
        lines.append(f"  fix  {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross processes (the population runner); Exception's own pickling drops keywords.
        return (_rebuild, (type(self), self.message, self.fix, self.where, self.code, self.path))


def _rebuild(
    kind: type[TacitError],
    message: str,
    fix: str,
    where: str | None,
    code: str,
    path: tuple[str, ...],
) -> TacitError:
    return kind(message, fix=fix, where=where, code=code, path=path)


class TacitWarning(UserWarning):
    """What a result does not show by itself; ``code`` is documented as an error's."""

    def __init__(self, message: str, *, code: str, where: str, fix: str) -> None:
        super().__init__(f"{code}: {message}\n  at   {where}\n  fix  {fix}")
        self.code = code


def warn(message: str, *, code: str, where: str, fix: str) -> None:
    """Says something beside a result, by Python's `warnings`: once for the same words."""
    _warn(TacitWarning(message, code=code, where=where, fix=fix), stacklevel=3)


class DeclarationError(TacitError):
    default_code = "T100"


class FlowError(TacitError):
    default_code = "T200"


class DataError(TacitError):
    default_code = "T300"


class EngineError(TacitError):
    default_code = "T400"


class PrivacyError(TacitError):
    default_code = "T500"


class BudgetError(PrivacyError):
    default_code = "T501"


class SecurityError(TacitError):
    default_code = "T600"


class VaultError(SecurityError):
    default_code = "T610"


class BundleError(SecurityError):
    default_code = "T620"


class StoreError(TacitError):
    default_code = "T700"


class CollectError(TacitError):
    default_code = "T800"


class ServeError(TacitError):
    default_code = "T840"


class QueryError(TacitError):
    default_code = "T890"


class Refused(TacitError):  # noqa: N818 - a verdict, as it is called everywhere
    """A plan that may not run. ``errors`` holds every reason, in the order of declaration."""

    default_code = "T001"

    def __init__(self, errors: Sequence[TacitError]) -> None:
        self.errors = tuple(errors)
        count = len(self.errors)
        super().__init__(
            f"the plan is refused for {count} reason{'s' if count != 1 else ''}",
            fix="mend each error above; nothing has run",
        )

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the reasons, in order."""
        return tuple(error.code for error in self.errors)

    def __str__(self) -> str:
        return "\n\n".join([*(str(error) for error in self.errors), super().__str__()])

    def __reduce__(self) -> tuple[object, ...]:
        return (Refused, (self.errors,))
