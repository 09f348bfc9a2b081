"""A worker of Quern: jobs are functions.

    worker = Worker()

    @worker.kind("word_count")
    def word_count(job):
        return {"words": len(job.payload["text"].split())}

    sys.exit(worker.main())

One loop speaks with the broker, each job runs in a thread of its own. A
thread cannot be ended from outside: a job that takes long looks at
`job.cancelled`, or calls one of the job's methods, which raise Cancelled. One
that does not is killed with its process, by the supervisor (P-53). So is a
job that holds the interpreter's lock for seconds: nobody hears its worker.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import zmq

from quern_job import (CANCELLED, DONE, FAILED, NEVER, REJECTED, Attempt,
                       Cancelled, Ending, Hold, Job, Reject, Retry, Spawn)
from quern_peer import (Code, Item, Peer, QuernError, fit_text, id_text,
                        pack_item, pack_map, unpack_item)

__all__ = ["Cancelled", "Hold", "Job", "Reject", "Retry", "Worker"]

log = logging.getLogger("quern.worker")


class Worker(Peer):
    """One process that runs jobs; the environment says where (P-71)."""

    def __init__(self, where: str | None = None, *, slots: int = 1,
                 prefetch: int = 0, jobs_max: int = 0,
                 name: str | None = None) -> None:
        env = {key[len("QUERN_WORKER_"):]: value for key, value
               in os.environ.items() if key.startswith("QUERN_WORKER_")}
        super().__init__("worker", where,
                         bytes.fromhex(env.get("INSTANCE", "")),
                         name or os.path.basename(sys.argv[0]))
        self.slots = int(env.get("SLOTS") or slots)
        self.prefetch = int(env.get("PREFETCH") or prefetch)
        self.pool = env.get("POOL") or None
        self.wanted = [kind for kind in env.get("KINDS", "").split(",")
                       if kind]
        self.jobs_max = jobs_max        # then another process takes over
        self.status = 0
        self._functions: dict[str, Callable[[Job], dict | None]] = {}
        self._options: dict[str, Item] = {}
        self._held: dict[tuple[int, int], Attempt] = {}
        self._ended_count = 0
        self._draining = False
        self._told_to_end = False
        self._stream: zmq.Socket | None = None
        self._stream_endpoint: str | None = None

    def kind(self, name: str, **options: Any) -> Callable:
        """Register a function; options are fields of DECLARE_KIND."""
        def register(function: Callable[[Job], dict | None]) -> Callable:
            self._functions[name] = function
            if options:
                self._options[name] = {"kind": name, **options}
            return function
        return register

    def main(self) -> int:
        """Run until drained; what it returns is the exit status (P-71)."""
        logging.basicConfig(level=logging.INFO,
                            format="%(name)s: %(levelname)s: %(message)s")
        self.wanted = self.wanted or list(self._functions)
        for name in self.wanted:
            if name not in self._functions:
                log.error("kind '%s' of QUERN_WORKER_KINDS: not one of %s",
                          name, ", ".join(self._functions))
                return 2
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            self.run()
        except QuernError as error:
            log.error("the broker refuses this worker: %s", error)
            return 3
        return self.status

    def _on_signal(self, number: int, frame: Any) -> None:
        self._told_to_end = True
        self.wake()

    # --- the conversation --------------------------------------------------

    def on_hello(self) -> Item:
        running: list[int] = []
        unacked: list[int] = []
        for attempt in self._held.values():
            (unacked if attempt.result else running).extend(attempt.key)
        # One that is about to end has only the slots that still run a job.
        slots = max(1, self._busy()) if self._draining else self.slots
        return {"kinds": self.wanted, "slots": slots, "pool": self.pool,
                "prefetch": 0 if self._draining else self.prefetch,
                "running": running, "unacked": unacked}

    def on_heartbeat(self) -> Item:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
        return {"busy": self._busy(), "held": len(self._held),
                "rss_bytes": pages * os.sysconf("SC_PAGE_SIZE")}

    def on_welcome(self, new_life: bool) -> None:
        endpoint = self.stream_endpoint()
        if endpoint != self._stream_endpoint:
            if self._stream:
                self._stream.close()
            self._stream = (self.open(zmq.PUB, endpoint)
                            if endpoint else None)
            self._stream_endpoint = endpoint
        options = [self._options[name] for name in self.wanted
                   if name in self._options]
        if options and new_life:
            self.request("declare_kind", [pack_item("declare_kind", o)
                                          for o in options])
        for attempt in self._held.values():     # P-47, P-49, P-83
            if attempt.running and self.prefetch:
                self.notice("started", attempt.ref)
            self._offer(attempt)
            self._say_spawn(attempt)

    def on_message(self, verb: str, sequence: int, items: list[Item],
                   bodies: list[bytes]) -> None:
        take = getattr(self, f"_on_{verb}", None)
        if take is None:
            return
        for item, body in zip(items, bodies):
            take(item, body, sequence)

    def on_turn(self, now: float) -> float:
        if self._told_to_end and not self._draining:
            self._drain("told to end")
        if self._draining and not any(a.running or a.result
                                      for a in self._held.values()):
            self.leave()                # BYE gives back what was not begun
        wake_at = now + (1.0 if self._draining else 3600.0)
        if self._draining and not self._busy() and self.silent_s > 10:
            log.error("left with results that no broker has taken")
            self.status = 76            # P-114
            self.leave()
        for attempt in list(self._held.values()):
            wake_at = min(wake_at, self._tend(attempt, now))
        return wake_at

    def _tend(self, attempt: Attempt, now: float) -> float:
        """Say what is due of an attempt, and when there is more to say."""
        if not self.welcomed:
            return now + 3600.0
        wake_at = NEVER
        if attempt.stream:
            self._say_stream(attempt, now)
            if not attempt.result:
                wake_at = attempt.stream.position_at
        if attempt.progress and not attempt.result:
            if now >= attempt.progress_at:      # P-55
                progress, attempt.progress = attempt.progress, None
                attempt.progress_at = now + 1.0
                self.notice("progress", {**attempt.ref, **progress})
            else:
                wake_at = min(wake_at, attempt.progress_at)
        if attempt.spawn:
            if now - attempt.spawn.said_at > self.silence_s:
                self._say_spawn(attempt)
            wake_at = min(wake_at, now + self.silence_s)
        if attempt.result:
            if now - attempt.offered_at > self.silence_s:
                self._offer(attempt)
            wake_at = min(wake_at, attempt.offered_at + self.silence_s)
        return wake_at

    # --- attempts ----------------------------------------------------------

    def _busy(self) -> int:
        return sum(a.running for a in self._held.values())

    def _of(self, item: Item) -> Attempt | None:
        return self._held.get((item["job"], item["fence"]))

    def _forget(self, attempt: Attempt, code: int = 0) -> None:
        attempt.running = False
        self._held.pop(attempt.key, None)
        attempt.stop(code)
        self._fill()

    def _fill(self) -> None:
        """Let free slots take what was prefetched."""
        free = 0 if self._draining else self.slots - self._busy()
        for attempt in list(self._held.values()):
            if free <= 0:
                return
            if attempt.running or attempt.result:
                continue
            attempt.running = True
            free -= 1
            if self.prefetch and self.welcomed:
                self.notice("started", attempt.ref)     # P-47
            threading.Thread(target=self._work, args=(attempt,),
                             daemon=True).start()

    def _work(self, attempt: Attempt) -> None:
        """In a thread of its own."""
        fields: Item
        body = b""
        children: list[tuple[Item, bytes]] = []
        try:
            body, children = self._perform(attempt)
            fields = {"outcome": DONE}
        except Ending as end:
            fields = {"outcome": end.outcome, "error": end.code,
                      "text": end.text, "retry_after_ms": end.retry_after_ms}
        except BaseException as error:
            log.exception("job %s, tenant %s, trace %s",
                          id_text(attempt.key[0]), attempt.item["tenant"],
                          attempt.item.get("trace", "")[3:35])
            stopped = attempt.stopped.is_set()
            fields = {"outcome": CANCELLED if stopped else FAILED,
                      "error": attempt.stop_code or Code.JOB_FAILED,
                      "text": "".join(traceback.format_exception(
                          error, limit=-6))}
        self.call(lambda: self._end(attempt, fields, body, children))

    def _perform(self, attempt: Attempt
                 ) -> tuple[bytes, list[tuple[Item, bytes]]]:
        try:
            job = Job(self, attempt)
        except Exception as error:      # P-16
            raise Reject(f"payload: {error}", code=Code.MALFORMED) from None
        result = self._functions[job.kind](job)
        try:
            body = pack_map(result)
        except (TypeError, ValueError, OverflowError) as error:
            raise Reject(f"result: {error}") from None
        bound = self.terms["result_max"]
        if len(body) > bound:
            raise Reject(f"a result of {len(body)} bytes, at most {bound}",
                         code=Code.RESULT_TOO_LARGE)
        size = (4096 + len(body)
                + sum(4096 + len(raw) for _, raw in job.children))
        if size > self.terms["bytes_max"]:
            raise Reject(f"children and result: {size} bytes, at most "
                         f"{self.terms['bytes_max']}", code=Code.TOO_LARGE)
        return body, job.children

    def _end(self, attempt: Attempt, fields: Item, body: bytes,
             children: list[tuple[Item, bytes]]) -> None:
        if attempt.key not in self._held:
            return                      # lost meanwhile: P-51
        text = fields.get("text")
        fields = {**attempt.ref, **fields, "size": len(body) or None,
                  "text": fit_text(text, 4096) if text else None,
                  "children": len(children) or None}
        if attempt.stream and attempt.stream.wrote:     # P-75
            fields["epoch"] = attempt.stream.epoch
            fields["seq"] = len(attempt.stream.events)
        attempt.result = ([pack_item("result", fields)]
                          + [pack_item("submit", c) for c, _ in children],
                          body + b"".join(raw for _, raw in children))
        attempt.running = False
        if self._draining and self._busy():
            self._say_hello()           # one slot less; then the result
        if self.welcomed:
            self._say_stream(attempt, time.monotonic())
        self._offer(attempt)
        self._ended_count += 1
        if self._ended_count == self.jobs_max and not self._draining:
            self.status = 75
            self._drain(f"has run {self.jobs_max} jobs")
        self._fill()

    def _offer(self, attempt: Attempt) -> None:
        if not attempt.result or not self.welcomed:
            return
        items, payloads = attempt.result
        if len(payloads) + 4096 * len(items) > self.terms["bytes_max"]:
            # A broker that was started anew may have smaller bounds.
            kept = {name: value for name, value
                    in unpack_item("result", items[0]).items()
                    if name in ("job", "fence", "epoch", "seq")}
            items, payloads = [pack_item("result", {
                **kept, "outcome": REJECTED, "text": "the broker's bounds "
                "have become too small for this result",
                "error": Code.RESULT_TOO_LARGE})], b""
        attempt.offered_at = time.monotonic()
        self._send("result", 0, items, payloads)

    def _drain(self, why: str, asked: bool = False) -> None:
        """End when what runs has ended; what does not run goes back.

        A broker that has not asked for it would dispatch at once what was
        only returned: HELLO tells it of fewer slots (P-114), and of what is
        held no more.
        """
        log.info("draining: %s", why)
        self._draining = True
        for attempt in list(self._held.values()):
            if not attempt.running and not attempt.result:
                if asked:
                    self._return(attempt.ref)
                del self._held[attempt.key]
        if self._busy() and not asked:
            self._say_hello()

    def _return(self, ref: Item) -> None:
        if self.welcomed:               # else HELLO does not name it
            self.notice("returned", {"job": ref["job"],
                                     "fence": ref["fence"]})

    # --- streams and children ----------------------------------------------

    def take_event(self, attempt: Attempt, event: bytes | None) -> None:
        stream = attempt.stream
        assert stream
        stream.wrote = True
        if event is None:
            stream.reset()
        else:
            stream.events.append(event)

    def _say_stream(self, attempt: Attempt, now: float) -> None:
        stream = attempt.stream
        if not stream or not self._stream:
            return
        if attempt.result:
            stream.position_at = NEVER  # RESULT has the position
        for frame in stream.frames(now, self.heartbeat_s):
            self._stream.send(frame)

    def begin_spawn(self, attempt: Attempt, spawn: Spawn) -> None:
        attempt.spawn = spawn
        if attempt.stopped.is_set():
            attempt.stop(attempt.stop_code)     # it does not wait
        self._say_spawn(attempt)

    def _say_spawn(self, attempt: Attempt) -> None:
        spawn = attempt.spawn
        if not spawn or spawn.done.done() or not self.welcomed:
            return
        spawn.said_at = time.monotonic()
        fields = {**spawn.fields, "parent": attempt.key[0],
                  "fence": attempt.key[1], "index": attempt.spawned}
        spawn.sequence = self.request("spawn", [pack_item("submit", fields)],
                                      spawn.body)

    def _settle_spawn(self, attempt: Attempt, code: int, text: str) -> None:
        spawn, attempt.spawn = attempt.spawn, None
        if spawn is None or spawn.done.done():
            return
        if code:
            spawn.done.set_exception(QuernError(code, text))
        else:
            attempt.spawned += 1
            spawn.done.set_result(None)

    # --- what the broker says ----------------------------------------------

    def _on_dispatch(self, item: Item, body: bytes, sequence: int) -> None:
        if not self.welcomed:
            return                      # our HELLO does not name it: void
        if self._draining and self._busy():
            self._return(item)          # it has crossed our HELLO
            return
        for other in list(self._held.values()):         # P-46
            if other.key[0] == item["job"]:
                if other.key[1] >= item["fence"]:
                    return
                self._forget(other)
        self._held[item["job"], item["fence"]] = Attempt(item, body)
        self._fill()

    def _on_result_ack(self, item: Item, body: bytes, sequence: int) -> None:
        attempt = self._of(item)
        if attempt and attempt.result:
            self._forget(attempt)

    def _on_cancel_attempt(self, item: Item, body: bytes,
                           sequence: int) -> None:
        attempt = self._of(item)
        if attempt is None or attempt.result:
            return
        code = item.get("code", Code.CANCELLED)
        attempt.stop(code)
        if not attempt.running:
            self._end(attempt, {"outcome": CANCELLED, "error": code}, b"", [])

    def _on_lost(self, item: Item, body: bytes, sequence: int) -> None:
        attempt = self._of(item)
        if attempt:
            self._forget(attempt, Code.CANCELLED)

    def _on_recall(self, item: Item, body: bytes, sequence: int) -> None:
        attempt = self._of(item)
        if attempt and attempt.running:
            self.notice("started", attempt.ref)
        elif attempt is None or not attempt.result:     # P-54
            if attempt:
                del self._held[attempt.key]
            self._return(item)

    def _on_drain_worker(self, item: Item, body: bytes,
                         sequence: int) -> None:
        if not self._draining:
            self._drain("the broker asks", asked=True)

    def _on_stream_need(self, item: Item, body: bytes, sequence: int) -> None:
        attempt = self._of(item)
        if attempt and attempt.stream:
            attempt.stream.need(item["token"], item.get("epoch", 0),
                                item.get("seq", 0))
            self._say_stream(attempt, time.monotonic())

    def _on_spawned(self, item: Item, body: bytes, sequence: int) -> None:
        attempt = self._of(item) if "job" in item else None
        if (attempt and attempt.spawn
                and item.get("index") == attempt.spawned
                # A refusal counts only as the answer to the last time.
                and (not item["code"]
                     or sequence == attempt.spawn.sequence)):
            self._settle_spawn(attempt, item["code"], item.get("text", ""))

    def _on_outcome(self, item: Item, body: bytes, sequence: int) -> None:
        if item["code"]:
            log.error("a kind is not declared: %s", item.get("text"))

    def _on_error(self, item: Item, body: bytes, sequence: int) -> None:
        if item["code"] in (Code.NO_HELLO, Code.STARTING, Code.STOPPING,
                            Code.READ_ONLY):
            return
        for attempt in self._held.values():
            if sequence and attempt.spawn and (
                    attempt.spawn.sequence == sequence):
                self._settle_spawn(attempt, item["code"], item["text"])
                return
        log.error("the broker says: %s", QuernError(item["code"],
                                                    item["text"]))
