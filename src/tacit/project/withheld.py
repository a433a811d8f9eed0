"""Reading people's rows for somebody who may not see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from tacit.errors import DataError, EngineError, PrivacyError, TacitError

Found = TypeVar("Found")
UNREADABLE: Final = "T877"


def withheld(source: str, read: Callable[[], Found]) -> Found:
    """What is read from people's rows. Where they do not fit, no error says what stands in them.

    Errors of files and engines quote the row that is at fault, for whoever mends it. Whoever asks a
    private question may not see that, so all of them become one: PrivacyError T877, which does not
    lead back to its cause either. Errors of what is declared or kept come through.
    """
    try:
        return read()
    except (DataError, EngineError):
        pass
    except TacitError:
        raise
    except Exception:  # noqa: S110 — libraries quote values too
        pass
    raise PrivacyError(
        "the rows cannot be read, or do not fit their declaration",
        code=UNREADABLE,
        where=f"question over {source}",
        fix="have somebody who may see the rows read them: Project.rows tells what is wrong",
    )
