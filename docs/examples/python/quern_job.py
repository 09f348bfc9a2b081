"""What a job of Quern sees, and what its worker keeps of it.

Job and the exceptions Retry, Reject, Hold and Cancelled are for functions that
are jobs; the rest is for quern_worker.py. P-n in a comment is a rule of
docs/protocol.md.
"""

from __future__ import annotations

import math
import re
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgpack

from quern_peer import (Code, Item, QuernError, id_text, pack_item, pack_map,
                        unpack_map)

if TYPE_CHECKING:
    from quern_worker import Worker

DONE, FAILED, REJECTED, HOLD, CANCELLED = 1, 2, 3, 4, 5
NEVER = math.inf


_TRACE = re.compile("00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")


def own_trace(trace: str) -> str:
    """P-110: the job's trace id and flags, and a parent id of our own."""
    match = _TRACE.fullmatch(trace)
    trace_id, flags = match.groups() if match else (
        secrets.token_hex(16), "00")
    return f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"


class Ending(Exception):
    """How an attempt ends, other than well: RESULT's outcome and words."""

    outcome = FAILED
    code: int = Code.JOB_FAILED

    def __init__(self, text: str = "", *, code: int | None = None,
                 retry_after_ms: int | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = self.code if code is None else code
        self.retry_after_ms = retry_after_ms


class Retry(Ending):
    """It may succeed another time: costs an attempt."""


class Reject(Ending):
    """It cannot succeed: the job is dead."""

    outcome, code = REJECTED, Code.JOB_REJECTED


class Hold(Ending):
    """Something told it to wait; costs no attempt."""

    outcome, code = HOLD, Code.RATE_LIMITED

    def __init__(self, seconds: float, text: str = "", **more: Any) -> None:
        super().__init__(text, retry_after_ms=int(seconds * 1000), **more)


class Cancelled(Ending):
    """It was told to stop: by somebody, for its time, or as lost."""

    outcome, code = CANCELLED, Code.CANCELLED


class Stream:
    """What an attempt has said, kept to be said again (P-72, P-74)."""

    def __init__(self, job: int, fence: int, token: int) -> None:
        self.job, self.epoch, self.token = job, fence, token
        self.events: list[bytes] = []
        self.said = 0                   # so many of the events
        self.wrote = False
        self.position_at = NEVER        # when to say how far it is

    def reset(self) -> None:
        self.epoch += 1
        self.events.clear()
        self.said = 0
        self.position_at = 0.0          # the new epoch is news by itself

    def need(self, token: int, epoch: int, seq: int) -> None:
        self.token = token
        self.said = seq if epoch == self.epoch else 0

    def frames(self, now: float, heartbeat_s: float) -> Iterator[bytes]:
        """What is to be said now: events, or the position alone."""
        if self.said >= len(self.events) and now >= self.position_at:
            self.position_at = now + heartbeat_s
            yield self._head(len(self.events), 0)
        while self.said < len(self.events):
            first, size = self.said, 0
            while self.said < len(self.events) and self.said - first < 1024:
                size += len(self.events[self.said])
                if size > 128 * 1024:
                    break
                self.said += 1
            self.position_at = now + 0.1
            yield (self._head(first + 1, self.said - first)
                   + b"".join(self.events[first:self.said]))

    def _head(self, seq: int, count: int) -> bytes:
        return msgpack.packb(pack_item("stream", {
            "job": self.job, "epoch": self.epoch, "seq": seq, "count": count,
            "token": self.token}))


class Spawn:
    """A child that is being offered until SPAWNED comes (P-83)."""

    def __init__(self, fields: Item, body: bytes) -> None:
        self.fields, self.body = fields, body
        self.sequence = 0               # of the last time that it was said
        self.said_at = 0.0
        self.done: Future[None] = Future()


class Attempt:
    """What this process holds of a job. Only the loop changes it."""

    def __init__(self, item: Item, raw: bytes) -> None:
        self.item, self.raw = item, raw
        self.key: tuple[int, int] = (item["job"], item["fence"])
        self.ref = {"job": item["job"], "fence": item["fence"]}
        self.running = False
        self.stopped = threading.Event()
        self.stop_code = 0
        self.stream = (Stream(*self.key, item["token"])
                       if "token" in item else None)
        self.spawn: Spawn | None = None
        self.spawned = 0
        self.progress: Item | None = None
        self.progress_at = 0.0
        self.result: tuple[list[dict[int, Any]], bytes] | None = None
        self.offered_at = 0.0

    def stop(self, code: int) -> None:
        self.stop_code = code
        self.stopped.set()
        if self.spawn and not self.spawn.done.done():
            self.spawn.done.set_exception(Cancelled("told to stop"))


class Job:
    """What a job's function sees; only its own thread may call."""

    def __init__(self, worker: Worker, attempt: Attempt) -> None:
        self._worker, self._attempt = worker, attempt
        self._stream_bytes = 0
        self._resets = 0
        self.children: list[tuple[Item, bytes]] = []
        self.payload = unpack_map(attempt.raw)
        # All fields of DISPATCH; a `then` finds its siblings here.
        self.info = attempt.item
        self.id = id_text(attempt.item["job"])
        self.kind: str = attempt.item["kind"]
        self.tenant: str = attempt.item["tenant"]
        self.attempt: int = attempt.item["attempt"]
        # For the calls that this attempt makes of others (P-110).
        self.trace = own_trace(attempt.item.get("trace", ""))

    @property
    def cancelled(self) -> bool:
        return self._attempt.stopped.is_set()

    def check(self) -> None:
        """Raise Cancelled if the job was told to stop."""
        if self.cancelled:
            code = self._attempt.stop_code
            raise Cancelled("over its time" if code == Code.TIMEOUT
                            else "told to stop", code=code)

    def sleep(self, seconds: float) -> None:
        self._attempt.stopped.wait(seconds)
        self.check()

    def progress(self, done: int, total: int | None = None) -> None:
        self.check()
        self._attempt.progress = {"done": done, "total": total}
        self._worker.wake()

    def delta(self, text: str, channel: int = 0) -> None:
        """A piece of text for those who listen now."""
        for at in range(0, len(text), 16384):   # at most 64 KiB of UTF-8
            self._write([0, channel, text[at:at + 16384]])

    def event(self, value: dict, channel: int = 0) -> None:
        """A map for those who listen now."""
        raw = msgpack.packb(value)
        if len(raw) > 65536:
            raise ValueError(f"an event of {len(raw)} bytes, at most 65536")
        self._write([1, channel, raw])

    def reset(self) -> None:
        """Make void what was said so far."""
        if self._stream_bytes == 0:
            return                      # nothing was
        self._resets += 1
        if self._resets > 255:
            raise Reject("more than 255 resets", code=Code.TOO_LARGE)
        self._stream_bytes = 0
        self._write(None)

    def spawn(self, kind: str, payload: dict | None = None,
              **options: Any) -> None:
        """A child, durable when this returns; options as for submit.

        The next attempt spawns again: `unique` keeps that from doing so twice.
        """
        self.check()
        spawn = Spawn(*self._child(kind, payload, options))
        self._worker.call(
            lambda: self._worker.begin_spawn(self._attempt, spawn))
        try:
            spawn.done.result()
        except Cancelled:
            self.check()
            raise
        except QuernError as error:
            if error.code == Code.CANCELLED:
                raise Cancelled(error.text) from None
            if error.code in (Code.BUSY, Code.DISK_FULL):       # P-82
                raise Hold(1, error.text, code=error.code) from None
            raise Reject(error.text, code=error.code) from None

    def child(self, kind: str, payload: dict | None = None,
              **options: Any) -> None:
        """A child that comes with the result, or not at all."""
        self.children.append(self._child(kind, payload, options))

    def _child(self, kind: str, payload: dict | None,
               options: Item) -> tuple[Item, bytes]:
        body = pack_map(payload)
        return {"kind": kind, "size": len(body),
                "trace": self.trace, **options}, body

    def _write(self, event: list | None) -> None:
        self.check()
        if self._attempt.stream is None:
            return                      # its kind does not stream
        packed = msgpack.packb(event) if event else None
        self._stream_bytes += len(packed) if packed else 0
        bound = self._worker.terms.get("stream_max", NEVER)
        if self._stream_bytes > bound:
            raise Reject(f"a stream over {bound} bytes", code=Code.TOO_LARGE)
        self._worker.call(
            lambda: self._worker.take_event(self._attempt, packed))
