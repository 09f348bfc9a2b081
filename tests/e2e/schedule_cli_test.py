#!/usr/bin/env python3
"""Schedules through the command line: what is due is run once, whatever dies; overlap, pauses, times
that have passed while nothing ran, and what is refused."""

import datetime
import json
import os
import re
import signal
import time
import unittest
import zoneinfo

import quern_tree
from quern_tree import Quern, TreeTest, wait_for

EVERY_MS = 1000  # the shortest that there is
LONG = json.dumps({"ms": 600000})


def now_ms():
    return int(time.time() * 1000)


class Scheduled:
    """What the tests ask of a tree."""

    def __init__(self, quern):
        self.quern = quern

    def add(self, name, kind, *options):
        """One that is due every second, with a queue of its own."""
        self.quern("schedule", "add", name, kind, "--every", "1s", "--queue", name, *options)
        return self.info(name)

    def info(self, name):
        return self.quern.json("schedule", "list", name)[0]

    def jobs(self, name):
        """The oldest first."""
        rows = self.quern.json("jobs", "--queue", name, "--limit", 1000)[::-1]
        return [self.quern.json("job", row["id"]) for row in rows]

    def wait(self, name, what):
        return wait_for(f"schedule {name}", lambda: (lambda row: what(row) and row)(self.info(name)))

    def pause(self, name):
        self.quern("schedule", "pause", name)
        return self.info(name)


