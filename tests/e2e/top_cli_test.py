"""quern top on terminals of several sizes: what is seen, what keys do, a broker that goes and comes
back, and a terminal that is left as it was."""

import json
import os
import pathlib
import signal
import subprocess

from quern_tree import BIN, DEADLINE_S, TreeTest, environment, main, wait_for
from terminal import Terminal, columns_of

CONFIG = """
broker: {heartbeat: 200ms}
kinds:
  nobody: {}
queues:
  mail: {concurrency: 1}
pools:
  default: {processes_min: 1, processes_max: 1, slots: 4, restart_backoff: 50ms, stop_grace: 1s}
"""
NASTY = "cannot open \u001b[2J\u009b31m\u0007file \u6f22\u5b57 e\u0301\u0301\u0301\u0301\u202e end"


def state_of(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class TopTest(TreeTest):
    CONFIG = CONFIG

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        quern = cls.quern
        quern.submit("nobody", {}, "--count", 12)
        quern("pause", "nobody")
        cls.long = quern.submit("sleep", {"ms": 600000}, "--queue", "mail")
        quern.wait_state(cls.long, "running")
        cls.dead = quern.submit("fail", {"class": "perm", "text": NASTY})
        quern.wait_state(cls.dead, "dead")
        quern("schedule", "add", "nightly", "echo", "--cron", "0 3 * * *")

    def top(self, *words, size=(24, 80), **how):
        terminal = Terminal([BIN / "quern", "top", *words], size, cwd=self.quern.path,
                            env=environment(QUERN_DATA=str(self.quern.data)), **how)
        self.addCleanup(terminal.close)
        return terminal

    def leave(self, terminal, keys="q", status=0):
        terminal.press(keys)
        self.assertEqual(terminal.end(), status)
        self.assertTrue(terminal.is_restored())
        self.assertEqual(terminal.screen.unknown, [])

    # --- what is seen ----------------------------------------------------------------------------

    def test_every_size_shows_what_is_wrong(self):
        for size in (24, 80), (10, 40), (60, 200), (5, 20), (2, 10), (1, 1):
            with self.subTest(size=size):
                terminal = self.top("--interval", "200ms", size=size)
                terminal.wait("quern: serving"[:size[1] - 1])
                if size[0] >= 5:
                    terminal.wait("\n!")
                    terminal.wait("nobody"[:size[1] - 2])
                for line in terminal.lines():
                    self.assertLessEqual(sum(map(columns_of, line)), size[1])
                self.leave(terminal)

    def test_the_first_glance(self):
        terminal = self.top(size=(50, 120))
        terminal.wait("! queue nobody: paused; 12 ready, the oldest since ")
        terminal.wait("cpu ")
        seen = terminal.text()
        queues = [line for line in terminal.lines() if line[2:8] in ("nobody", "mail  ")]
        self.assertRegex(queues[0], r"^! nobody +12 .* paused$")
        self.assertRegex(queues[1], r"^  mail +0 +1 .* max 1$")
        self.assertRegex(seen, r"(?m)^  default +1/1 +1/4 +[\d.]+MiB")
        self.assertRegex(seen, rf"(?m)^  {self.long}  sleep +mail +\d.* default +quern-worker ")
        self.assertRegex(seen, r"(?m)^  nightly +\d")
        self.assertIn("cpu ", seen)
        self.leave(terminal)

    def test_rates_are_measured(self):
        terminal = self.top("--interval", "200ms", size=(50, 120))
        terminal.wait("in 0/s  ended 0/s")
        self.quern.submit("echo", {}, "--count", 300)
        terminal.wait("a rate", lambda: any(line.startswith("  echo") and line.split()[3] not in "-0"
                                            for line in terminal.lines()))
        self.assertNotIn("in 0/s", terminal.text())
        self.leave(terminal)

    def test_text_of_others_is_harmless(self):
        terminal = self.top(size=(40, 160))
        terminal.wait("JOB_REJECTED: cannot open  [2J 31m file \u6f22\u5b57 ")
        terminal.wait("the group", lambda: any(line[2:].split()[1:2] == ["fail"] and
                                               line.endswith(" \u6f22\u5b57 e\u0301\u0301 end")
                                               for line in terminal.lines()))
        self.leave(terminal)

    def test_a_terminal_without_colours_or_utf8(self):
        for how in ({"term": "vt100"}, {"more": {"NO_COLOR": "1"}}, {"more": {"LC_ALL": "C"}}):
            terminal = self.top(size=(40, 120), **how)
            terminal.wait("! queue nobody")
            terminal.wait("JOB_REJECTED")
            if "LC_ALL" in how.get("more", {}):
                self.assertTrue(terminal.text().isascii())
            else:
                self.assertEqual(terminal.screen.colours, set())
            self.leave(terminal)
        terminal = self.top(size=(40, 120))
        terminal.wait("! queue nobody")
        self.assertIn(31, terminal.screen.colours)
        self.leave(terminal)

    # --- keys ------------------------------------------------------------------------------------

    def chosen(self, terminal):
        return next((line.split()[1] for line in terminal.lines() if line.startswith("> ")), "")

    def test_panes_rows_and_sorting(self):
        terminal = self.top(size=(40, 120))
        terminal.wait("> QUEUE")
        for title in "POOL", "WORKER", "RUNNING":
            terminal.press("\t")
            terminal.wait(title, lambda title=title: self.chosen(terminal) == title)
        terminal.press("\033[Z")
        terminal.wait("WORKER", lambda: self.chosen(terminal) == "WORKER")
        for name in "ready", "oldest", "rate", "name", "trouble":
            terminal.press("s")
            terminal.wait(f"s sort: {name}")
        self.leave(terminal)

    def test_help_and_back(self):
        terminal = self.top()
        terminal.wait("? help")
        terminal.press("?")
        terminal.wait("quern top: help")
        terminal.press("\033[6~")
        terminal.press("q")
        terminal.wait("> QUEUE")
        self.leave(terminal)

    def test_a_queue_is_opened(self):
        terminal = self.top(size=(30, 100))
        terminal.wait("! nobody")
        terminal.press("\r")
        terminal.wait("queue nobody")
        terminal.wait("ready, the oldest first")
        self.assertRegex(terminal.text(), r"why \w{13} does not run\n  paused: ")
        terminal.press("\033")
        terminal.wait("> QUEUE")
        self.leave(terminal)

    def test_a_job_is_opened(self):
        terminal = self.top(size=(30, 100))
        terminal.wait(self.long)
        terminal.press("\t\t\t\r")
        terminal.wait(f"job {self.long}")
        terminal.wait("running")
        terminal.press("q")
        terminal.wait("> RUNNING")
        self.leave(terminal)

    def test_the_picture_can_be_stopped(self):
        terminal = self.top("--interval", "200ms", size=(30, 100))
        terminal.wait("quern: serving")
        terminal.press("p")
        terminal.wait("PAUSED")
        self.quern.submit("sleep", {"ms": 0}, "--queue", "later")
        terminal.press("\x0c")
        self.assertNotIn("later", terminal.text())
        terminal.press("p")
        terminal.wait("later")
        self.assertNotIn("PAUSED", terminal.text())
        self.leave(terminal)

    # --- the terminal ----------------------------------------------------------------------------

    def test_another_size(self):
        terminal = self.top()
        terminal.wait("q quit")
        for rows, columns in (10, 40), (60, 150), (5, 20), (24, 80):
            terminal.resize(rows, columns)
            foot = rows - 1
            terminal.wait("the foot" if rows > 5 else "no foot",
                          lambda foot=foot, rows=rows:
                          terminal.lines()[foot].startswith("q quit") == (rows > 5)
                          and terminal.lines()[0].startswith("quern: serving"))
        self.leave(terminal)

    def test_signals_give_the_terminal_back(self):
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            terminal = self.top()
            terminal.wait("q quit")
            if number == signal.SIGINT:
                terminal.press("\x03")
            else:
                terminal.program.send_signal(number)
            self.assertEqual(terminal.end(), -number)
            self.assertTrue(terminal.is_restored())

    def test_it_stops_and_goes_on(self):
        terminal = self.top()
        terminal.wait("q quit")
        terminal.press("\x1a")
        wait_for("the stop", lambda: state_of(terminal.program.pid) == "T")
        while terminal.read(0):
            pass
        self.assertTrue(terminal.is_restored())
        terminal.screen.erase(0, 0, 24, 0)
        terminal.program.send_signal(signal.SIGCONT)
        terminal.wait("q quit")
        self.assertIn("?1049", terminal.screen.modes)
        self.leave(terminal)

    def test_what_is_no_terminal_is_refused(self):
        for done in (self.quern.run("top"), self.quern.run("top", "--interval", "5s", text="q")):
            self.assertEqual(done.returncode, 2)
            self.assertIn("quern top --once", done.stderr)
            self.assertEqual(done.stdout, "")
        for term in "dumb", "nothing-like-it", "":
            terminal = self.top(term=term, size=(24, 200))
            self.assertEqual(terminal.end(), 2)
            self.assertIn("quern top --once", terminal.text())
            self.assertTrue(terminal.is_restored())
        self.assertEqual(self.quern.run("top", "--json").returncode, 2)
        self.assertEqual(self.quern.run("top", "--interval", "1ms", "--once").returncode, 2)

    # --- once ------------------------------------------------------------------------------------

    def test_once(self):
        text = self.quern("top", "--once", "--interval", "200ms")
        self.assertTrue(text.startswith("quern: serving  up "), text)
        self.assertRegex(text, r"(?m)^! queue nobody: paused; 12 ready")
        self.assertRegex(text, r"(?m)^! nobody +12 ")
        self.assertNotIn("\033", text)
        self.assertNotIn("q quit", text)

    def test_once_as_json(self):
        view = self.quern.json("top", "--once", "--interval", "200ms")
        self.assertEqual(list(view), ["at_ms", "broker", "queues", "pools", "workers", "running",
                                      "dead", "schedules", "trouble", "troubles"])
        self.assertEqual(view["broker"]["state"], "serving")
        self.assertIn("submitted", view["broker"]["rates"])
        self.assertEqual(view["queues"][0]["name"], "nobody")
        self.assertEqual(view["queues"][0]["level"], "bad")
        self.assertIn("in_rate", view["queues"][0])
        self.assertEqual([job["id"] for job in view["running"]], [self.long])
        self.assertGreater(view["running"][0]["age_ms"], 0)
        self.assertEqual(view["dead"][0]["count"], 1)
        self.assertEqual(view["schedules"][0]["name"], "nightly")
        self.assertIn({"level": "bad", "what": "queue", "name": "nobody"},
                      [{key: row[key] for key in ("level", "what", "name")}
                       for row in view["trouble"]])

    def test_a_client_sees_what_it_may(self):
        words = ("top", "--once", "--json", "--interval", "200ms", "--broker",
                 self.quern.data / "run/client.sock")
        done = subprocess.run([BIN / "quern", *words], capture_output=True, check=False, text=True,
                              env=environment(), timeout=3 * DEADLINE_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        view = json.loads(done.stdout)
        self.assertIsNone(view["pools"])
        self.assertIsNone(view["workers"])
        self.assertEqual(view["queues"][0]["name"], "nobody")


class LostTest(TreeTest):
    CONFIG = CONFIG

    def test_a_broker_that_goes_and_comes_back(self):
        quern = self.quern
        quern.submit("nobody")
        terminal = Terminal([BIN / "quern", "top", "--interval", "200ms"], cwd=quern.path,
                            env=environment(QUERN_DATA=str(quern.data)))
        self.addCleanup(terminal.close)
        terminal.wait("epoch 1")
        # What would start it again stands still meanwhile.
        os.kill(quern.tree.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, quern.tree.pid, signal.SIGCONT)
        (broker,) = quern.pids("quern-broker")
        os.kill(broker, signal.SIGKILL)
        terminal.wait("cannot reach the broker since 1")
        terminal.wait("nobody")  # as it was last
        for keys in "?", "q", "\t", "\033[Z":
            terminal.press(keys)
        terminal.press("\r")
        terminal.wait("the broker cannot be reached")
        terminal.press("q")
        terminal.wait(", trying")
        os.kill(quern.tree.pid, signal.SIGCONT)
        terminal.wait("epoch 2")
        terminal.wait("quern: serving")
        self.assertNotIn("cannot reach", terminal.text())
        terminal.press("q")
        self.assertEqual(terminal.end(), 0)
        self.assertTrue(terminal.is_restored())

    def test_a_broker_that_is_stopped(self):
        terminal = Terminal([BIN / "quern", "top", "--interval", "200ms"], cwd=self.quern.path,
                            env=environment(QUERN_DATA=str(self.quern.data)))
        self.addCleanup(terminal.close)
        terminal.wait("quern: serving")
        (broker,) = self.quern.pids("quern-broker")
        self.addCleanup(os.kill, broker, signal.SIGCONT)
        os.kill(broker, signal.SIGSTOP)
        terminal.wait("cannot reach the broker since ")
        terminal.press("?")
        terminal.wait("quern top: help")
        terminal.press("q")
        os.kill(broker, signal.SIGCONT)
        terminal.wait("quern: serving")
        terminal.press("q")
        self.assertEqual(terminal.end(), 0)

    def test_without_a_broker_it_does_not_begin(self):
        words = [BIN / "quern", "top", "--data", self.quern.path / "nothing"]
        terminal = Terminal(words, size=(24, 200), env=environment())
        self.addCleanup(terminal.close)
        self.assertEqual(terminal.end(), 3)
        self.assertIn("no broker runs in", terminal.text())


if __name__ == "__main__":
    main()
