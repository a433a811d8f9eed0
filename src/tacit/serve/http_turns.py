"""Reads over HTTP that came within one turn of the event loop and must look at the store: they are
read together, by one look that comes after all of them. Nobody is told what stood before he asked.

A server that is busy finds as many requests in a turn as it has connections; one that is not finds
one, and answers it as soon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tacit.serve.asked import Asked
from tacit.serve.direct import Direct, Wanted

if TYPE_CHECKING:
    from tacit.serve.http_connection import Patient

MOST = 128
"""Reads that are answered before others have their turn."""


class Turn:
    """What connections want within a turn; each says so once, and has it in `wanted`."""

    def __init__(self, direct: Direct) -> None:
        self._direct = direct
        self._came: list[Patient] = []

    def add(self, one: Patient) -> None:
        """One more that wants something."""
        if not self._came:
            one.loop.call_soon(self.answer)
        self._came.append(one)
        if len(self._came) >= MOST:
            self.answer()

    def answer_one(self, one: Patient) -> None:
        """Answers one before the turn ends."""
        self._answer([one])

    def answer(self) -> None:
        """Answers all of them."""
        came, self._came = self._came, []
        self._answer(came)

    def _answer(self, came: list[Patient]) -> None:
        questions: dict[Asked, list[tuple[Patient, Wanted]]] = {}
        for one in came:
            wanted, one.wanted = one.wanted, None
            if wanted is not None:
                questions.setdefault(wanted.asked, []).append((one, wanted))
        for asked, several in questions.items():
            for (one, wanted), body in zip(several, self._read(asked, several), strict=True):
                one.told(wanted, body)

    def _read(
        self, asked: Asked, several: list[tuple[Patient, Wanted]]
    ) -> list[bytes] | list[None]:
        """Their bodies; where something is wrong with one, none, since each is told by itself."""
        try:
            return asked.json_each([wanted.known for _, wanted in several])
        except Exception:  # the application meets it too, and says so
            return [None] * len(several)
