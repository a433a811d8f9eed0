"""Sweeping by the clock: once a day, by whoever has a store open for long.

No read shows what has expired, swept or not; what this is for is that its bytes go too. Many
processes may ask (a fleet over one Redis): the moment at which a sweep begins is one change of the
store, and it is the business of whoever made that change.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tacit.live.online import Online
from tacit.store.online.base import Reading
from tacit.values import DAY

SWEPT = b"u"
"""When the last sweep began, µs."""
_AT = struct.Struct("<q")
_KEYS = 200  # in one change: who pushes waits meanwhile
_LOOK = 60.0  # seconds between looks whether a sweep is due
_PAUSE = 0.02  # seconds between two changes of a sweep, for those who read and push


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


@contextmanager
def upkeep(
    online: Online, clock: Callable[[], int], say: Callable[[str], None], *, last: bool = False
) -> Iterator[None]:
    """Sweeps by the clock, in a thread of its own, while the block runs; with ``last`` also when it
    has ended well, for who never runs for long. ``say`` tells people a line."""
    over = threading.Event()

    def look(go_on: Callable[[], bool]) -> None:
        try:
            found = sweep_by_the_clock(online, clock(), go_on)
        except Exception as error:  # the next time is soon
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            say(f"what has expired cannot be swept: {why}")
        else:
            if found is not None:
                say(f"swept: {found:,} keys had something that has expired")

    def keep() -> None:
        while not over.wait(_LOOK):
            look(lambda: not over.wait(_PAUSE))

    thread = threading.Thread(target=keep, name="upkeep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if last:
        look(lambda: True)
