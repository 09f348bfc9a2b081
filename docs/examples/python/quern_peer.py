"""QJP/1 in Python: what workers and clients of Quern have in common.

Messages as bytes (docs/protocol.md, sections 3 and 4), and Peer: one
conversation with the broker that says HELLO, shows that it lives, connects
again and survives restarts of the broker (section 5). P-n in a comment is
the rule of that page which the code keeps.
"""

from __future__ import annotations

import collections
import enum
import itertools
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgpack
import zmq

log = logging.getLogger("quern")

Item = dict[str, Any]

ROLES = {"client": 1, "worker": 2, "gateway": 3, "operator": 4}
STATES = ("", "scheduled", "ready", "blocked", "running", "cancelling",
          "done", "dead", "cancelled", "expired")


class Code(enum.IntEnum):
    """The errors that a peer tells apart; docs/messages.md has them all."""

    MALFORMED = 10
    TOO_LARGE = 11
    BAD_VALUE = 15
    NO_HELLO = 18
    NOT_FOUND = 30
    BUSY = 50
    READ_ONLY = 51
    DISK_FULL = 52
    STARTING = 53
    STOPPING = 54
    RATE_LIMITED = 55
    CANCELLED = 71
    TIMEOUT = 73
    JOB_FAILED = 75
    JOB_REJECTED = 76
    RESULT_TOO_LARGE = 77
    UNREACHABLE_BROKER = 90
    WAIT_TIMEOUT = 91
    UNKNOWN_OUTCOME = 92


# Verb: its number, and the fields of its items in the order of their numbers.
_SUBMIT = """kind size queue tenant priority key interval_ms unique window_ms
    delay_ms run_at_ms ttl_ms timeout_ms attempts_max backoff_ms
    backoff_max_ms durability trace watch attach grace_ms children fail_fast
    then parent fence index"""
_ATTEMPT = "job fence code"
_GET_JOB = "id payload"
VERBS = {
    "hello": (1, """version_min version_max role instance name pid host pool
        kinds slots prefetch running unacked epoch"""),
    "welcome": (2, """version epoch heartbeat_ms missed_max items_max
        bytes_max body_max result_max outstanding_max stream stream_port
        stream_max"""),
    "error": (3, "code text retry_after_ms"),
    "heartbeat": (4, "epoch busy held rss_bytes read_only"),
    "bye": (5, "text"),
    "submit": (10, _SUBMIT),
    "submitted": (11, "code id duplicate text retry_after_ms"),
    "get_job": (12, _GET_JOB),
    "job_info": (13, """code id state kind queue tenant priority attempts
        attempts_max created_ms due_ms started_ms ended_ms fence error
        text key unique trace worker progress progress_total crashes size
        result_size ttl_ms timeout_ms durability next parent root then
        fail_fast spawned below below_done below_dead below_cancelled
        below_expired settled flow_error schedule schedule_due_ms history
        group"""),
    "list_jobs": (14, "state queue tenant kind limit before parent"),
    "cancel_job": (17, "id text"),
    "watch_job": (19, _GET_JOB),
    "finished": (20, "id state error text size attempts epoch seq flow"),
    "outcome": (21, "code text count id flow"),
    "declare_kind": (50, """kind queue priority timeout_ms attempts_max
        backoff_ms backoff_max_ms ttl_ms durability speculative schema
        streams"""),
    "dispatch": (51, """job fence kind size tenant attempt attempts_max
        timeout_ms trace alone token parent parent_state siblings
        siblings_done siblings_dead siblings_cancelled siblings_expired
        siblings_broken"""),
    "started": (52, _ATTEMPT),
    "result": (53, """job fence outcome size error text retry_after_ms epoch
        seq children"""),
    "result_ack": (54, _ATTEMPT),
    "cancel_attempt": (55, _ATTEMPT),
    "lost": (56, _ATTEMPT),
    "recall": (57, _ATTEMPT),
    "returned": (58, _ATTEMPT),
    "progress": (59, "job fence done total"),
    "drain_worker": (60, "text"),
    "attach": (80, "id tenant epoch seq"),
    "attached": (81, "code text id state"),
    "detach": (82, _GET_JOB),
    "stream_need": (83, "job fence token epoch seq"),
    "stream": (84, "job epoch seq count token gone"),
    "spawn": (85, _SUBMIT),
    "spawned": (86, "code job fence index text"),
}
_NUMBER = {verb: number for verb, (number, _) in VERBS.items()}
_VERB = {number: verb for verb, number in _NUMBER.items()}
_FIELDS = {verb: fields.split() for verb, (_, fields) in VERBS.items()}
_FIELD_NUMBER = {verb: {name: at for at, name in enumerate(fields, 1)}
                 for verb, fields in _FIELDS.items()}


