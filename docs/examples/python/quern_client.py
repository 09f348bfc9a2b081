"""A client of Quern: submits jobs, waits for them, follows their streams.

    with Client(role="gateway") as client:
        job = client.submit("word_count", {"text": "a b c"}, watch=True)
        print(client.wait(job.id).result)

Calls block and may come from any thread; one thread of the client's own speaks
with the broker. After a lost connection it asks again for what was not
answered. Where the broker itself was started anew, its answers are lost: what
was not answered fails with UNKNOWN_OUTCOME, unless asking twice does no harm
(`unique`; questions; cancelling). Waits and streams go on by themselves.
"""

from __future__ import annotations

import collections
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, NamedTuple

import zmq

from quern_peer import (STATES, Code, Item, Peer, QuernError, id_number,
                        id_text, pack_item, pack_map, unpack_item,
                        unpack_map)
from quern_stream import Event, Finished, StreamReader, unpack_stream

__all__ = ["Client", "Event", "Finished", "QuernError", "StreamReader",
           "Submitted"]


class Submitted(NamedTuple):
    id: str
    duplicate: bool                     # the first job of its `unique` key


class _Request:
    def __init__(self, verb: str, items: list[dict[int, Any]],
                 payloads: bytes, wanted: int, harmless: bool) -> None:
        self.verb, self.items, self.payloads = verb, items, payloads
        self.wanted = wanted            # items of the answer; 0: a list
        self.harmless = harmless        # to say to another life, too
        self.sequence = 0
        self.times = 0
        self.not_taken = False          # the one time was not worked on
        self.answer: list[tuple[Item, bytes]] = []
        self.future: Future[list[tuple[Item, bytes]]] = Future()


