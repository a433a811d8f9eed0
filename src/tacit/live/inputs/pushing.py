"""Taking an input into the online store for as long as it is asked, whatever is away meanwhile.

What a step takes is what `Online.push` takes: in one change, with the mark of how far the input is.
So a process that is ended or killed anywhere is started again, and goes on where the store says.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tacit.errors import DataError, StoreError, TacitError
from tacit.live.inputs.folder import Folder
from tacit.live.intake import Receipt

if TYPE_CHECKING:  # each stands in an extra of its own
    from tacit.live.inputs.jetstream import JetStream
    from tacit.live.inputs.redis_stream import RedisStream

PASSES = ("T720", "T721", "T722", "T726")
"""What passes by itself, or by somebody's doing elsewhere: nothing was kept, nothing is lost."""
_BRIEF = ("T721", "T726")  # others are at work: not worth a word, unless it lasts
_FIRST, _MOST = 0.25, 30.0  # seconds between two tries
_DOUBLED = 16  # times at most
_PATIENCE = 5  # tries, of who is not to wait for long
_LOOK = 1.0  # seconds between looks at what has nothing new
_SAY = 10.0  # seconds between lines of how much is in
Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Input:
    """Something to be read in steps, all by one thread.

    Attributes:
        step: takes some rows; None when there was nothing.
        left: whether something is there all the same, which another reader has or had.
        close: lets go of it.
        waits: whether a step waits by itself for something to come.
    """

    step: Callable[[], Receipt | None]
    left: Callable[[], bool] = lambda: False
    close: Callable[[], None] = lambda: None
    waits: bool = False


class Waiting:
    """Waits longer and longer, up to half a minute, while something is away, and says so.

    Args:
        name: what waits, as it is told.
        stopped: ends the waiting.
        say: tells people a line: when it begins, for each reason once, and when it is over.
        brief: whether to give up after a few tries.
    """

    def __init__(
        self, name: str, stopped: threading.Event, say: Say, *, brief: bool = False
    ) -> None:
        self.name, self.stopped, self.say, self.brief = name, stopped, say, brief
        self._failed, self._told = 0, ""

    def after(self, error: TacitError) -> None:
        """Waits. Raises the error if it does not pass by itself, or was met too often."""
        self._failed += 1
        if error.code not in PASSES or (self.brief and self._failed > _PATIENCE):
            raise error
        line = f"{error.code}: {error.message} ({error.where})"
        if line != self._told and not (error.code in _BRIEF and self._failed <= _PATIENCE):
            self.say(f"{self.name} waits, and goes on by itself: {line}")
            self._told = line
        self.stopped.wait(min(_FIRST * 2 ** min(self._failed - 1, _DOUBLED), _MOST))

    def over(self) -> None:
        """Says that it goes on, where it was said that it waits."""
        if self._told:
            self.say(f"{self.name} goes on")
        self._failed, self._told = 0, ""

    def until(self, work: Callable[[], T]) -> T | None:
        """What is returned once nothing is away; None if that was stopped first."""
        while not self.stopped.is_set():
            try:
                found = work()
            except StoreError as error:
                self.after(error)
            else:
                self.over()
                return found
        return None


@dataclass(frozen=True)
class Streaming:
    """One source's stream into the online store, by this process.

    Attributes:
        name: of the source.
        opened: opens the input; it is called by the thread that reads.
        say: tells people a line.
        told: how much is in, as people are told.
    """

    name: str
    opened: Callable[[], Input]
    say: Say
    told: Callable[[], str]

    def run(self, stopped: threading.Event, *, once: bool = False) -> None:
        """Takes the stream until it is stopped; ``once``, what is there now.

        What is away (the stream's server, the store) is waited for; with ``once`` a few tries.
        Raises StoreError as `Online.push` for what does not pass by itself, T427 for a stream that
        was made anew, T722 and others with ``once``; EngineError T429 for credentials that are
        none. A file that cannot be taken (T394) is said and passed over; with ``once`` it is raised
        when all else is in.
        """
        source, waiting = self.opened(), Waiting(self.name, stopped, self.say, brief=once)
        passed: list[DataError] = []
        said, news = time.monotonic(), False
        try:
            while not stopped.is_set():
                try:
                    receipt = source.step()
                    done = once and receipt is None and not source.left()
                    news |= receipt is not None
                    if news and time.monotonic() > said + _SAY:
                        self.say(self.told())
                        said, news = time.monotonic(), False
                except DataError as error:
                    self._pass(error)
                    if once:
                        passed.append(error)
                    continue
                except StoreError as error:
                    waiting.after(error)
                    continue
                waiting.over()
                if done:
                    break
                if receipt is None and not source.waits:
                    stopped.wait(_LOOK)
        finally:
            source.close()
        if once and passed:
            raise passed[0]

    def _pass(self, error: DataError) -> None:
        if error.code != "T394":
            raise error
        self.say(f"{self.name} passes over {error.where}: {error.code}: {error.message}")


def of_folder(folder: Folder) -> Input:
    """A folder of files."""
    return Input(folder.step)


def of_redis(reader: RedisStream) -> Input:
    """A stream of Redis."""
    return Input(
        partial(reader.step, wait=int(_LOOK * 1000)), close=reader.client.close, waits=True
    )


def of_jetstream(reader: JetStream) -> Input:
    """A stream of NATS. Its event loop is this thread's, and runs while a step does."""
    runner = asyncio.Runner()

    def close() -> None:
        runner.run(reader.close())
        runner.close()

    return Input(
        lambda: runner.run(reader.step(wait=_LOOK)),
        lambda: runner.run(reader.left()),
        close,
        waits=True,
    )
