#!/usr/bin/env python3
"""The broker's pages for monitoring: what they say, to whom, and what becomes of those who ask too
much or too slowly."""

import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import select
import socket
import subprocess
import time
import unittest

import quern_tree
from quern_tree import BIN, DEADLINE_S, Quern, TreeTest, wait_for

LISTEN = "  ops_listen: 127.0.0.1:0\n"
KINDS = "kinds:\n  nobody: {}\n"
CONNECTIONS = 32  # that the broker takes at a time

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\d+(?:\.\d+)?)")
HEAD = re.compile(rf"# (HELP|TYPE) ({NAME}) (.+)")


def parse(text):
    """The samples of a page: {(name, labels): value}. Refuses what the format does not allow."""
    assert text.endswith("\n"), "the last line has no end"
    types, samples, current = {}, {}, None
    for line in text.splitlines():
        if line.startswith("#"):
            what, name, rest = HEAD.fullmatch(line).groups()
            if what == "HELP":
                assert name not in types, f"{name} comes twice"
                current, types[name] = name, None
            else:
                assert name == current and types[name] is None, line
                assert rest in ("counter", "gauge", "histogram"), line
                assert (rest == "counter") == name.endswith("_total"), line
                types[name] = rest
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        ends = ("_bucket", "_sum", "_count") if types[current] == "histogram" else ("",)
        assert name in [current + end for end in ends], f"{line} stands behind {current}"
        key = (name, labels or "")
        assert key not in samples, f"{line} comes twice"
        samples[key] = float(value)
    check_histograms(types, samples)
    return samples


def check_histograms(types, samples):
    for name in [name for name, kind in types.items() if kind == "histogram"]:
        series = {}
        for (sample, labels), value in samples.items():
            if sample == name + "_bucket":
                rest, bound = re.fullmatch(r'(?:(.*),)?le="([^"]+)"', labels).groups()
                series.setdefault(rest or "", []).append((float(bound), value))
        for labels, buckets in series.items():
            assert buckets == sorted(buckets), f"{name}{{{labels}}}: {buckets}"
            assert [n for _, n in buckets] == sorted(n for _, n in buckets), f"{name}: {buckets}"
            assert buckets[-1] == (float("inf"), samples[name + "_count", labels]), f"{name}"
            assert (name + "_sum", labels) in samples, name


