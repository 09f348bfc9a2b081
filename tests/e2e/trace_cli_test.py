#!/usr/bin/env python3
"""One question through all programs: which trace its jobs have, and that one search over the log
finds all that happened to them."""

import json
import os
import re
import signal
import unittest

import quern_tree
from quern_tree import TreeTest, wait_for

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
GIVEN = f"00-{TRACE_ID}-b7ad6b7169203331-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
WELL_FORMED = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class TraceTest(TreeTest):
    CONFIG = quern_tree.CONFIG.replace("kinds:\n", "kinds:\n  spawn: {may_spawn: [echo, fail]}\n") + \
        "log: {level: debug}\ndefaults: {backoff: 20ms}\n"

    def trace(self, job):
        return self.quern.json("job", job)["trace"]

    def lines(self, wanted):
        """What a search over the log finds: each is one whole line of JSON."""
        return [json.loads(line) for line in self.quern.log.read_text().splitlines()
                if wanted in line]

    def told(self, wanted, *events):
        """The same, as soon as all these events are there."""
        wait_for(f"{events} of {wanted} in the log",
                 lambda: set(events) <= {row["event"] for row in self.lines(wanted)})
        return self.lines(wanted)


class OneThatIsGiven(TraceTest):
    def test_by_option_and_environment(self):
        """P-109: as it came, or refused."""
        job = self.quern("submit", "echo", "--trace", GIVEN)
        self.assertEqual(self.trace(job), GIVEN)
        self.assertIn(f"trace       {GIVEN}", self.quern("job", job))
        job = self.quern.run("submit", "echo", TRACEPARENT=OTHER).stdout.strip()
        self.assertEqual(self.trace(job), OTHER)
        job = self.quern.run("submit", "echo", "--trace", GIVEN, TRACEPARENT=OTHER).stdout.strip()
        self.assertEqual(self.trace(job), GIVEN)

    def test_what_is_none(self):
        says = self.quern.fails(2, "submit", "echo", "--trace", GIVEN.upper())
        self.assertIn("--trace: 55 bytes; the trace id must be 32 hex digits in lower case", says)
        done = self.quern.run("submit", "echo", TRACEPARENT="broken")
        self.assertEqual(done.returncode, 0)
        self.assertIn("TRACEPARENT of the environment: 6 bytes", done.stderr)
        self.assertRegex(self.trace(done.stdout.strip()), WELL_FORMED)
        batch = self.quern.path / "batch"
        batch.write_text('{"kind": "echo", "trace": "00-1-2-3"}\n')
        says = self.quern.fails(2, "submit", "echo", "--batch", batch, "--lines", "job")
        self.assertIn("submit.trace: 8 bytes; a traceparent of version 00 has 55 bytes", says)

    def test_a_whole_flow(self):
        """P-109, P-110: children, those of a submission and those of an attempt, and what waits for
        them; the attempt is the parent of what it spawns."""
        job = self.quern("submit", "spawn", "--payload", '{"children": 2}', "--trace", GIVEN,
                         "--then", "echo")
        wait_for("the flow to settle", lambda: self.quern.json("job", job).get("settled"))
        below = [row["id"] for row in self.quern.json("jobs", "--parent", job)]
        self.assertGreaterEqual(len(below), 3)
        for child in below:
            self.assertEqual(self.trace(child)[:36], GIVEN[:36])
        running = [row for row in self.told(job, "attempt.over") if row["event"] == "attempt.running"]
        spans = {self.trace(child)[36:52] for child in below} - {GIVEN[36:52]}
        self.assertEqual(spans, {row["span"] for row in running if row["job"] == job})


class OneThatIsMade(TraceTest):
    def test_it_stays(self):
        """P-109: after a restart, for a job that is run again, another one for another job."""
        jobs = [self.quern("submit", "echo") for _ in range(3)]
        made = [self.trace(job) for job in jobs]
        self.assertEqual(len({trace[3:35] for trace in made}), 3)
        for trace in made:
            self.assertRegex(trace, WELL_FORMED)
        for job in jobs:
            self.quern.wait_state(job, "done")
        for pid in self.quern.pids("quern-broker"):
            os.kill(pid, signal.SIGKILL)
        wait_for("another broker", lambda: self.quern.run("status").returncode == 0)
        self.assertEqual([self.trace(job) for job in jobs], made)
        self.quern("retry", jobs[0])
        self.assertEqual(self.trace(jobs[0]), made[0])

    def test_each_run_of_a_schedule(self):
        """P-109"""
        self.quern("schedule", "add", "often", "echo", "--every", "1s")
        first = self.quern("schedule", "run", "often")
        second = self.quern("schedule", "run", "often")
        self.assertNotEqual(self.trace(first)[3:35], self.trace(second)[3:35])


class TwoBrokers(TraceTest):
    def test_another_broker(self):
        """The same id is another job there."""
        job = self.quern("submit", "echo")
        other = quern_tree.Quern(self.CONFIG)
        self.addCleanup(other.close)
        other.start()
        there = other("submit", "echo")
        self.assertEqual(job, there)
        self.assertNotEqual(self.trace(job)[3:35], other.json("job", there)["trace"][3:35])


class TheLog(TraceTest):
    def check(self, rows, job, trace=TRACE_ID):
        for row in rows:
            self.assertEqual((row.get("job"), row.get("tenant"), row.get("trace")),
                             (job, "default", trace), row)

    def test_attempts(self):
        """P-110: one search finds the job in the broker and in workers; each attempt has a span of
        its own in the same trace."""
        job = self.quern("submit", "fail", "--payload", '{"text": "no luck"}', "--attempts", "3",
                         "--trace", GIVEN)
        self.quern.wait_state(job, "dead")
        rows = self.told(TRACE_ID, "job.ended")
        self.check(rows, job)
        names = [row["event"] for row in rows]
        for name, times in (("job.accepted", 1), ("attempt.started", 3), ("attempt.running", 3),
                            ("attempt.over", 3), ("attempt.failed", 3), ("job.ended", 1)):
            self.assertEqual(names.count(name), times, name)
        self.assertEqual({row["program"] for row in rows}, {"quern-broker", "quern-worker"})
        self.assertEqual(len({row["span"] for row in rows if "span" in row} - {GIVEN[36:52]}), 3)
        self.assertEqual({row["job"] for row in self.lines(f'"job":"{job}"')}, {job})

    def test_what_is_taken_back(self):
        """A worker that is killed: its job is told of when it goes back, and when it ends."""
        stopped = TRACE_ID[::-1]
        job = self.quern("submit", "sleep", "--payload", '{"ms": 60000}', "--trace",
                         f"00-{stopped}-b7ad6b7169203331-01")
        self.quern.wait_state(job, "running")
        self.told(stopped, "attempt.running")
        self.quern("cancel", job)
        self.quern.wait_state(job, "cancelled")
        self.check(self.told(stopped, "attempt.stopped", "attempt.over", "job.ended"), job, stopped)
        job = self.quern("submit", "sleep", "--payload", '{"ms": 60000}', "--trace", OTHER)
        self.quern.wait_state(job, "running")
        for pid in self.quern.pids("quern-worker"):
            os.kill(pid, signal.SIGKILL)
        rows = [row for row in self.told(OTHER[3:35], "attempt.failed") if "job" in row]
        self.check(rows, job, OTHER[3:35])
        self.assertIn("signal 9", [row for row in rows if row["event"] == "attempt.failed"][0]["what"])


if __name__ == "__main__":
    quern_tree.main()
