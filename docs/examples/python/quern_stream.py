"""How a client of Quern follows the stream of one job (docs/protocol.md, 12).

The sockets for streams may drop messages: what counts is that the numbers of
the events have no gap. Where they have one, the reader asks for the rest.
"""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgpack

from quern_peer import Code, Item, QuernError


class Finished(NamedTuple):
    """How a job ended: `state` is done, dead, cancelled or expired."""

    id: str
    state: str
    result: dict
    error: int
    text: str
    failed: int                         # attempts that counted against it
    flow: bool                          # jobs are below it


class Event(NamedTuple):
    """A piece of a stream; `value` is a text, a map, or None of a reset."""

    kind: str                           # text, map, reset
    channel: int
    value: str | dict | None


class StreamReader:
    """The stream of one job: iterate over it until the job has ended.

    Then `finished` says how, and `whole` if all of the stream was heard. A
    reset voids every event before it.
    """

    def __init__(self, number: int, close: Callable[[], None]) -> None:
        self.finished: Finished | None = None
        self.whole = True
        self.close = close              # to hear no more of it
        self.timeout: float | None = None       # between two events
        self.number = number
        self.known = False              # the broker has answered ATTACH
        self.epoch = self.seq = 0       # all up to there was heard
        self.end: tuple[int, int] | None = None
        self.ask_at = 0.0               # when to say ATTACH (again)
        self.asked_at = 0.0
        self._queue: queue.SimpleQueue[Event | QuernError | None] = (
            queue.SimpleQueue())

    def __iter__(self) -> Iterator[Event]:
        while (event := self._next()) is not None:
            if isinstance(event, QuernError):
                raise event
            yield event

    def _next(self) -> Event | QuernError | None:
        try:
            return self._queue.get(timeout=self.timeout)
        except queue.Empty:
            return QuernError(Code.WAIT_TIMEOUT, f"nothing was heard within "
                              f"{self.timeout} s")

    # For the client's own thread.

    def asked(self, now: float) -> Item:
        # P-77: at once, and then every second until it comes.
        self.asked_at, self.ask_at = now, now + 1.0
        return {"id": self.number, "epoch": self.epoch, "seq": self.seq}

    def take(self, head: Item, events: list[list]) -> None:
        if head.get("gone"):
            self.whole = False
        if head["epoch"] < self.epoch:
            return
        self._reach(head["epoch"])
        first = head["seq"] if events else head["seq"] + 1
        if first > self.seq + 1:
            self._missing()
            return
        for kind, channel, value in events[self.seq + 1 - first:]:
            self.seq += 1
            self._queue.put(Event("map", channel, msgpack.unpackb(value))
                            if kind else Event("text", channel, value))
        if not self.end or (self.epoch, self.seq) >= self.end:
            self.ask_at = math.inf

    def finish(self, finished: Finished, end: tuple[int, int]) -> None:
        self.finished, self.end = finished, end
        if end[0] != self.epoch:
            self._reach(end[0])         # none: what was heard is void
        if self.seq < end[1]:
            self._missing()

    def fail(self, error: QuernError) -> None:
        self._queue.put(error)

    def is_over(self) -> bool:
        """It has all that there will be; the iteration ends."""
        if self.end is None or (self.whole and self.seq < self.end[1]):
            return False
        self._queue.put(None)
        return True

    def _reach(self, epoch: int) -> None:
        if epoch != self.epoch:
            if self.seq:
                self._queue.put(Event("reset", 0, None))
            self.epoch, self.seq = epoch, 0

    def _missing(self) -> None:
        # What was on its way when ATTACH was said is no reason for another.
        self.ask_at = min(self.ask_at, self.asked_at + 0.1)


def unpack_stream(frame: bytes) -> list[Any]:
    """The head of a stream message, packed, and the events behind it."""
    unpacker = msgpack.Unpacker(strict_map_key=False,
                                max_buffer_size=max(1, len(frame)))
    unpacker.feed(frame)
    return list(unpacker)