class QuernError(Exception):
    """What the broker, or this side, refused; `code` as in messages.md."""

    def __init__(self, code: int, text: str, retry_after_ms: int = 0) -> None:
        name = Code(code).name if code in Code._value2member_map_ else code
        super().__init__(f"{name}: {text}")
        self.code = code
        self.text = text
        self.retry_after_ms = retry_after_ms


# --- values and messages ---------------------------------------------------

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def id_text(number: int) -> str:
    """An id as people see it: 13 characters of Crockford's base32."""
    return "".join(_ALPHABET[number >> shift & 31]
                   for shift in range(60, -1, -5))


def id_number(text: str) -> int:
    number = 0
    for character in text.lower():
        number = number << 5 | _ALPHABET.index(character)
    return number


def _check_nesting(value: Any) -> None:
    """P-16: 32 containers deep, 262,144 values, and a map at the top."""
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__}, not a map")
    level, count = [value], 0
    for depth in itertools.count(1):
        inner: list[Any] = []
        for box in level:
            parts = ([*box.keys(), *box.values()]
                     if isinstance(box, dict) else box)
            count += len(parts)
            inner += [v for v in parts if isinstance(v, (dict, list, tuple))]
        if count > 262_144:
            raise ValueError("more than 262144 values")
        if not inner:
            return
        if depth == 32:
            raise ValueError("nested deeper than 32")
        level = inner


def pack_map(value: dict | None) -> bytes:
    """A payload or result as bytes; nothing at all is the empty map."""
    if not value:
        return b""
    _check_nesting(value)
    return msgpack.packb(value)


def unpack_map(raw: bytes) -> dict:
    if not raw:
        return {}
    value = msgpack.unpackb(raw, strict_map_key=False)
    _check_nesting(value)
    return value