class Client(Peer):
    """`role` gateway may name tenants, high priorities, and hear streams."""

    def __init__(self, where: str | None = None, *, role: str = "client",
                 timeout: float = 30.0, name: str = "") -> None:
        super().__init__(role, where, name=name)
        self.timeout = timeout          # of every request
        self._queued: collections.deque[_Request] = collections.deque()
        self._pending: dict[int, _Request] = {}
        self._watched: set[int] = set()
        self._waiters: dict[int, list[Future[Finished]]] = {}
        self._ended: dict[int, Finished] = {}
        self._readers: dict[int, StreamReader] = {}
        self._hears: zmq.Socket | None = None
        self._hears_at: str | None = None
        self._failure: QuernError | None = None
        self._met = threading.Event()   # the broker, and its bounds
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        self.call(self.leave)
        self._thread.join()

    # --- for all threads ---------------------------------------------------

    def submit(self, kind: str, payload: dict | None = None,
               **options: Any) -> Submitted:
        """Offer a job; options are the fields of SUBMIT.

        `children` is a list of dicts with `kind`, `payload` and options.
        """
        job = {"kind": kind, "payload": payload, **options}
        answer = self.submit_many([job])[0]
        if isinstance(answer, QuernError):
            raise answer
        return answer

    def submit_many(self, jobs: Sequence[dict]
                    ) -> list[Submitted | QuernError]:
        """Offer many, as dicts; each is accepted or refused by itself."""
        if not self._met.wait(self.timeout):
            raise QuernError(Code.UNREACHABLE_BROKER, "no answer within "
                             f"{self.timeout} s: {self.endpoint}")
        if self._failure:
            raise self._failure
        asked = [(batch, self._submit(batch))
                 for batch in list(self._batches(jobs))]
        answers: list[Submitted | QuernError] = []
        for batch, request in asked:
            try:
                answers += [_submitted(item)
                            for item, _ in self._answer(request)]
            except QuernError as error:
                answers += [error] * len(batch)
        return answers

    def wait(self, job: str, timeout: float | None = None) -> Finished:
        """Until it has ended; any job, whoever submitted it."""
        future: Future[Finished] = Future()
        self.call(lambda: self._wait(id_number(job), future))
        try:
            return future.result(timeout)
        except FutureTimeout:
            raise QuernError(Code.WAIT_TIMEOUT, f"job {job}: has not ended "
                             f"within {timeout} s") from None

    def stream(self, job: str, timeout: float | None = None) -> StreamReader:
        """What it says, from the beginning; for a gateway or operator.

        It fails when nothing was heard for longer than `timeout`.
        """
        future: Future[StreamReader] = Future()
        self.call(lambda: future.set_result(self._attach(id_number(job))))
        reader = future.result()
        reader.timeout = timeout
        return reader

    def get(self, job: str, payload: bool = False) -> dict:
        """JOB_INFO by name; with `payload`, also `payload` and `result`."""
        fields = {"id": id_number(job), "payload": payload or None}
        [(item, body)] = self._answer(self._ask("get_job", [fields]))
        _check(item)
        info = _job_info(item)
        if payload:
            size = item.get("size", 0)
            info["payload"] = unpack_map(body[:size])
            info["result"] = unpack_map(body[size:])
        return info

    def jobs(self, *, limit: int | None = None, **which: Any
             ) -> Iterator[dict]:
        """Newest first; `which`: state, queue, tenant, kind, parent."""
        if "state" in which:
            which["state"] = STATES.index(which["state"])
        if "parent" in which:
            which["parent"] = id_number(which["parent"])
        left = math.inf if limit is None else limit
        before = None
        while left > 0:
            fields = {**which, "before": before, "limit": int(min(left, 1024))}
            *found, (last, _) = self._answer(
                self._ask("list_jobs", [fields], wanted=0))
            _check(last)
            yield from (_job_info(item) for item, _ in found)
            left -= len(found)
            before = last.get("next")
            if before is None:
                return

    def cancel(self, *jobs: str, reason: str | None = None) -> list[Item]:
        """OUTCOME for each: its `code` is 0, ALREADY_DONE or NOT_FOUND."""
        fields = [{"id": id_number(job), "text": reason} for job in jobs]
        return [item for at in range(0, len(fields), 1024)
                for item, _ in self._answer(self._ask(
                    "cancel_job", fields[at:at + 1024]))]

    def _answer(self, request: _Request) -> list[tuple[Item, bytes]]:
        try:
            return request.future.result(self.timeout)
        except FutureTimeout:
            self.call(lambda: self._give_up(request))
        try:
            return request.future.result(5)
        except FutureTimeout:           # the client was closed meanwhile
            raise QuernError(Code.UNREACHABLE_BROKER, "closed") from None

    def _ask(self, verb: str, items: list[Item], payloads: bytes = b"", *,
             wanted: int = -1, harmless: bool = True) -> _Request:
        return self._post(_Request(
            verb, [pack_item(verb, i) for i in items], payloads,
            len(items) if wanted < 0 else wanted, harmless))

    def _post(self, request: _Request) -> _Request:
        def work() -> None:
            self._queued.append(request)
            self._pump()
        if self._failure:
            request.future.set_exception(self._failure)
        else:
            self.call(work)
        return request

    def _submit(self, batch: list[list[tuple[Item, bytes]]]) -> _Request:
        rows = [row for job in batch for row in job]
        # P-30: only `unique` makes it harmless to say them again.
        return self._post(_Request(
            "submit", [pack_item("submit", fields) for fields, _ in rows],
            b"".join(body for _, body in rows), len(batch),
            all("unique" in job[0][0] for job in batch)))

    def _batches(self, jobs: Sequence[dict]
                 ) -> Iterator[list[list[tuple[Item, bytes]]]]:
        """As many as fit into a message (P-8); a job with its children."""
        items_max, bytes_max = self.terms["items_max"], self.terms["bytes_max"]
        batch: list[list[tuple[Item, bytes]]] = []
        items = size = 0
        for job in jobs:
            rows = _rows(job)
            more = sum(len(body) + 64 + sum(len(str(v)) * 4 for v
                       in fields.values()) for fields, body in rows)
            if more > bytes_max:
                raise QuernError(Code.TOO_LARGE, f"a job of {more} bytes with "
                                 f"its children, at most {bytes_max}")
            if batch and (items + len(rows) > items_max
                          or size + more > bytes_max):
                yield batch
                batch, items, size = [], 0, 0
            batch.append(rows)
            items, size = items + len(rows), size + more
        if batch:
            yield batch

    # --- the conversation --------------------------------------------------

    def _live(self) -> None:
        try:
            self.run()
            self._failure = QuernError(Code.UNREACHABLE_BROKER, "closed")
        except QuernError as error:
            self._failure = error
        self._met.set()
        for request in [*self._queued, *self._pending.values()]:
            request.future.set_exception(self._failure)
        for waiter in [w for ws in self._waiters.values() for w in ws]:
            waiter.set_exception(self._failure)
        for reader in self._readers.values():
            reader.fail(self._failure)

    def on_welcome(self, new_life: bool) -> None:
        self._met.set()
        self._hear_streams()
        pending, self._pending = self._pending, {}
        for sequence, request in pending.items():
            if not new_life:            # P-30: the same life, said again
                request.answer.clear()
                self._say(request, sequence)
            elif request.harmless or (request.not_taken
                                      and request.times == 1):
                self._queued.append(request)
            else:
                request.future.set_exception(QuernError(
                    Code.UNKNOWN_OUTCOME, f"{request.verb}: the broker was "
                    "started anew; unknown whether it was accepted"))
        self._watch(self._watched)      # P-39
        for reader in self._readers.values():
            reader.known = reader.known and not new_life
            reader.ask_at = 0.0         # P-78
        self._pump()

    def _pump(self) -> None:
        """Say what waits, within the bound of what may be unanswered."""
        while self._queued and self.welcomed:
            oldest = next(iter(self._pending), self._sequence)
            if self._sequence - oldest >= self.terms["outstanding_max"] - 8:
                return                  # P-29
            self._say(self._queued.popleft())

    def _say(self, request: _Request, again: int = 0) -> None:
        request.times += 1
        request.not_taken = False
        request.sequence = again or self.next_sequence()
        self._pending[request.sequence] = request
        self.request(request.verb, request.items, request.payloads,
                     again=request.sequence)

    def _give_up(self, request: _Request) -> None:
        if request.future.done():
            return
        said = self._pending.pop(request.sequence, None)
        if not said:
            self._queued.remove(request)
        unknown = said and not request.harmless
        request.future.set_exception(QuernError(
            Code.UNKNOWN_OUTCOME if unknown else Code.UNREACHABLE_BROKER,
            f"{request.verb}: no answer within {self.timeout} s"
            + ("; unknown whether it was accepted" if unknown else "")))

    def on_message(self, verb: str, sequence: int, items: list[Item],
                   bodies: list[bytes]) -> None:
        if verb == "error":
            self._take_refusal(sequence, items[0])
        elif verb == "finished":
            for item, body in zip(items, bodies):
                self._finish(item, body)
        elif sequence in self._pending:
            self._take_answer(self._pending[sequence], items, bodies)
        elif verb == "job_info":        # WATCH_JOB of what is not there
            for item in items:
                self._end(item.get("id", 0), QuernError(
                    item["code"], item.get("text", "")))
        elif verb == "attached":
            for item in items:
                self._take_attached(item)

    def _take_answer(self, request: _Request, items: list[Item],
                     bodies: list[bytes]) -> None:
        request.answer += zip(items, bodies)
        if request.wanted:
            complete = len(request.answer) >= request.wanted
        else:
            complete = bool(items) and "id" not in items[-1]
        if not complete:
            return
        del self._pending[request.sequence]
        if request.verb == "submit":
            for packed, (item, _) in zip(_parents(request), request.answer):
                self._follow(packed, item, request.times > 1)
        request.future.set_result(request.answer)
        self._pump()

    def _take_refusal(self, sequence: int, error: Item) -> None:
        request = self._pending.get(sequence)
        if request is None:
            return
        if error["code"] in (Code.NO_HELLO, Code.STARTING, Code.STOPPING):
            request.not_taken = True    # it is said again after WELCOME
            return
        del self._pending[sequence]
        request.future.set_exception(QuernError(
            error["code"], error["text"], error.get("retry_after_ms", 0)))
        self._pump()

    # --- ends of jobs ------------------------------------------------------

    def _follow(self, packed: Item, item: Item, repeated: bool) -> None:
        """SUBMITTED of a job with `watch` or `attach`.

        Of one that was said again, FINISHED may have left on the connection
        that is gone, and it comes only once: so it is asked for anew (P-39).
        """
        number = item.get("id", 0)
        if item["code"] == 0 and packed.get("attach"):
            reader = self._attach(number)
            if not repeated:
                reader.asked(time.monotonic())
                reader.ask_at = math.inf
        elif item["code"] == 0 and packed.get("watch"):
            if number not in self._ended:
                self._watched.add(number)
                if repeated:
                    self._watch([number])

    def _wait(self, number: int, future: Future[Finished]) -> None:
        if self._failure:
            future.set_exception(self._failure)
        elif number in self._ended:
            future.set_result(self._ended.pop(number))
        else:
            self._waiters.setdefault(number, []).append(future)
            if number not in self._watched:
                self._watched.add(number)
                self._watch([number])

    def _watch(self, numbers: Any) -> None:
        if not self.welcomed:
            return
        items = [pack_item("watch_job", {"id": n}) for n in numbers]
        step = self.terms["items_max"]
        for at in range(0, len(items), step):
            self.request("watch_job", items[at:at + step])

    def _finish(self, item: Item, body: bytes) -> None:
        finished = Finished(
            id_text(item["id"]), STATES[item["state"]], unpack_map(body),
            item.get("error", 0), item.get("text", ""),
            item.get("attempts", 0), item.get("flow", False))
        reader = self._readers.get(item["id"])
        if reader:
            reader.finish(finished, (item.get("epoch", 0),
                                     item.get("seq", 0)))
            self._settle(reader)
        # One that is followed as a stream tells its end there.
        self._end(item["id"], finished, keep=reader is None)

    def _end(self, number: int, how: Finished | QuernError,
             keep: bool = False) -> None:
        self._watched.discard(number)
        waiters = self._waiters.pop(number, [])
        for waiter in waiters:
            if isinstance(how, QuernError):
                waiter.set_exception(how)
            else:
                waiter.set_result(how)
        if keep and not waiters and isinstance(how, Finished):
            self._ended[number] = how   # until somebody waits for it

    # --- streams -----------------------------------------------------------

    def _hear_streams(self) -> None:
        endpoint = self.stream_endpoint()
        if endpoint == self._hears_at:
            return
        if self._hears:
            self.poller.unregister(self._hears)
            self._hears.close()
        self._hears_at, self._hears = endpoint, None
        if endpoint:
            self._hears = self.open(zmq.SUB, endpoint)
            self._hears.subscribe(self._topic())
            self.poller.register(self._hears, zmq.POLLIN)

    def _topic(self) -> bytes:
        return self.instance[:8].hex().encode() + b"/"

    def _attach(self, number: int) -> StreamReader:
        if number not in self._readers:
            self._readers[number] = StreamReader(
                number, lambda: self.call(lambda: self._detach(number)))
        return self._readers[number]

    def _detach(self, number: int) -> None:
        if self._readers.pop(number, None) and self.welcomed:
            self.notice("detach", {"id": number})

    def on_turn(self, now: float) -> float:
        wake_at = now + 3600.0
        for reader in self._readers.values():
            if self.welcomed and now >= reader.ask_at:
                self.request("attach", [pack_item("attach",
                                                  reader.asked(now))])
            wake_at = min(wake_at, reader.ask_at)
        return wake_at if self.welcomed else now + 3600.0

    def _take_attached(self, item: Item) -> None:
        reader = self._readers.get(item.get("id", 0))
        if reader is None:
            return
        if item["code"] == 0:
            reader.known = True
            if reader.end is None:
                reader.ask_at = math.inf
        elif not reader.known:          # else the rest may still come
            del self._readers[reader.number]
            reader.fail(QuernError(item["code"], item.get("text", "")))

    def on_ready(self, ready: dict) -> None:
        if self._hears not in ready or self._hears is None:
            return
        for _ in range(256):
            try:
                frame = self._hears.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            parts = unpack_stream(frame[len(self._topic()):])
            head = unpack_item("stream", parts[0])
            reader = self._readers.get(head["job"])
            if reader and len(parts) == head["count"] + 1:
                reader.take(head, parts[1:])
                self._settle(reader)

    def _settle(self, reader: StreamReader) -> None:
        if reader.is_over():
            del self._readers[reader.number]


