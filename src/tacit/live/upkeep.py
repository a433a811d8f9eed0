"""Sweeping by the clock: once a day, by whoever has a store open for long.

No read shows what has expired, swept or not; what this is for is that its bytes go too. Many
processes may ask (a fleet over one Redis): the moment at which a sweep begins is one change of the
store, and it is the business of whoever made that change.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from tacit.live.online import Online
from tacit.store.online.base import Reading
from tacit.values import DAY

SWEPT = b"u"
"""When the last sweep began, µs."""
_AT = struct.Struct("<q")
_KEYS = 200  # in one change: who pushes waits meanwhile


def begin_sweep(online: Online, now: int, every: int = DAY) -> bool:
    """Whether a sweep is due; it is the caller's then, and nobody else is told so.

    One that dies in the midst of it is not gone on with: what it left goes with the next. A store
    that nobody ever swept is due ``every`` µs after the first that asks.
    """
    with online.backend.read() as store:
        if _begun(store, now, every):
            return False
    with online.backend.change() as store:
        if _begun(store, now, every):
            return False
        first = store.get([SWEPT])[0] is None
        store.put([(SWEPT, _AT.pack(now))])
    return not first


def _begun(store: Reading, now: int, every: int) -> bool:
    raw = store.get([SWEPT])[0]
    return raw is not None and 0 <= now - int(_AT.unpack(raw)[0]) < every


def sweep_by_the_clock(online: Online, now: int, go_on: Callable[[], bool]) -> int | None:
    """Sweeps if it is due, some keys at a time, while ``go_on``, which is asked between two changes
    and may wait, says so. How many keys it changed; None where it was not due."""
    if not begin_sweep(online, now):
        return None
    return online.sweep(now, keys=_KEYS, go_on=go_on)
