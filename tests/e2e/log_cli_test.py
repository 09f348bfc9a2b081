#!/usr/bin/env python3
"""The log of all programs together: nobody has to read it, it does not grow for ever, and each line of
it is of the table."""

import json
import os
import re
import signal
import subprocess
import unittest

import quern_tree
from quern_tree import BIN, DEADLINE_S, TreeTest, wait_for

SOURCE = quern_tree.pathlib.Path(os.environ["QUERN_TEST_SOURCE"])
EVENTS = set(re.findall(r"^\| `([a-z_.]+)` \|", (SOURCE / "docs/log_events.md").read_text(), re.M))
SAYS = r"""sh -c 'printf "plain words\n\\ \"quoted\" \377\376 \303\274 \001\n{\"time\":1}\n"; exec """ \
    f"{BIN}/quern-worker'"
LOUD = quern_tree.CONFIG + "log: {level: debug}\n"
MANY = 1500


class Tree(quern_tree.Quern):
    """Its log goes where a test wants it."""

    def start_to(self, stderr, **more):
        self.tree = subprocess.Popen([BIN / "quern", "up", "--config", self.config],
                                     stdout=subprocess.PIPE, stderr=stderr,
                                     stdin=subprocess.DEVNULL, cwd=self.path,
                                     env=quern_tree.environment(QUERN_DATA=str(self.data)), **more)

    def check_work(self):
        """As many jobs as say more than any pipe holds."""
        self("submit", "echo", "--count", MANY, "--wait")


class NobodyReads(unittest.TestCase):
    def begin(self, stderr, **more):
        quern = Tree(LOUD)
        self.addCleanup(quern.close)
        quern.start_to(stderr, **more)
        line = quern.tree.stdout.readline().decode()
        self.assertTrue(line.startswith("quern is ready: "), line)
        return quern

    def end(self, quern):
        self.assertEqual(quern.stop(), 0)

    def test_a_pipe_that_is_full(self):
        """Nobody waits for the reader, and the one line that says so comes when he is back."""
        ours, theirs = os.pipe()
        quern = self.begin(theirs)
        os.close(theirs)
        quern.check_work()
        self.assertEqual(quern.json("status")["broker"]["done"], MANY)
        os.set_blocking(ours, False)
        text, told = b"", []

        def lost():
            nonlocal text
            quern("submit", "echo", "--wait")
            try:
                while more := os.read(ours, 1 << 16):
                    text += more
            except BlockingIOError:
                pass
            lines, _, text = text.rpartition(b"\n")
            told.extend(map(json.loads, lines.splitlines()))
            return {row["program"] for row in told if row["event"] == "log.lost"} \
                >= {"quern-broker", "quern-pools"}
        wait_for("both to tell that lines are missing", lost)
        self.assertLessEqual({row["event"] for row in told}, EVENTS)
        self.end(quern)
        os.close(ours)

    def test_a_reader_that_goes(self):
        ours, theirs = os.pipe()
        quern = self.begin(theirs)
        os.close(theirs)
        os.close(ours)
        quern.check_work()
        self.end(quern)

    def test_a_disk_that_is_full(self):
        with open("/dev/full", "wb") as full:
            quern = self.begin(full)
        quern.check_work()
        self.end(quern)

    def test_none_at_all(self):
        """Closed from the start: nothing that is opened becomes the log."""
        quern = self.begin(None, preexec_fn=lambda: os.close(2))
        quern.check_work()
        for pid in quern.pids("quern-broker"):
            self.assertEqual(os.readlink(f"/proc/{pid}/fd/2"), "/dev/null")
        self.end(quern)
        quern.start()
        self.assertEqual(quern.json("status")["broker"]["kept"], MANY)


