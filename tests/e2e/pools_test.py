#!/usr/bin/env python3
"""quern-pools: what it starts and how, restarts, scaling, draining, and what becomes of children.
The rules of docs/protocol.md that a supervisor has to do with are named where they are proven."""

import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

import quern_tree
from quern_tree import BIN, CONFIG, DEADLINE_S, Quern, TreeTest, is_alive, wait_for


class Alone(unittest.TestCase):
    """Without a broker, with a command that only writes down that it was started."""

    def setUp(self):
        self.quern = Quern()
        self.addCleanup(self.quern.close)
        self.starts = self.quern.path / "starts"
        self.pools = None

    def start(self, script, settings="restart_backoff: 100ms", to=None):
        path = self.quern.path / "worker.sh"
        path.write_text(f"echo $$ $(date +%s%N) >> {self.starts}\n{script}\n")
        self.quern.config.write_text(
            f"pools:\n  odd: {{command: 'sh {path}', stop_grace: 500ms, {settings}}}\n")
        log = open(self.quern.log, "ab")
        self.pools = subprocess.Popen(
            [BIN / "quern-pools", *(to or ["--data", self.quern.data]),
             "--config", self.quern.config],
            stderr=log, stdin=subprocess.DEVNULL, env=quern_tree.environment())
        log.close()
        self.addCleanup(self.end)

    def end(self):
        if self.pools.poll() is None:
            self.pools.kill()
        self.pools.wait()

    def started(self, n):
        """(pid, time in s) of the first n starts."""
        def read():
            lines = self.starts.read_text().splitlines() if self.starts.exists() else []
            return len(lines) >= n and [line.split() for line in lines]
        return [(int(pid), int(ns) / 1e9) for pid, ns in wait_for(f"{n} starts", read)]

    def test_environment(self):
        out = self.quern.path / "env"
        folder = self.quern.path / "elsewhere"
        folder.mkdir()
        self.start(f"env > {out}.part; pwd >> {out}.part; mv {out}.part {out}; exec sleep 600",
                   f"kinds: [a, b], slots: 7, prefetch: 3, memory_max: 1GiB, directory: {folder}")
        wait_for("its environment", out.exists)
        lines = out.read_text().splitlines()
        env = dict(line.split("=", 1) for line in lines[:-1] if "=" in line)
        self.assertEqual(lines[-1], str(folder))
        self.assertEqual(env["QUERN_DATA"], str(self.quern.data))
        self.assertEqual(env["QUERN_CONFIG"], str(self.quern.data / "run/pools.yaml"))
        self.assertEqual((self.quern.data / "run/pools.yaml").read_text(),
                         self.quern.config.read_text())
        self.assertEqual((env["QUERN_WORKER_POOL"], env["QUERN_WORKER_KINDS"]), ("odd", "a,b"))
        self.assertEqual((env["QUERN_WORKER_SLOTS"], env["QUERN_WORKER_PREFETCH"]), ("7", "3"))
        self.assertEqual(env["QUERN_WORKER_MEMORY_MAX"], str(1 << 30))
        self.assertRegex(env["QUERN_WORKER_INSTANCE"], "^[0-9a-f]{32}$")

    def test_what_it_holds_is_handed_down(self):
        """Not what the file says by now, and also where somebody has emptied the folder."""
        seen = self.quern.path / "seen"
        self.start(f"cat $QUERN_CONFIG >> {seen}; echo == >> {seen}; exec sleep 600",
                   "restart_backoff: 10ms")
        held = self.quern.config.read_text()
        broken = held + "nothing: [\n"
        for n, after in enumerate((broken, broken, held + "journal: {disk_min_free: 1GiB}\n"), 1):
            (pid, _) = self.started(n)[-1]
            wait_for("it to have read", lambda: seen.exists() and seen.read_text().count("==") == n)
            self.assertEqual(seen.read_text().split("==\n")[n - 1], held)
            self.quern.config.write_text(after)
            name = "config.refused" if after == broken else "config.reloaded"
            before = len(self.quern.events(name))
            self.pools.send_signal(signal.SIGHUP)
            wait_for(name, lambda: len(self.quern.events(name)) > before)
            if n == 2:
                (self.quern.data / "run/pools.yaml").unlink()
            os.kill(pid, signal.SIGKILL)
        self.started(4)
        wait_for("it to have read", lambda: seen.read_text().count("==") == 4)
        self.assertEqual(seen.read_text().split("==\n")[3], self.quern.config.read_text())

    def test_far_from_the_broker(self):
        """Without a data folder the copy is in a folder that is gone afterwards."""
        temporary = self.quern.path / "tmp"
        temporary.mkdir()
        os.environ["TMPDIR"] = str(temporary)
        self.addCleanup(os.environ.pop, "TMPDIR")
        nowhere = f"ipc://{self.quern.path}/nowhere.sock"
        seen = self.quern.path / "seen"
        self.start(f"cat $QUERN_CONFIG > {seen}.part; mv {seen}.part {seen}; exec sleep 600",
                   "restart_backoff: 10ms", to=["--broker", nowhere, "--workers", nowhere])
        wait_for("it to have read", seen.exists)
        self.assertEqual(seen.read_text(), self.quern.config.read_text())
        self.assertEqual(len(list(temporary.iterdir())), 1)
        self.pools.send_signal(signal.SIGTERM)
        self.assertEqual(self.pools.wait(DEADLINE_S), 0)
        self.assertEqual(list(temporary.iterdir()), [])

    def test_waits_longer_each_time(self):
        self.start("echo no luck today >&2; exit 9", "restart_backoff: 100ms")
        times = [at for _, at in self.started(5)]
        waits = [after - before for before, after in zip(times, times[1:])]
        for wait, least in zip(waits, (0.075, 0.15, 0.3, 0.6)):
            self.assertGreaterEqual(wait, least)
        died = wait_for("its death", lambda: self.quern.events("process.died"))
        self.assertEqual((died[0]["how"], died[0]["words"]), ("ended with status 9", "no luck today"))
        self.assertEqual(self.quern.events("process.said")[0]["line"], "no luck today")

    def test_recycled_at_once(self):
        self.start(f"test $(wc -l < {self.starts}) -ge 20 && exec sleep 600; exit 75",
                   "restart_backoff: 10s, restart_backoff_max: 10s")
        times = [at for _, at in self.started(20)]
        self.assertLess(times[-1] - times[0], 9)

    def test_terminated(self):
        self.start("sleep 600", "processes_min: 3")
        pids = [pid for pid, _ in self.started(3)]
        self.pools.send_signal(signal.SIGTERM)
        self.assertEqual(self.pools.wait(DEADLINE_S), 0)
        self.assertFalse(any(map(is_alive, pids)))

    def test_who_does_not_go_is_killed_with_all_it_started(self):
        inner = self.quern.path / "inner"
        self.start(f"trap '' TERM; (trap '' TERM; sleep 600) & echo $! > {inner}; "
                   "while true; do wait; done")
        (pid, _), = self.started(1)
        wait_for("its own child", lambda: inner.exists() and inner.read_text().strip())
        began = time.monotonic()
        self.pools.send_signal(signal.SIGTERM)
        self.assertEqual(self.pools.wait(DEADLINE_S), 0)
        self.assertGreaterEqual(time.monotonic() - began, 0.5)  # stop_grace
        self.assertFalse(is_alive(pid))
        wait_for("its own child to end", lambda: not is_alive(int(inner.read_text())))

    def test_second_signal_kills(self):
        self.start("trap '' TERM; while true; do sleep 1; done")
        (pid, _), = self.started(1)
        self.pools.send_signal(signal.SIGTERM)
        self.pools.send_signal(signal.SIGINT)
        self.assertEqual(self.pools.wait(DEADLINE_S), 0)
        self.assertFalse(is_alive(pid))

    def test_killed_supervisor_leaves_nothing(self):
        self.start("exec sleep 600", "processes_min: 2")
        pids = [pid for pid, _ in self.started(2)]
        self.pools.kill()
        self.pools.wait()
        wait_for("its children to end", lambda: not any(map(is_alive, pids)))

    def test_one_a_folder(self):
        self.start("exec sleep 600")
        self.started(1)
        second = subprocess.run([BIN / "quern-pools", "--data", self.quern.data], check=False,
                                capture_output=True, text=True, env=quern_tree.environment())
        self.assertEqual(second.returncode, 1)
        self.assertIn("another quern-pools runs", second.stderr)

    def test_worker_too_large_at_rest(self):
        """It says so before it takes a job, and is started again later, not at once."""
        worker = subprocess.run([BIN / "quern-worker", "--data", self.quern.data], check=False,
                                capture_output=True, text=True,
                                env=quern_tree.environment(QUERN_WORKER_MEMORY_MAX="4096"))
        self.assertEqual(worker.returncode, 77)
        self.assertRegex(worker.stderr, r"at rest it has \d+ KiB, over its memory ceiling "
                         r"\(pools.memory_max\) of 4")
        self.start("exit 77", "restart_backoff: 100ms")
        times = [at for _, at in self.started(4)]
        for wait, least in zip([b - a for a, b in zip(times, times[1:])], (0.075, 0.15, 0.3)):
            self.assertGreaterEqual(wait, least)

    def test_usage(self):
        for words in (["--nothing"], ["word"], ["--broker", "tcp://127.0.0.1:1"],
                      ["--config", "/dev/null/none"]):
            done = subprocess.run([BIN / "quern-pools", *words], check=False, capture_output=True,
                                  cwd=self.quern.path, env=quern_tree.environment())
            self.assertEqual(done.returncode, 2, words)
        self.quern.config.write_text("pools: {odd: {command: \"sh -c 'open\"}}\n")
        done = subprocess.run([BIN / "quern-pools", "--data", self.quern.data, "--config",
                               self.quern.config], check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("pools.odd: command: a ' is not closed", done.stderr)


class Scaling(TreeTest):
    def test_up_and_down(self):
        """P-62: the plan is followed; whoever is idle goes, as the broker says."""
        quern = self.quern
        quern("scale", "default=3")
        wait_for("three workers", lambda: quern.pool()["alive"] == 3)
        pool = quern.pool()
        self.assertEqual((pool["processes"], pool["at_run_time"]), (3, True))
        job = quern.submit("sleep", {"ms": 600000})
        quern.wait_state(job, "running")
        fence = quern.json("job", job)["fence"]
        quern("scale", "default=1")
        wait_for("one worker", lambda: quern.pool()["alive"] == 1)
        self.assertEqual(quern.json("job", job)["fence"], fence)  # the busy one stayed
        self.assertEqual(len(quern.pids("quern-worker")), 1)
        quern("cancel", job)
        quern("scale", "default", "--reset")
        self.assertFalse(quern.pool()["at_run_time"])
        self.assertEqual(quern.pool()["restarts"], 0)

    def test_none(self):
        quern = self.quern
        quern("scale", "default=0")
        wait_for("no worker", lambda: not quern.pids("quern-worker"))
        job = quern.submit("sleep", {"ms": 1})
        quern.wait_reason(job, "no_worker")
        quern("scale", "default", "--reset")
        quern.wait_state(job, "done")

    def test_drained_and_replaced(self):
        """P-67: by the digits of an instance, and by the name of a pool."""
        quern = self.quern
        wait_for("a worker", lambda: quern.pool()["alive"] == 1)
        job = quern.submit("sleep", {"ms": 500})
        quern.wait_state(job, "running")
        old = quern.workers()[0]
        self.assertEqual(quern("drain", old["instance"][:8]), "workers that finish and leave: 1")
        quern.wait_state(job, "done")
        wait_for("another worker", lambda: [row for row in quern.workers() if row["state"] == "active"
                                            and row["instance"] != old["instance"]])
        self.assertIn("workers that finish", quern("drain", "default"))


class Dying(TreeTest):
    def test_jobs_are_back_at_once(self):
        """P-63: the broker hears of the death before the worker's heartbeats are missed."""
        quern = self.quern
        job = quern.submit("sleep", {"ms": 600000})
        quern.wait_state(job, "running")
        fence = quern.json("job", job)["fence"]
        pid = quern.workers()[0]["pid"]
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait_for("the job to be back", lambda: quern.state(job) != "running"
                 or quern.json("job", job)["fence"] != fence)
        self.assertLess(time.monotonic() - began, 0.6)  # three heartbeats
        quern("cancel", job)

    def test_stuck_one_is_killed(self):
        """P-53, P-64: the broker has it killed, and hears of it."""
        quern = self.quern
        job = quern.submit("sleep", {"ms": 600000, "stubborn": True})
        quern.wait_state(job, "running")
        quern("cancel", job)
        quern.wait_state(job, "cancelled")
        killed = wait_for("it to be killed", lambda: quern.events("process.killed"))
        self.assertEqual(killed[0]["pool"], "default")
        wait_for("another worker", lambda: quern.pool()["alive"] == 1)
        self.assertEqual(quern("submit", "echo", "--wait"), "{}")

    def test_poison_job_ends_as_dead(self):
        """P-59: a job that ends its process does not do so for ever."""
        quern = self.quern
        job = quern.submit("crash", {"signal": 9}, "--attempts", 2)
        quern.wait_state(job, "dead")
        self.assertEqual(quern.json("job", job)["crashes"], 2)
        self.assertRegex(quern.json("job", job)["text"],
                         r"worker [0-9a-f]{12} of pool default was ended by signal 9 \(SIGKILL\)")
        history = quern.json("job", job)["history"]
        self.assertEqual([row["error"] for row in history], ["WORKER_LOST"] * 2)
        for row in history:
            self.assertIn("was ended by signal 9", row["text"])
        wait_for("another worker", lambda: quern.pool()["alive"] == 1)


class Foreign(unittest.TestCase):
    """Commands of the operator's own."""

    def test_trouble_is_told(self):
        quern = Quern(CONFIG + "  odd: {command: sh -c 'echo cannot find my files >&2; exit 2'}\n")
        self.addCleanup(quern.close)
        quern.start()
        text = wait_for("the trouble", lambda: quern.pool("odd").get("text"))
        self.assertIn("ended with status 2: cannot find my files", text)
        self.assertIn("cannot find my files", quern("status"))
        self.assertEqual(quern.pool("odd")["restarts"], 1)  # the same would happen again: it waits

    def test_no_place_at_the_broker(self):
        quern = Quern(CONFIG.replace("heartbeat: 200ms", "heartbeat: 200ms\n  workers_max: 1")
                      .replace("processes_min: 1", "processes_min: 3"))
        self.addCleanup(quern.close)
        quern.start()
        text = wait_for("the trouble", lambda: quern.pool().get("text"))
        self.assertIn("1 workers are connected, the bound (broker.workers_max)", text)
        self.assertIn("broker.workers_max", quern("status"))

    # Larger than its pool allows from the start. The signal is waited for, not handled: a handler may
    # have run just before the wait that it should have ended.
    LARGE = """import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
room = b"x" * (200 << 20)
for word in sys.argv[1:]:
    signal.sigwait({getattr(signal, word)})
"""

    def start_large(self, *signals, backoff="500ms"):
        quern = Quern()
        self.addCleanup(quern.close)
        script = quern.path / "large.py"
        script.write_text(self.LARGE)
        command = f"python3 {script} {' '.join(signals)}"
        quern.config.write_text(CONFIG + f"  large: {{command: {command}, memory_max: 64MiB, "
                                f"restart_backoff: {backoff}}}\n")
        quern.start()
        return quern

    def test_too_large(self):
        """The successor starts before it is gone."""
        quern = self.start_large("SIGTERM")
        replaced = wait_for("it to be replaced", lambda: quern.events("process.replaced"))[0]
        ended = wait_for("it to end", lambda: [event for event in quern.events("process.ended")
                                               if event.get("instance") == replaced["instance"]])
        self.assertEqual(ended[0]["how"], "ended with status 0")
        said = quern.log.read_text().splitlines()
        def place(n, name, key, value):
            return [at for at, line in enumerate(said)
                    if f'"event":"{name}"' in line and f'"{key}":"{value}"' in line][n]
        self.assertLess(place(1, "process.started", "pool", "large"),
                        place(0, "process.ended", "instance", replaced["instance"]))

    def test_too_large_again_and_again(self):
        """The first successor starts at once, further ones wait longer each time, and it is told."""
        quern = self.start_large("SIGTERM", backoff="400ms")
        wait_for("four replacements", lambda: len(quern.events("process.replaced")) >= 4)
        text = wait_for("the trouble", lambda: quern.pool("large").get("text"))
        self.assertRegex(text, r"over pools.large.memory_max \(64MiB\); the next one starts in \d")
        said = [json.loads(line) for line in quern.log.read_text().splitlines() if "large" in line]
        order = [event["event"] for event in said
                 if event["event"] in ("process.started", "process.replaced", "process.ended")]
        # Only the first one's successor starts before it has ended.
        self.assertEqual(order[:8], ["process.started", "process.replaced", "process.started",
                                     "process.ended"] + ["process.replaced", "process.ended",
                                                         "process.started", "process.replaced"])

    def test_too_large_and_does_not_go(self):
        """No pile of them: another one is replaced when the one before has ended."""
        quern = self.start_large("SIGTERM", "SIGUSR1")
        text = wait_for("the trouble", lambda: "still run" in quern.pool("large").get("text", "")
                        and quern.pool("large")["text"])
        self.assertRegex(text, r"has \d+MiB of memory \d+ s after its start, over "
                         r"pools.large.memory_max \(64MiB\), but 1 that were replaced still run")
        self.assertEqual(len(quern.events("process.replaced")), 1)
        self.assertEqual(quern.events("process.ended"), [])
        first = [event for event in quern.events("process.started") if event.get("pool") == "large"][0]
        os.kill(first["process"], signal.SIGUSR1)
        wait_for("it to end", lambda: quern.events("process.ended"))
        wait_for("the next one to be replaced", lambda: len(quern.events("process.replaced")) == 2)


if __name__ == "__main__":
    quern_tree.main()