class Running(TreeTest):
    def setUp(self):
        self.on = Scheduled(self.quern)

    def test_runs_when_it_is_due(self):
        made = self.on.add("ticks", "echo", "--payload", '{"n":7}')
        self.assertEqual((made["interval_ms"], made["overlap"], made["missed"], made["paused"]),
                         (EVERY_MS, "skip", "once", False))
        self.assertEqual((made["kind"], made["queue"], made["payload"]), ("echo", "ticks", {"n": 7}))
        self.on.wait("ticks", lambda row: row["runs"] >= 3)
        told = self.on.pause("ticks")
        jobs = self.on.jobs("ticks")
        self.assertEqual(len(jobs), told["runs"])
        for job in jobs:
            due = job["schedule_due_ms"]
            self.assertEqual(job["schedule"], "ticks")
            self.assertEqual((due - made["created_ms"]) % EVERY_MS, 0)
            self.assertGreaterEqual(job["created_ms"], due)
        self.assertEqual(told["last_id"], jobs[-1]["id"])
        self.assertEqual(told["last_ms"], jobs[-1]["schedule_due_ms"])
        text = self.quern("job", jobs[-1]["id"])
        self.assertRegex(text, r"schedule +ticks, due \d{4}-\d\d-\d\dT")
        self.assertEqual(self.quern.json("job", jobs[-1]["id"], "--payload")["payload"], {"n": 7})
        self.quern("schedule", "rm", "ticks")

    def test_list(self):
        self.quern("schedule", "add", "nightly", "echo", "--every", "1d", "--jitter", "1h",
                   "--missed", "none", "--overlap", "replace")
        self.quern("schedule", "add", "off", "echo", "--every", "90s", "--paused")
        head, *rows = self.quern("schedule", "list").split("\n")
        self.assertEqual(head.split()[:3], ["SCHEDULE", "WHEN", "KIND"])
        rows = {row.split()[0]: row for row in rows}
        self.assertRegex(rows["nightly"], r"every 1d +echo +\d{4}-\d\d-\d\dT[0-9:.+]+ \(in \d+[dh] ")
        self.assertRegex(rows["off"], r"every 90s +echo +paused +0 +0 +0 +0$")
        told = self.on.info("nightly")
        self.assertEqual((told["missed"], told["overlap"], told["jitter_ms"]),
                         ("none", "replace", 3600000))
        self.assertEqual(len(self.quern("schedule", "list", "off").split("\n")), 2)
        self.assertGreaterEqual(self.quern.json("status")["broker"]["schedules"], 2)
        self.assertRegex(self.quern("status"), r"held .*[1-9]\d* schedules")
        for name in ("nightly", "off"):
            self.quern("schedule", "rm", name)

    def test_cron(self):
        self.quern("schedule", "add", "paris", "echo", "--cron", "30 5 * * *", "--zone",
                   "Europe/Paris")
        self.quern("schedule", "add", "monthly", "echo", "--cron", "@monthly")
        told = self.on.info("paris")
        self.assertEqual((told["cron"], told["zone"]), ("30 5 * * *", "Europe/Paris"))
        due = datetime.datetime.fromtimestamp(told["next_ms"] / 1000,
                                              zoneinfo.ZoneInfo("Europe/Paris"))
        self.assertEqual((due.hour, due.minute, due.second, told["next_ms"] % 1000), (5, 30, 0, 0))
        self.assertLessEqual(told["next_ms"] - now_ms(), 25 * 3600000)
        shown = due.isoformat(timespec="milliseconds")
        self.assertRegex(self.quern("schedule", "list", "paris"),
                         rf"30 5 \* \* \* Europe/Paris +echo +{re.escape(shown)} \(in ")
        self.assertRegex(self.quern("schedule", "list", "monthly"),
                         r"@monthly UTC +echo +\d{4}-\d\d-01T00:00:00\.000\+00:00 \(in ")
        for name in ("paris", "monthly"):
            self.quern("schedule", "rm", name)

    def test_run_now(self):
        self.quern("schedule", "add", "byhand", "echo", "--every", "1d", "--paused", "--payload",
                   '{"by":"hand"}')
        job = self.quern("schedule", "run", "byhand")
        self.quern.wait_state(job, "done")
        self.assertIn("byhand, by quern schedule run", self.quern("job", job))
        self.assertNotIn("schedule_due_ms", self.quern.json("job", job))
        self.assertEqual(self.quern("schedule", "run", "byhand", "--wait"), '{"by":"hand"}')
        told = self.quern.json("schedule", "run", "byhand", "--wait")
        self.assertEqual((told["state"], told["result"]), ("done", {"by": "hand"}))
        told = self.quern.json("schedule", "run", "byhand")
        self.assertEqual(told["id"], self.on.info("byhand")["last_id"])
        self.assertEqual(self.on.info("byhand")["runs"], 4)
        self.assertRegex(self.quern("schedule", "list", "byhand"), f"{told['id']} (done|ready|running)")
        self.quern("schedule", "add", "byhand", "fail", "--every", "1d", "--payload",
                   '{"class":"perm","text":"no such page"}')
        self.assertIn("no such page", self.quern.fails(1, "schedule", "run", "byhand", "--wait"))
        self.quern("schedule", "rm", "byhand")

    def test_overlap_skip(self):
        self.on.add("skips", "sleep", "--payload", LONG)
        told = self.on.wait("skips", lambda row: row["skipped"] >= 2)
        self.assertEqual(told["runs"], 1)
        job, = self.on.jobs("skips")
        self.quern("cancel", job["id"])
        self.on.wait("skips", lambda row: row["runs"] == 2)
        self.quern("schedule", "rm", "skips")
        self.assertIn(self.quern.state(self.on.jobs("skips")[-1]["id"]), ("ready", "running"))
        self.quern("cancel", self.on.jobs("skips")[-1]["id"])

    def test_overlap_queue(self):
        self.on.add("queued", "sleep", "--payload", LONG, "--overlap", "queue")
        self.on.wait("queued", lambda row: row["runs"] >= 3)
        self.quern("schedule", "rm", "queued")
        first, *others = self.on.jobs("queued")
        self.quern.wait_state(first["id"], "running")
        for job in others:
            self.assertEqual(job["state"], "blocked")
            self.assertEqual(self.quern.reasons(job["id"])["key_held"]["holder"], first["id"])
        self.quern("cancel", first["id"])
        self.quern.wait_state(others[0]["id"], "running")
        self.quern("cancel", *[job["id"] for job in others])

    def test_overlap_replace(self):
        self.on.add("replaced", "sleep", "--payload", LONG, "--overlap", "replace")
        self.on.wait("replaced", lambda row: row["runs"] >= 3)
        self.quern("schedule", "rm", "replaced")
        *others, last = self.on.jobs("replaced")
        for job in others:
            self.quern.wait_state(job["id"], "cancelled")
            self.assertIn("next run", self.quern.json("job", job["id"])["text"])
        self.quern.wait_state(last["id"], "running")
        self.quern("cancel", last["id"])

    def test_pause_resume_remove(self):
        self.on.add("paused", "echo")
        self.on.wait("paused", lambda row: row["runs"])
        told = self.on.pause("paused")
        self.assertTrue(told["paused"])
        self.assertNotIn("next_ms", told)
        wait_for("some due times", lambda: now_ms() > told["last_ms"] + 3 * EVERY_MS)
        self.assertEqual(self.on.info("paused")["runs"], told["runs"])
        resumed = now_ms()
        self.quern("schedule", "resume", "paused")
        self.on.wait("paused", lambda row: row["runs"] > told["runs"])
        jobs = self.on.jobs("paused")
        self.assertGreaterEqual(jobs[told["runs"]]["schedule_due_ms"], resumed)
        self.assertEqual(self.on.info("paused")["missed_runs"], told["missed_runs"])
        self.quern("schedule", "rm", "paused")
        self.assertIn("schedule 'paused': not known",
                      self.quern.fails(4, "schedule", "list", "paused"))
        n = len(self.on.jobs("paused"))
        gone = now_ms()
        wait_for("a due time", lambda: now_ms() > gone + 2 * EVERY_MS)
        self.assertEqual(len(self.on.jobs("paused")), n)

    def test_a_run_that_is_refused_is_told_of(self):
        self.on.add("refused", "sleep", "--payload", LONG, "--unique", "one", "--overlap", "queue")
        told = self.on.wait("refused", lambda row: row["refused"] >= 2)
        self.assertEqual(told["runs"], 1)
        job, = self.on.jobs("refused")
        self.assertIn(f"held by job {job['id']}", told["text"])
        self.assertIn(job["id"], self.quern("schedule", "list", "refused").split("\n")[1])
        self.assertIn("held by job", self.quern.fails(1, "schedule", "run", "refused"))
        self.quern("schedule", "rm", "refused")
        self.quern("cancel", job["id"])

    def test_set_again(self):
        """The same times: it goes on where it is, with the new job."""
        made = self.on.add("again", "echo")
        self.on.wait("again", lambda row: row["runs"])
        again = self.on.add("again", "sleep", "--payload", '{"ms":1}')
        self.assertEqual((again["created_ms"], again["kind"]), (made["created_ms"], "sleep"))
        self.quern("schedule", "add", "again", "echo", "--every", "1h")
        self.assertGreater(self.on.info("again")["created_ms"], made["created_ms"])
        self.quern("schedule", "rm", "again")


