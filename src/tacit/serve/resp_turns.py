"""GETs that came within one turn of the event loop, answered together.

A turn of the loop reads from every socket that has something. Most of what comes is GETs whose
answers are remembered, and of these a look at the store, a look at the clock and the way there cost
more than the answer. So they wait until the turn's last byte is read, and are answered by one look,
which comes after all of them: nobody is told what stood before he asked.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from tacit.errors import TacitError
from tacit.serve.resp_frames import GET
from tacit.serve.resp_views import Views

if TYPE_CHECKING:
    from tacit.serve.resp import Connection

ONCE = 128
"""Requests of a connection that are answered before others have their turn."""
_HEAD = len(GET)


class Turn:
    """What connections that read for one purpose sent within a turn; they put it into `sent`."""

    def __init__(self, views: Views) -> None:
        self.views = views
        self._came: list[Connection] = []

    def add(self, one: Connection) -> None:
        """One more that sent something."""
        if not self._came:
            one.loop.call_soon(self.answer)
        self._came.append(one)

    def answer(self) -> None:
        """Answers all of them. What is no GET that was answered before, or says what grows with the
        clock, the connection answers by itself."""
        came, self._came = self._came, []
        moment, at, told = self._moment(), self.views.now(), 0
        find = self.views.shelf.young.get
        for one in came:
            data, one.sent = one.sent, b""
            if one.closed or not data:
                continue
            if moment is not None and data.startswith(GET):
                entry = find(data[_HEAD:])
                if entry is None:
                    # A GET is its head and the `rest_of` its key, whatever the key holds. So if
                    # every piece is the rest of one that was answered before, they are these GETs.
                    gets = data.split(GET)
                    del gets[0]
                    out = [
                        entry.rest
                        for entry in map(find, gets)
                        if entry is not None and entry.stands(at, moment)
                    ]
                    if len(out) == len(gets) <= ONCE and all(out):
                        one.requests.empty = 0
                        one.transport.write(b"".join(out))
                        told += len(out)
                        continue
                elif entry.rest and entry.stands(at, moment):
                    one.requests.empty = 0
                    one.transport.write(entry.rest)
                    told += 1
                    continue
            one.take(data)
        if came:
            came[0].server.answered += told

    def _moment(self) -> Hashable:
        """The store's; None where it cannot be told, as whoever reads it will say."""
        try:
            return self.views.answers.kept.one_of(self.views.moment())
        except TacitError:
            return None