def fit_text(text: str, bound: int) -> str:
    """The beginning and the end of a text: the ends say what went wrong."""
    raw = text.encode("utf-8", "replace")
    if len(raw) > bound:
        raw = raw[:bound // 4] + b" ... " + raw[-(bound * 3 // 4 - 5):]
    return raw.decode("utf-8", "ignore")


def pack_item(verb: str, fields: Item) -> dict[int, Any]:
    numbers = _FIELD_NUMBER[verb]
    for name in fields:
        if name not in numbers:
            raise TypeError(f"{verb} has no field '{name}'")
    return {numbers[name]: value for name, value in fields.items()
            if value is not None}


def unpack_item(verb: str, item: dict[int, Any]) -> Item:
    """By name; numbers that this side does not know are passed over (P-21)."""
    names = _FIELDS[verb]
    return {names[at - 1]: value for at, value in item.items()
            if 0 < at <= len(names)}


def pack_message(verb: str, sequence: int, items: Sequence[dict[int, Any]],
                 payloads: bytes = b"") -> list[bytes]:
    frames = [msgpack.packb([1, _NUMBER[verb], sequence]),
              msgpack.packb(items)]
    return frames + [payloads] if payloads else frames


def unpack_message(frames: list[bytes]
                   ) -> tuple[str, int, list[Item], list[bytes]]:
    """Verb, sequence, items and, for each of these, its bytes of frame 2.

    Those of `size` and `result_size` come in one piece. An item has the
    verb's own fields; what stands behind one (P-81) only peers send.
    """
    version, number, sequence = msgpack.unpackb(frames[0])
    if version != 1 or number not in _VERB:
        raise ValueError(f"version {version}, verb {number}")
    verb = _VERB[number]
    items = [unpack_item(verb, item)
             for item in msgpack.unpackb(frames[1], strict_map_key=False)]
    payloads = frames[2] if len(frames) > 2 else b""
    bodies, at = [], 0
    for item in items:
        size = item.get("size", 0) + item.get("result_size", 0)
        bodies.append(payloads[at:at + size])
        at += size
    if at != len(payloads):
        raise ValueError(f"{len(payloads)} bytes of payload, not {at}")
    return verb, sequence, items, bodies


def endpoint_of(where: str | None, role: str) -> str:
    """The endpoint of a role: of a data folder, a socket, or as it is."""
    if not where:
        where = (os.environ.get("QUERN_BROKER")
                 or os.environ.get("QUERN_DATA") or ".quern")
    if "://" in where:
        return where
    if os.path.isdir(where) or not os.path.exists(where):
        where = os.path.join(where, "run", f"{role}.sock")
    return "ipc://" + os.path.abspath(where)


# --- a conversation with the broker ----------------------------------------

class Peer:
    """One instance, its connection and its loop.

    One thread calls run() and owns the sockets; all others use call(). What
    a worker or a client does stands in the methods named on_...
    """

    def __init__(self, role: str, where: str | None = None,
                 instance: bytes | None = None, name: str = "") -> None:
        self.role = role
        self.endpoint = endpoint_of(where, role)
        self.instance = instance or secrets.token_bytes(16)
        self.name = name or "python"
        self.terms: Item = {"epoch": 0, "heartbeat_ms": 1000, "missed_max": 3}
        self.welcomed = False
        self.poller = zmq.Poller()
        self._context = zmq.Context()
        self._socket: zmq.Socket | None = None
        self._sequence = 0
        self._hello_sequence = 0
        self._hello_at = 0.0            # when to say HELLO; 0: it was said
        self._hello_wait = 0.05
        self._heard = 0.0               # when the broker last said anything
        self._known_at = time.monotonic()
        self._next_beat = 0.0
        self._leaving = False
        self._folders: dict[str, int] = {}
        self._inbox: collections.deque[Callable[[], None]] = (
            collections.deque())
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        self.poller.register(self._wake_r, zmq.POLLIN)

    # What a worker or a client adds.

    def on_hello(self) -> Item:
        """Further fields of HELLO."""
        return {}

    def on_heartbeat(self) -> Item:
        """Further fields of HEARTBEAT."""
        return {}

    def on_welcome(self, new_life: bool) -> None:
        """The broker knows this peer; `new_life`: it forgot its requests."""

    def on_message(self, verb: str, sequence: int, items: list[Item],
                   bodies: list[bytes]) -> None:
        """Everything but WELCOME, HEARTBEAT and the errors of HELLO."""

    def on_ready(self, ready: dict) -> None:
        """What `poller` has said, for further sockets."""

    def on_turn(self, now: float) -> float:
        """After every turn of the loop; says when it is to be called next."""
        return now + 3600.0

    # For all threads.

    def call(self, work: Callable[[], None]) -> None:
        """Have the loop's thread do it."""
        self._inbox.append(work)
        self.wake()

    def wake(self) -> None:
        try:
            os.write(self._wake_w, b"!")
        except BlockingIOError:
            pass                        # it is about to wake up anyway

    # For the loop's thread.

    @property
    def silent_s(self) -> float:
        """For how long nothing was heard of a broker that knows us."""
        return time.monotonic() - self._known_at

    @property
    def heartbeat_s(self) -> float:
        return self.terms["heartbeat_ms"] / 1000

    @property
    def silence_s(self) -> float:
        """P-25: after so long without a word the other side is gone."""
        return self.heartbeat_s * self.terms["missed_max"]

    def notice(self, verb: str, fields: Item | Iterable[Item],
               payloads: bytes = b"") -> None:
        """P-26: a notice has the sequence 0 and is not answered."""
        items = [fields] if isinstance(fields, dict) else fields
        self._send(verb, 0, [pack_item(verb, i) for i in items], payloads)

    def request(self, verb: str, items: Sequence[dict[int, Any]],
                payloads: bytes = b"", again: int = 0) -> int:
        """Packed items; `again` repeats the request of that sequence."""
        sequence = again or self.next_sequence()
        self._send(verb, sequence, items, payloads)
        return sequence

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def leave(self) -> None:
        self._leaving = True

    def stream_endpoint(self) -> str | None:
        """P-74: a file beside our own socket, or a port of its host."""
        base = self.endpoint
        if base.startswith("tcp:"):
            port = self.terms.get("stream_port")
            return f"{base.rpartition(':')[0]}:{port}" if port else None
        name = self.terms.get("stream")
        return f"{base.rpartition('/')[0]}/{name}" if name else None

    def open(self, kind: int, endpoint: str) -> zmq.Socket:
        made = self._context.socket(kind)
        made.linger = 0
        made.reconnect_ivl = 50
        path = endpoint.removeprefix("ipc://")
        if path != endpoint and len(os.fsencode(path)) > 107:
            # P-2: over the kernel's bound, but not through its folder.
            folder, name = os.path.split(path)
            if folder not in self._folders:
                self._folders[folder] = os.open(
                    folder, os.O_PATH | os.O_DIRECTORY)
            handle = self._folders[folder]
            endpoint = f"ipc:///proc/self/fd/{handle}/{name}"
        made.connect(endpoint)
        return made

    def run(self) -> None:
        """Speak until leave(); QuernError where the broker wants us not."""
        self._connect()
        try:
            while not self._leaving:
                self._turn()
            if self.welcomed and self._socket:
                self._socket.linger = 1000
                self.notice("bye", {})
        finally:
            self._context.destroy(
                linger=1000 if self.welcomed else 0)
            for handle in self._folders.values():
                os.close(handle)

    def _turn(self) -> None:
        now = time.monotonic()
        until = min(self._next_beat, self.on_turn(now),
                    self._hello_at or self._next_beat)
        if self._inbox:
            until = now
        ready = dict(self.poller.poll(int(max(0, until - now) * 1000 + 1)))
        if self._wake_r in ready:
            os.read(self._wake_r, 4096)
        for _ in range(len(self._inbox)):
            self._inbox.popleft()()
        # What has arrived is read before anybody is called silent.
        if self._socket in ready:
            self._read()
        self.on_ready(ready)
        self._beat(time.monotonic())

    def _read(self) -> None:
        assert self._socket
        for _ in range(256):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._heard = time.monotonic()
            try:
                self._take(*unpack_message(frames))
            except QuernError:
                raise
            except Exception:           # P-69: dropped, logged, and go on
                log.exception("a message that cannot be read")

    def _take(self, verb: str, sequence: int, items: list[Item],
              bodies: list[bytes]) -> None:
        if verb == "welcome":
            if sequence == self._hello_sequence:
                self._welcome(items[0])
            return
        if self.welcomed:
            self._known_at = self._heard
        if verb == "heartbeat":
            if self.welcomed and items[0]["epoch"] != self.terms["epoch"]:
                self._say_hello()       # P-24
            return
        if verb == "error":
            self._take_error(sequence, items[0])
        self.on_message(verb, sequence, items, bodies)

    def _welcome(self, terms: Item) -> None:
        new_life = terms["epoch"] != self.terms["epoch"]
        self.terms = terms
        self.welcomed = True
        self._known_at = time.monotonic()
        self._hello_wait = 0.05
        self._next_beat = time.monotonic() + self.heartbeat_s
        self.on_welcome(new_life)

    def _take_error(self, sequence: int, error: Item) -> None:
        code = error["code"]
        later = code in (Code.STARTING, Code.STOPPING) or (
            code == Code.BUSY and sequence == self._hello_sequence)
        if later:
            # P-18: after a while that grows up to a second.
            self.welcomed = False
            wait = error.get("retry_after_ms", 0) / 1000 or self._hello_wait
            self._hello_wait = min(1.0, self._hello_wait * 2)
            self._hello_at = self._hello_at or time.monotonic() + wait
        elif code == Code.NO_HELLO:
            if self.welcomed:           # else ours is on its way
                self._say_hello()
        elif sequence == self._hello_sequence:
            raise QuernError(code, error["text"])

    def _beat(self, now: float) -> None:
        if self._hello_at and now >= self._hello_at:
            self._say_hello()
        if now < self._next_beat:
            return
        if now - self._next_beat > self.heartbeat_s:
            self._heard = now           # it was this process that slept
        self._next_beat = now + self.heartbeat_s
        if now - self._heard > self.silence_s:
            self._connect()             # P-25
        elif self.welcomed:
            self.notice("heartbeat", {"epoch": self.terms["epoch"],
                                      **self.on_heartbeat()})

    def _connect(self) -> None:
        if self._socket:
            self.poller.unregister(self._socket)
            self._socket.close()
        self._socket = self.open(zmq.DEALER, self.endpoint)
        self.poller.register(self._socket, zmq.POLLIN)
        self._heard = time.monotonic()
        self._say_hello()

    def _say_hello(self) -> None:
        self.welcomed = False
        self._hello_at = 0.0
        self._next_beat = time.monotonic() + self.heartbeat_s
        hello = {"version_min": 1, "version_max": 1,
                 "role": ROLES[self.role], "instance": self.instance,
                 "name": self.name, "pid": os.getpid(),
                 "host": socket.gethostname(),
                 "epoch": self.terms["epoch"] or None, **self.on_hello()}
        self._hello_sequence = self.next_sequence()
        self._send("hello", self._hello_sequence, [pack_item("hello", hello)])

    def _send(self, verb: str, sequence: int,
              items: Sequence[dict[int, Any]], payloads: bytes = b"") -> None:
        assert self._socket
        frames = pack_message(verb, sequence, items, payloads)
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            # Nobody reads. All that matters is said again after WELCOME.
            log.warning("%s was dropped: the broker does not read", verb)