class Refused(TreeTest):
    def test_definitions(self):
        every = ("--every", "1h")
        large = json.dumps({"text": "x" * 70000})
        for words, status, says in (
                (("none", "nokind", *every), 2, "nokind"),
                (("large", "echo", *every, "--payload", large), 2, "at most 65536 for a schedule"),
                (("wrong", "echo", *every, "--payload", "[]"), 2, "must be a JSON object"),
                (("hour", "echo", "--cron", "* 25 * * *"), 2, "hour '25' is no number from 0 to 23"),
                (("never", "echo", "--cron", "0 0 31 2 *"), 2, "never comes"),
                (("few", "echo", "--cron", "0 0 *"), 2, "3 fields, 5 are needed"),
                (("zone", "echo", "--cron", "@daily", "--zone", "Mars/Phobos"), 2, "'Mars/Phobos'")):
            with self.subTest(words):
                self.assertIn(says, self.quern.fails(status, "schedule", "add", *words))
        self.assertEqual(self.quern("schedule", "list"), "no schedules")
        self.assertEqual(self.quern.json("schedule", "list"), [])

    def test_one_that_is_not_there(self):
        for what in ("list", "run", "rm", "pause", "resume"):
            said = self.quern.fails(4, "schedule", what, "nothing")
            self.assertIn("schedule 'nothing': not known", said)
            error = self.quern.json("schedule", what, "nothing", status=4)["error"]
            self.assertEqual((error["code"], error["context"]["command"]),
                             ("NOT_FOUND", f"schedule {what}"))


class Dying(unittest.TestCase):
    def setUp(self):
        self.quern = Quern()
        self.addCleanup(self.quern.close)
        self.quern.start()
        self.on = Scheduled(self.quern)

    def check_each_due_time(self, name, made):
        """One run at most for each, and what was not run was counted."""
        told = self.on.pause(name)
        dues = [job["schedule_due_ms"] for job in self.on.jobs(name)]
        self.assertEqual(len(dues), told["runs"])
        self.assertEqual(dues, sorted(set(dues)))
        self.assertEqual({(due - made["created_ms"]) % EVERY_MS for due in dues}, {0})
        passed = (told["last_ms"] - made["created_ms"]) // EVERY_MS
        self.assertEqual(passed, told["runs"] + told["skipped"] + told["missed_runs"], told)
        return told

    def test_broker_is_killed(self):
        made = self.on.add("ticks", "echo")
        for n in range(4):
            self.on.wait("ticks", lambda row: row["runs"] > n)
            due = self.on.info("ticks")["next_ms"]
            # Before, when and behind a due time.
            wait_for("the moment", lambda: now_ms() >= due + (n - 1) * 10)
            for pid in self.quern.pids("quern-broker"):
                os.kill(pid, signal.SIGKILL)
            wait_for("another broker", lambda: self.quern.run("status").returncode == 0)
        runs = self.on.info("ticks")["runs"]
        self.on.wait("ticks", lambda row: row["runs"] >= runs + 2)
        self.check_each_due_time("ticks", made)

    def test_what_was_missed_is_run_once(self):
        made = self.on.add("once", "echo")
        told = self.on.wait("once", lambda row: row["runs"])
        self.quern.stop()
        down = now_ms()
        wait_for("due times to pass", lambda: now_ms() > down + 4 * EVERY_MS)
        self.quern.start()
        up = self.on.wait("once", lambda row: row["runs"] > told["runs"])
        self.assertGreaterEqual(up["missed_runs"], 2)
        run = self.on.jobs("once")[told["runs"]]
        self.assertGreaterEqual(run["schedule_due_ms"], down + 2 * EVERY_MS)
        self.check_each_due_time("once", made)

    def test_paused_and_removed_stay_so(self):
        self.on.add("off", "echo", "--paused")
        self.on.add("gone", "echo")
        self.quern("schedule", "rm", "gone")
        for pid in self.quern.pids("quern-broker"):
            os.kill(pid, signal.SIGKILL)
        wait_for("another broker", lambda: self.quern.run("status").returncode == 0)
        told, = self.quern.json("schedule", "list")
        self.assertEqual((told["name"], told["paused"], told["runs"]), ("off", True, 0))


if __name__ == "__main__":
    quern_tree.main()