def ask(address, path, method="GET", body=None, headers=None):
    """(status, headers, text) of one request."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=DEADLINE_S)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def connect(address):
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=DEADLINE_S)


class Alone(Quern):
    """A broker without workers and supervisor."""

    def __init__(self, config, **env):
        super().__init__(config)
        self.env = env
        self.broker = None

    def begin(self):
        log = open(self.log, "ab")
        self.broker = subprocess.Popen(
            [BIN / "quern-broker", "--data", self.data, "--config", self.config], stderr=log,
            stdin=subprocess.DEVNULL, cwd=self.path, env=quern_tree.environment(**self.env))
        log.close()

    def address(self):
        """Where its pages are."""
        self.begin()
        return wait_for("broker.ready", lambda: self.events("broker.ready"))[0]["ops"]

    def close(self):
        if self.broker:
            self.broker.kill()
            self.broker.wait()
        super().close()

    def listeners(self):
        """Numbers of its sockets that listen by TCP."""
        ours = set()
        for entry in os.scandir(f"/proc/{self.broker.pid}/fd"):
            try:
                ours.add(os.readlink(entry.path))
            except OSError:
                continue
        lines = [line.split() for file in ("tcp", "tcp6")
                 for line in pathlib.Path("/proc/net", file).read_text().splitlines()[1:]]
        return [row for row in lines if row[3] == "0A" and f"socket:[{row[9]}]" in ours]


class Jobs(TreeTest):
    """Beside real workers."""

    CONFIG = quern_tree.CONFIG.replace("broker:\n", "broker:\n" + LISTEN)

    def setUp(self):
        self.address = self.quern.json("status")["broker"]["ops"]

    def metrics(self):
        status, headers, text = ask(self.address, "/metrics")
        self.assertEqual(status, 200, text)
        self.assertEqual(headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        return parse(text)

    def test_counters_move_with_jobs(self):
        before = self.metrics()
        for _ in range(5):
            self.quern("submit", "echo", "--wait")
        waits = self.quern("submit", "nobody")
        after = self.metrics()

        def moved(name, labels=""):
            return after[name, labels] - before.get((name, labels), 0)
        self.assertEqual(moved("quern_jobs_submitted_total"), 6)
        self.assertEqual(moved("quern_jobs_ended_total", 'state="done"'), 5)
        self.assertEqual(moved("quern_attempts_total", 'outcome="done"'), 5)
        self.assertEqual(moved("quern_job_wait_seconds_count", 'kind="echo"'), 5)
        self.assertEqual(moved("quern_job_run_seconds_count", 'kind="echo"'), 5)
        self.assertGreater(moved("quern_commit_seconds_count"), 0)
        self.assertGreater(moved("quern_journal_commits_total"), 0)
        self.assertEqual(after["quern_queue_jobs", 'queue="nobody",state="ready"'], 1)
        self.assertEqual(after["quern_state", 'state="serving"'], 1)
        self.assertEqual(after["quern_workers", 'state="active"'], 1)
        self.assertEqual(after["quern_worker_slots", ""], 4)
        self.assertGreater(after["quern_memory_bytes", ""], 1 << 20)
        wait_for("the job to age", lambda: self.metrics()[
            "quern_queue_oldest_ready_seconds", 'queue="nobody"'] > 0)
        self.quern("cancel", waits)
        self.assertEqual(self.metrics()["quern_jobs_ended_total", 'state="cancelled"']
                         - before["quern_jobs_ended_total", 'state="cancelled"'], 1)

    def test_how_attempts_end(self):
        before = self.metrics()
        job = self.quern("submit", "sleep", "--payload", '{"ms": 600000}')
        self.quern.wait_state(job, "running")
        self.quern("cancel", job)
        self.quern.wait_state(job, "cancelled")
        after = self.metrics()
        key = ("quern_attempts_total", 'outcome="cancelled"')
        self.assertEqual(after[key] - before[key], 1)
        self.assertEqual(after["quern_job_run_seconds_count", 'kind="sleep"'], 1)
        self.assertGreater(after["quern_job_run_seconds_sum", 'kind="sleep"'], 0)

    def test_health(self):
        status, _, text = ask(self.address, "/healthz")
        self.assertEqual((status, text), (200, "ok\n"))
        status, headers, text = ask(self.address, "/health")
        self.assertEqual((status, headers["Content-Type"]), (200, "application/json"))
        health = json.loads(text)
        self.assertEqual(health["state"], "serving")
        self.assertEqual(health["epoch"], 1)
        self.assertEqual(health["journal_room"], "enough")
        self.assertEqual(health["trouble"], "")
        self.assertEqual(health["version"], self.quern.json("status")["broker"]["version"])

    def test_where_it_is_shown(self):
        self.assertIn(f"ops      http://{self.address}/metrics", self.quern("status"))


class Refused(unittest.TestCase):
    """What is no question, and those who ask too much."""

    def setUp(self):
        self.quern = Alone("broker:\n" + LISTEN + KINDS)
        self.addCleanup(self.quern.close)
        self.address = self.quern.address()

    def test_no_question(self):
        for path in ("/", "/metric", "/metrics/", "/healthz/../metrics", "//metrics"):
            self.assertEqual(ask(self.address, path)[0], 404, path)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            status, headers, _ = ask(self.address, "/metrics", method)
            self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"), method)
        self.assertEqual(ask(self.address, "/metrics", body="{}")[0], 413)
        self.assertEqual(ask(self.address, "/metrics",
                             headers={"Transfer-Encoding": "chunked"})[0], 413)
        self.assertEqual(ask(self.address, "/metrics", headers={"X": "x" * 9000})[0], 431)
        self.assertIn(ask(self.address, "/" + "x" * 9000)[0], (414, 431))
        status, headers, text = ask(self.address, "/metrics?x=1", "HEAD")
        self.assertEqual((status, text), (200, ""))
        self.assertGreater(int(headers["Content-Length"]), 5000)
        with connect(self.address) as raw:
            raw.sendall(b"\x16\x03\x01 no http at all\r\n\r\n")
            self.assertIn(raw.recv(4096)[:12], (b"", b"HTTP/1.1 400", b"HTTP/1.0 400"))
        self.assertEqual(ask(self.address, "/healthz")[0], 200)

    def test_many_ask_at_once(self):
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(lambda _: ask(self.address, "/metrics"), range(300)))
        self.assertEqual({status for status, _, _ in answers}, {200})
        for _, _, text in answers[::30]:
            parse(text)

    def test_who_says_nothing_makes_room(self):
        silent = [connect(self.address) for _ in range(CONNECTIONS + 8)]
        for one in silent:
            self.addCleanup(one.close)
        job = self.quern("submit", "nobody")
        self.assertEqual(self.quern.state(job), "ready")
        self.assertEqual(ask(self.address, "/healthz")[0], 200)

    def test_who_is_slow_is_cut_off(self):
        """A byte now and then is no reason to stay."""
        slow = connect(self.address)
        self.addCleanup(slow.close)
        slow.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        deadline = time.monotonic() + DEADLINE_S
        try:
            while not select.select([slow], [], [], 0.5)[0]:
                self.assertLess(time.monotonic(), deadline)
                slow.sendall(b"x")
            self.assertEqual(slow.recv(4096), b"")
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.assertEqual(ask(self.address, "/healthz")[0], 200)

    def test_who_reads_slowly_is_waited_for_by_nobody(self):
        """A page that does not fit into the socket stays in the broker until it is read."""
        self.quern("submit", "nobody", "--batch", "-", "--lines", "job", text="".join(
            json.dumps({"queue": f"{'q' * 50}{n}"}) + "\n" for n in range(120)))
        pieces = 88
        slow = socket.socket()
        self.addCleanup(slow.close)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, pieces)
        slow.settimeout(DEADLINE_S)
        host, _, port = self.address.rpartition(":")
        slow.connect((host, int(port)))
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(slow.recv(15), b"HTTP/1.1 200 OK")
        self.assertEqual(ask(self.address, "/healthz")[0], 200)
        self.assertGreater(len(ask(self.address, "/metrics")[2]), 64 << 10)


class Listening(unittest.TestCase):
    """Where it listens."""

    def broker(self, listen):
        quern = Alone(f"broker: {{ops_listen: '{listen}'}}\n")
        self.addCleanup(quern.close)
        return quern

    def test_nowhere(self):
        for nowhere in ("", "off"):
            quern = self.broker(nowhere)
            self.assertEqual(quern.address(), "")
            self.assertEqual(quern.listeners(), [])
            self.assertNotIn("ops", quern.json("status")["broker"])

    def test_loopback(self):
        quern = self.broker("localhost:0")
        address = quern.address()
        self.assertRegex(address, r"^127\.0\.0\.1:[1-9]\d*$")
        self.assertEqual(len(quern.listeners()), 1)
        self.assertEqual(ask(address, "/healthz")[0], 200)
        other = self.broker(address)
        other.begin()
        self.assertEqual(other.broker.wait(DEADLINE_S), 1)
        self.assertIn(f"cannot listen on {address}: Address already in use", other.log_tail())

    @unittest.skipUnless(pathlib.Path("/proc/net/if_inet6").exists(), "a host without IPv6")
    def test_loopback_of_ipv6(self):
        address = self.broker("[::1]:0").address()
        self.assertRegex(address, r"^\[::1\]:[1-9]\d*$")
        self.assertEqual(ask(address, "/healthz")[0], 200)

    def test_not_for_others(self):
        for elsewhere in ("0.0.0.0:0", "[::]:0", "192.0.2.1:9464", "db-1.example:9464"):
            quern = self.broker(elsewhere)
            quern.begin()
            self.assertEqual(quern.broker.wait(DEADLINE_S), 2)
            self.assertIn(f"broker.ops_listen: '{elsewhere}' is not an address of this host's "
                          "loopback", quern.log_tail())


class Trouble(unittest.TestCase):
    """The broker does not accept jobs."""

    def start(self, settings=""):
        self.quern = Alone("broker:\n" + LISTEN + settings + KINDS,
                           LD_PRELOAD=os.environ["QUERN_FAIL_SYNC"])
        self.quern.env["QUERN_TEST_SYNC"] = str(self.quern.path / "sync")
        self.addCleanup(self.quern.close)
        self.address = self.quern.address()

    def disk_shall(self, what):
        path = self.quern.path / f"sync.{what}"
        path.touch()
        return path

    def healthz(self):
        status, _, text = ask(self.address, "/healthz")
        return status, text

    def test_a_journal_that_failed(self):
        self.start()
        self.disk_shall("fail")
        self.quern.run("submit", "nobody")
        status, text = wait_for("503", lambda: self.healthz() if self.healthz()[0] == 503 else None)
        self.assertEqual(status, 503)
        self.assertRegex(text, r"^read only: .+")
        status, _, text = ask(self.address, "/health")
        health = json.loads(text)
        self.assertEqual((status, health["state"]), (503, "read_only"))
        self.assertEqual(health["journal_room"], "read_only")
        self.assertTrue(health["trouble"])
        status, _, text = ask(self.address, "/metrics")
        self.assertEqual(status, 200)
        self.assertEqual(parse(text)["quern_state", 'state="read_only"'], 1)

    def test_too_many_jobs(self):
        self.start("  jobs_max: 1000\n")
        self.assertEqual(self.healthz(), (200, "ok\n"))
        self.quern("submit", "nobody", "--count", 1000)
        self.assertEqual(self.healthz(), (503, "full: 1000 jobs wait or run, at most 1000\n"))
        self.quern("purge", "nobody")
        wait_for("room", lambda: self.healthz() == (200, "ok\n"))

    def test_a_broker_that_does_not_answer(self):
        """Its own thread waits for the disk."""
        self.start()
        held = self.disk_shall("hold")
        submit = subprocess.Popen([BIN / "quern", "submit", "nobody"], stdout=subprocess.DEVNULL,
                                  env=quern_tree.environment(QUERN_DATA=str(self.quern.data)))
        self.addCleanup(submit.wait)
        self.addCleanup(held.unlink, missing_ok=True)
        wait_for("no answer", lambda: self.healthz() == (503,
                                                        "the broker has not answered for 2 s\n"))
        held.unlink()
        self.assertEqual(submit.wait(DEADLINE_S), 0)
        wait_for("an answer", lambda: self.healthz() == (200, "ok\n"))


if __name__ == "__main__":
    quern_tree.main()
