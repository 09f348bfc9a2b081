#!/usr/bin/env python3
"""Notes, with real workers and the command line: what one worker sets the others know within a
heartbeat, it ends, only one gets what many want, and a restart of the broker forgets all of it."""

import json
import os
import signal

import quern_tree
from quern_tree import TreeTest, wait_for

NOTES_MAX = 1000
HEARTBEAT_MS = 200
# Two workers of one slot: two jobs that run at the same time run in two processes.
CONFIG = """
broker:
  heartbeat: 200ms
pools:
  default: {processes_min: 2, processes_max: 2, slots: 1, restart_backoff: 50ms, stop_grace: 5s}
"""


class NotesTest(TreeTest):
    CONFIG = CONFIG

    def note(self, **payload):
        """A job of kind `note`, in the background."""
        return self.quern.submit("note", {"wait_ms": 60000, **payload})

    def done(self, job):
        self.quern.wait_state(job, "done", "dead")
        told = self.quern.json("job", job, "--payload")
        self.assertEqual(told["state"], "done", told)
        return told["result"]

    def do(self, **payload):
        return self.done(self.note(**payload))

    def names(self):
        return [row["name"] for row in self.quern.json("notes")]


class Told(NotesTest):
    def test_one_worker_sets_and_the_other_knows(self):
        """P-99, P-101: two jobs at a time are in two processes, and each waits for the other's."""
        first = self.note(name="ping", value="one", **{"await": "two"})
        self.quern.wait_state(first, "running")
        second = self.do(name="ping", **{"await": "one"})
        self.assertEqual(second["value"], "one")
        self.assertTrue(0 < second["left_ms"] <= 10000)
        third = self.do(name="ping", value="two")
        self.assertTrue(third["changed"])
        told = self.done(first)
        self.assertEqual(told["value"], "two")
        rows = self.quern.json("notes", "ping")
        workers = {row["instance"]: row["pid"] for row in self.quern.workers()}
        self.assertEqual((rows[0]["by"], rows[0]["pid"]),
                         ("quern-worker", workers[rows[0]["instance"]]))
        self.quern("note", "rm", "ping")
        self.do(name="ping", gone=True)

    def test_within_a_heartbeat(self):
        """P-101: the operator's notes too. A job and a heartbeat are all that is waited for."""
        self.quern("note", "set", "soon", "now", "--for", "1m")
        told = self.do(name="soon", **{"await": "now"})
        self.assertLessEqual(told["waited_ms"], 10 * HEARTBEAT_MS)
        self.quern("note", "rm", "soon")
        self.assertIn("not there", self.quern.fails(4, "note", "rm", "soon"))
        self.assertIn("not there", self.quern.fails(4, "notes", "soon"))

    def test_it_ends(self):
        """P-99"""
        self.quern("note", "set", "short", "x", "--for", "300ms")
        wait_for("it to end", lambda: "short" not in self.names())
        self.do(name="short", gone=True)

    def test_only_one_gets_it(self):
        """P-100: a half-open breaker has one probe."""
        jobs = [self.note(name="probe", value=f"job{n}", absent=True) for n in range(6)]
        told = [self.done(job) for job in jobs]
        self.assertEqual(sum(row["changed"] for row in told), 1)
        self.quern("note", "rm", "probe")

    def test_longer(self):
        """P-100: a cool-down is not shortened by a shorter one."""
        self.assertTrue(self.do(name="cool", value="a", for_ms=60000, longer=True)["changed"])
        self.assertFalse(self.do(name="cool", value="b", for_ms=1000, longer=True)["changed"])
        self.quern.fails(1, "note", "set", "cool", "c", "--for", "10s", "--longer")
        self.quern("note", "set", "cool", "c", "--for", "10s")
        self.assertEqual(self.quern.json("notes", "cool")[0]["value"], "c")
        self.quern("note", "rm", "cool")

    def test_hostile(self):
        """P-14, P-99: what a terminal must not see, what is too long, and what is no text."""
        value = "\x1b[2J\x07 \n{\"a\":1} ü"
        self.quern("note", "set", "evil", value, "--for", "1m")
        self.assertEqual(self.quern.json("notes", "evil")[0]["value"], value)
        shown = self.quern("notes", "evil")
        self.assertNotIn("\x1b", shown)
        self.assertEqual(len(shown.split("\n")), 2)
        self.do(name="evil", **{"await": value})
        self.quern("note", "rm", "evil")
        self.quern.fails(2, "note", "set", "evil", "x" * 257, "--for", "1m")
        self.quern.fails(2, "note", "set", "no/name", "x", "--for", "1m")
        self.quern.fails(2, "note", "set", "evil", "x", "--for", "2d")
        self.quern.fails(2, "note", "set", "evil", "x")
        for bad in ({"name": "a b"}, {"value": "x" * 257}, {"for_ms": 1 << 60}):
            job = self.note(**{"name": "evil", "value": "x", **bad})
            self.quern.wait_state(job, "dead")
        self.assertNotIn("evil", self.names())

    def test_text(self):
        self.assertIn("quern note set", self.quern("note", "set", "--help"))
        self.assertEqual(self.quern("notes", "--help").split("\n")[0].split()[:3],
                         ["usage:", "quern", "notes"])


class Full(NotesTest):
    def test_the_thousand_and_first(self):
        """P-102"""
        lines = "\n".join(json.dumps({"name": f"n{n}", "value": "x", "for_ms": 3600000})
                          for n in range(NOTES_MAX))
        ids = self.quern("submit", "note", "--batch", "-", text=lines).split("\n")
        self.assertEqual(len(ids), NOTES_MAX)
        wait_for("all to be set", lambda: len(self.names()) == NOTES_MAX)
        said = self.quern.fails(1, "note", "set", "more", "x", "--for", "1m")
        self.assertIn("there are 1000 notes, the bound", said)
        self.quern("note", "set", "n5", "y", "--for", "1h")  # one that is there needs no room
        held = self.note(name="more", value="job")
        self.quern.wait_state(held, "scheduled")  # no room is no fault of the job's
        self.assertEqual(self.quern.json("job", held)["attempts"], 0)
        self.quern("note", "rm", "n6")
        self.assertTrue(self.done(held)["changed"])
        self.assertEqual(self.quern.json("status")["broker"]["notes"], NOTES_MAX)
        self.do(name="n7", **{"await": "x"})


class Killed(NotesTest):
    def test_a_restart_forgets(self):
        """P-102: and the workers say HELLO to the next life, which tells its own."""
        self.quern("note", "set", "before", "x", "--for", "1h")
        self.do(name="before", **{"await": "x"})
        epoch = self.quern.json("status")["broker"]["epoch"]
        [broker] = self.quern.pids("quern-broker")
        os.kill(broker, signal.SIGKILL)
        def again():
            told = self.quern.run("status", "--json")
            return told.returncode == 0 and json.loads(told.stdout)["broker"]["epoch"] > epoch
        wait_for("another life of the broker", again)
        self.assertEqual(self.names(), [])
        self.do(name="before", gone=True)
        self.quern("note", "set", "after", "y", "--for", "1h")
        self.do(name="after", **{"await": "y"})
        self.do(name="before", gone=True)


if __name__ == "__main__":
    quern_tree.main()
