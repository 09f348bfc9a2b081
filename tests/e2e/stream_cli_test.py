#!/usr/bin/env python3
"""Streams through the command line: text as it comes, beginnings anew, channels, and what becomes of
a job that nobody follows."""

import json
import os
import signal
import subprocess
import unittest

import quern_tree
from quern_tree import BIN, DEADLINE_S, TreeTest, wait_for


def pieces(count, size):
    """What kind `stream` writes."""
    return [f"{n}".ljust(size - 1, ".")[:size - 1] + " " for n in range(1, count + 1)]


class Streaming(TreeTest):
    def stream(self, payload, *options, status=0):
        return self.quern.run_exact(status, "submit", "stream", "--payload", json.dumps(payload),
                                    "--stream", *options)

    def events(self, payload, *options, status=0):
        said, _ = self.stream(payload, "--json", *options, status=status)
        return [json.loads(line) for line in said.splitlines()]

    def begin(self, payload, *options):
        """One that runs on in the background."""
        return subprocess.Popen(
            [BIN / "quern", "submit", "stream", "--payload", json.dumps(payload), "--stream",
             *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=quern_tree.environment(QUERN_DATA=str(self.quern.data)))

    def test_text(self):
        said, complaints = self.stream({"pieces": 500, "bytes": 32})
        self.assertEqual(said, "".join(pieces(500, 32)))
        self.assertEqual(complaints, "")

    def test_much_text(self):
        """More than the queues between hold."""
        said, _ = self.stream({"pieces": 10000, "bytes": 64})
        self.assertEqual(said, "".join(pieces(10000, 64)))

    def test_json(self):
        told = self.events({"pieces": 40, "bytes": 16})
        self.assertEqual([event["event"] for event in told], ["text"] * 40 + ["finished"])
        self.assertEqual([event["seq"] for event in told[:-1]], list(range(1, 41)))
        self.assertEqual(len({event["epoch"] for event in told[:-1]}), 1)
        self.assertEqual("".join(event["text"] for event in told[:-1]), "".join(pieces(40, 16)))
        end = told[-1]
        self.assertEqual((end["state"], end["whole"]), ("done", True))
        self.assertEqual(end["result"]["pieces"], 40)

    def test_status(self):
        self.stream({"pieces": 40, "bytes": 16})
        wait_for("the figures of streams",
                 lambda: self.quern.json("status")["broker"].get("stream_events", 0) >= 40)
        said, _ = self.quern.run_exact(0, "status")
        self.assertRegex(said, r"\nstreams  \d+ kept, \S+, \d+ attached; \d+ events since the start\n")

    def test_channels(self):
        said, _ = self.stream({"pieces": 4, "bytes": 8, "channels": 2})
        one, two, three, four = pieces(4, 8)
        self.assertEqual(said, f"{one}\n[1] {two}\n[0] {three}\n[1] {four}")
        told = self.events({"pieces": 4, "bytes": 8, "channels": 2})
        self.assertEqual([event["channel"] for event in told[:-1]], [0, 1, 0, 1])

    def test_resets(self):
        told = self.events({"pieces": 20, "bytes": 8, "resets": 2, "rate": 200})
        names = [event["event"] for event in told]
        self.assertLessEqual(names.count("reset"), 2)
        last = len(names) - 1 - names[::-1].index("reset") if "reset" in names else -1
        text = "".join(event["text"] for event in told[last + 1:-1])
        self.assertEqual(text, "".join(pieces(20, 8)))
        said, complaints = self.stream({"pieces": 20, "bytes": 8, "resets": 1, "rate": 50})
        self.assertTrue(said.endswith("".join(pieces(20, 8))))
        self.assertIn("stream begins anew", complaints)

    def test_another_attempt(self):
        said, complaints = self.stream({"pieces": 20, "bytes": 8, "fail_after": 10, "times": 1,
                                        "rate": 100}, "--backoff", "10ms")
        self.assertTrue(said.endswith("".join(pieces(20, 8))))
        self.assertIn("stream begins anew", complaints)

    def test_failed(self):
        said, complaints = self.stream({"pieces": 20, "bytes": 8, "fail_after": 5}, "--attempts", "1",
                                       status=1)
        self.assertEqual(said, "".join(pieces(5, 8)))
        self.assertIn(": dead: ", complaints)

    def test_kind_without_streams(self):
        self.assertEqual(self.quern("submit", "echo", "--payload", '{"a":1}', "--stream"), '{"a":1}')

    def test_job_that_runs_and_that_has_ended(self):
        job = self.quern.submit("stream", {"pieces": 60, "bytes": 8, "rate": 100})
        said, _ = self.quern.run_exact(0, "job", job, "--stream")
        self.assertEqual(said, "".join(pieces(60, 8)))
        # It is kept for a while.
        said, _ = self.quern.run_exact(0, "job", job, "--stream")
        self.assertEqual(said, "".join(pieces(60, 8)))
        self.quern.fails(4, "job", "0000c00000007", "--stream")

    def test_interrupted(self):
        following = self.begin({"pieces": 100000, "bytes": 8, "rate": 100}, "--queue", "followed")
        self.assertTrue(os.read(following.stdout.fileno(), 8))
        job = wait_for("the job", lambda: self.quern.json("jobs", "--queue", "followed"))[0]["id"]
        following.send_signal(signal.SIGINT)
        _, complaints = following.communicate(timeout=DEADLINE_S)
        self.assertEqual(following.returncode, -signal.SIGINT)
        self.assertIn(f"quern job {job} --stream", complaints)
        self.assertEqual(self.quern.state(job), "running")
        self.quern("cancel", job)

    def test_grace(self):
        following = self.begin({"pieces": 100000, "bytes": 8, "rate": 100}, "--queue", "graced", "--grace", "100ms")
        self.assertTrue(os.read(following.stdout.fileno(), 8))
        job = wait_for("the job", lambda: self.quern.json("jobs", "--queue", "graced"))[0]["id"]
        following.send_signal(signal.SIGINT)
        _, complaints = following.communicate(timeout=DEADLINE_S)
        self.assertIn("is cancelled when its grace is over", complaints)
        self.quern.wait_state(job, "cancelled")

    def test_broker_starts_anew(self):
        """The broker's end takes nothing from the text: workers say it again."""
        following = self.begin({"pieces": 300, "bytes": 8, "rate": 100}, "--queue", "survives")
        self.assertTrue(os.read(following.stdout.fileno(), 8))
        for pid in self.quern.pids("quern-broker"):
            os.kill(pid, signal.SIGKILL)
        said, complaints = following.communicate(timeout=3 * DEADLINE_S)
        self.assertEqual(following.returncode, 0, complaints)
        self.assertTrue(said.endswith("".join(pieces(300, 8))[-200:]))
        if "begins anew" not in complaints:
            self.assertEqual(said, "".join(pieces(300, 8))[8:])


class Far(TreeTest):
    CONFIG = quern_tree.CONFIG.replace(
        "broker:\n", "streams: {tcp_reader: \"tcp://127.0.0.1:*\"}\nbroker:\n"
        "  tcp_operator: tcp://127.0.0.1:*\n  tcp_client: tcp://127.0.0.1:*\n")

    def test_by_tcp(self):
        ready = self.quern.events("broker.ready")[0]
        payload = json.dumps({"pieces": 50, "bytes": 8})
        said, _ = self.quern.run_exact(0, "submit", "stream", "--payload", payload, "--stream",
                                       "--broker", ready["tcp_operator"])
        self.assertEqual(said, "".join(pieces(50, 8)))
        self.assertIn("is for clients only", self.quern.fails(
            2, "submit", "stream", "--stream", "--broker", ready["tcp_client"]))


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    quern_tree.main()