class EachLine(TreeTest):
    CONFIG = LOUD.replace("pools:\n", f"pools:\n  said: {{command: {json.dumps(SAYS)}}}\n")

    def lines(self):
        return [json.loads(line) for line in self.quern.log.read_bytes().decode().splitlines()]

    def test_it_is_of_the_table(self):
        """Also what a worker prints, and after each kind of trouble that a test can make."""
        said = wait_for("what the worker prints", lambda: self.quern.events("process.said"))
        self.assertEqual([(row["pool"], row["line"]) for row in said[:3]],
                         [("said", "plain words"), ("said", '\\ "quoted" ?? ü \x01'),
                          ("said", '{"time":1}')])
        self.quern("submit", "echo", "--wait")
        self.quern("submit", "fail", "--payload", '{"class":"perm","text":"no\\n\\"such"}')
        self.quern.config.write_text("nonsense: [")
        self.assertNotEqual(self.quern.run("reload").returncode, 0)
        self.quern.config.write_text(self.CONFIG)
        for name in ("quern-worker", "quern-broker", "quern-pools"):
            os.kill(self.quern.pids(name)[0], signal.SIGKILL)
        wait_for("another broker", lambda: self.quern.run("status").returncode == 0)
        second = self.quern.run("up", "--config", self.quern.config)
        self.assertNotEqual(second.returncode, 0)
        wait_for("the worker's last words", lambda: self.quern.events("process.died"))
        rows = self.lines()
        self.assertLessEqual({row["event"] for row in rows}, EVENTS)
        for row in rows:
            self.assertRegex(row["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            self.assertIn(row["level"], ("error", "warn", "info", "debug"))
            if "job" in row:
                self.assertTrue(row["tenant"] and row["trace"], row)

    def test_why_a_broker_does_not_begin(self):
        """By itself it says so in a line as well."""
        wrong = self.quern.path / "wrong.yaml"
        wrong.write_text("broker: {heartbeat: 7 parsecs}\n")
        for words, event, status in ((["--config", wrong], "config.refused", 2),
                                     (["--data", self.quern.data], "program.failed", 1)):
            done = subprocess.run([BIN / "quern-broker", *words], check=False, capture_output=True,
                                  cwd=self.quern.path, timeout=3 * DEADLINE_S,
                                  env=quern_tree.environment())
            self.assertEqual(done.returncode, status)
            rows = [json.loads(line) for line in done.stderr.splitlines()]
            self.assertEqual(rows[-1]["event"], event)


class Turning(unittest.TestCase):
    def setUp(self):
        self.quern = Tree(LOUD.replace("log: {", "log: {file_max: 64KiB, "))
        self.addCleanup(self.quern.close)
        self.log = self.quern.data / "log/quern.log"
        self.old = self.quern.data / "log/quern.log.1"

    def begin(self):
        self.quern("up", "--detach", "--config", self.quern.config)
        self.addCleanup(self.quern.run, "down")

    def test_it_does_not_grow_for_ever(self):
        self.begin()

        def turned():
            self.quern("submit", "echo", "--count", 200, "--wait")
            return self.old.exists()
        wait_for("the log to be turned", turned)
        first = self.old.stat().st_ino

        def again():
            self.quern("submit", "echo", "--count", 200, "--wait")
            return self.old.stat().st_ino != first
        wait_for("it to be turned again", again)
        self.assertEqual({path.name for path in self.log.parent.iterdir()},
                         {"quern.log", "quern.log.1"})
        for path in (self.log, self.old):
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            for line in path.read_text().splitlines():
                self.assertIn(json.loads(line)["event"], EVENTS)

    def test_it_may_be_moved_away(self):
        """No line is lost: each of the jobs' is in one of the two."""
        self.quern.config.write_text(LOUD)
        self.begin()
        self.quern("submit", "echo", "--count", 100, "--wait")
        moved = self.quern.path / "moved"
        self.log.rename(moved)

        def ends():
            self.quern("submit", "echo", "--count", 10, "--wait")
            return self.log.exists()
        wait_for("another file of that name", ends)
        done = self.quern.json("status")["broker"]["done"]

        def told():
            text = moved.read_text() + self.log.read_text()
            return [text.count(f'"event":"{event}"') for event in ("attempt.over", "job.ended")]
        wait_for("all lines", lambda: told() == [done, done])


if __name__ == "__main__":
    quern_tree.main()