def _rows(job: dict) -> list[tuple[Item, bytes]]:
    """A job's envelope and payload, and behind it those of its children."""
    fields = dict(job)
    body = pack_map(fields.pop("payload", None))
    children = fields.pop("children", [])
    rows = [(fields | {"size": len(body) or None,
                       "children": len(children) or None}, body)]
    for child in children:
        if "children" in child:         # P-81
            raise QuernError(Code.BAD_VALUE, "a child has no children here; "
                             "it spawns them when it runs")
        rows += _rows(child)
    return rows


def _parents(request: _Request) -> Iterator[Item]:
    skip = 0
    for packed in request.items:
        item = unpack_item("submit", packed)
        if not skip:
            yield item
        skip = skip - 1 if skip else item.get("children", 0)


def _check(item: Item) -> None:
    if item["code"]:
        raise QuernError(item["code"], item.get("text", ""),
                         item.get("retry_after_ms", 0))


def _submitted(item: Item) -> Submitted | QuernError:
    try:
        _check(item)
    except QuernError as error:
        return error
    return Submitted(id_text(item["id"]), item.get("duplicate", False))


def _job_info(item: Item) -> dict:
    info = {name: value for name, value in item.items() if name != "code"}
    for name in ("id", "parent", "root", "group"):
        if name in info:
            info[name] = id_text(info[name])
    info["state"] = STATES[info["state"]]
    return info
