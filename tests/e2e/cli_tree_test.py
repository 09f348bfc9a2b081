#!/usr/bin/env python3
"""quern up, down, reload: the tree as a whole, and what is left when parts of it are killed."""

import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

import quern_tree
from quern_tree import BIN, CONFIG, DEADLINE_S, Quern, is_alive, wait_for

READY_S = 5
HEARD_S = DEADLINE_S / 20  # after broker and result are there


def kill(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def sleeps_for_long(pid):
    """Whether all its threads wait for something, at each of several looks."""
    def asleep(thread):
        return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "S"
    threads = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
    return all(all(map(asleep, threads)) for _ in range(1000))


class Tree(unittest.TestCase):
    def setUp(self):
        self.quern = Quern()
        self.addCleanup(self.quern.close)

    def test_life(self):
        quern = self.quern
        self.assertIn("start it with: quern up", quern.fails(3, "status"))
        quern.fails(3, "down")
        quern.fails(3, "reload")
        began = time.monotonic()
        line = quern.start()
        self.assertIn(f"ipc://{quern.data}/run/client.sock", line)
        self.assertIn("default 1/1", line)
        self.assertLess(time.monotonic() - began, READY_S)
        self.assertIn("runs in", quern.fails(1, "up", "--config", quern.config))
        self.assertEqual(quern("submit", "echo", "--wait"), "{}")
        pids = quern.pids("quern-worker") + quern.pids("quern-pools") + quern.pids("quern-broker")
        self.assertEqual(len(pids), 3)
        self.assertEqual(quern("down"), "")
        self.assertEqual(quern.tree.wait(DEADLINE_S), 0)
        self.assertFalse(any(map(is_alive, pids)))
        quern.fails(3, "down")

    def test_interrupted_lets_jobs_finish(self):
        quern = self.quern
        quern.start()
        job = quern.submit("sleep", {"ms": 700})
        quern.wait_state(job, "running")
        fence = quern.json("job", job)["fence"]
        quern.tree.send_signal(signal.SIGINT)
        self.assertEqual(quern.tree.wait(DEADLINE_S), 0)
        quern.start()
        self.assertEqual(quern.state(job), "done")
        self.assertEqual(quern.json("job", job)["fence"], fence)

    def test_interrupted_twice_stops_now(self):
        quern = self.quern
        quern.start()
        job = quern.submit("sleep", {"ms": 600000, "stubborn": True})
        quern.wait_state(job, "running")
        began = time.monotonic()
        self.assertIn("goes on ending", quern.fails(5, "down", "--timeout", "100ms"))
        quern("down", "--now")
        self.assertEqual(quern.tree.wait(DEADLINE_S), 0)
        self.assertLess(time.monotonic() - began, 5)

    def test_detach(self):
        quern = self.quern
        self.assertIn("quern is ready", quern("up", "--detach", "--config", quern.config))
        self.assertEqual(quern("submit", "echo", "--wait"), "{}")
        self.assertIn("tree.ready", (quern.data / "log" / "quern.log").read_text())
        self.assertIn("runs in", quern.fails(1, "up", "--detach", "--config", quern.config))
        quern("down")
        quern.fails(3, "status")

    def test_detach_tells_what_is_wrong(self):
        quern = self.quern
        quern.config.write_text("broker: {heartbeat: never}\nnothing: {}\n")
        said = quern.fails(2, "up", "--detach", "--config", quern.config)
        self.assertIn("broker.heartbeat", said)
        self.assertIn("nothing", said)
        quern.config.write_text(CONFIG)
        (quern.data / "run").mkdir(parents=True, mode=0o755)
        (quern.data / "run").chmod(0o755)
        quern.fails(1, "up", "--detach", "--config", quern.config)
        self.assertIn("chmod 0700", (quern.data / "log" / "quern.log").read_text())

    def test_no_worker_program(self):
        quern = self.quern
        quern.config.write_text(CONFIG + "  lost: {command: no-such-program}\n")
        quern.start()
        wait_for("the trouble to be told", lambda: quern.pool("lost").get("text"))
        self.assertIn("no-such-program", quern.pool("lost")["text"])
        rows = quern.json("doctor", status=1)
        self.assertTrue(any("no-such-program" in row["text"] for row in rows))

    def test_doctor_probes_each_pool(self):
        quern = self.quern
        quern.config.write_text(CONFIG + "  twin: {slots: 4}\n  odd: {kinds: [fail]}\n"
                                "  lazy: {kinds: [sleep]}\n")
        quern.start()
        rows = quern.json("doctor")
        probes = {row["text"].split(":")[0]: row for row in rows if row["about"] == "probe"}
        self.assertEqual(sorted(probes), ["default", "lazy", "odd", "twin"])
        self.assertEqual({row["verdict"] for row in probes.values()}, {"ok"})
        self.assertIn("neither echo nor sleep", probes["odd"]["text"])
        for pool in ("default", "lazy", "twin"):
            self.assertRegex(probes[pool]["text"], "a job of kind|it ran [0-9]+ of [0-9]+ jobs")
        text = quern("doctor")
        self.assertEqual(len([line for line in text.splitlines() if " probe " in line]), 4)

    def test_doctor_tells_at_once_why_a_probe_waits(self):
        """And takes back what it sent: the next probe counts its own jobs only."""
        quern = self.quern
        quern.config.write_text(CONFIG + "  twin: {slots: 4}\nqueues:\n  sleep: {paused: true}\n")
        quern.start()
        quern("submit", "echo", "--wait")
        quern("pause", "echo")
        began = time.monotonic()
        said = [row for row in quern.json("doctor") if row["about"] == "probe"]
        self.assertLess(time.monotonic() - began, 4)
        self.assertEqual({row["verdict"] for row in said}, {"warn"})
        for row, pool in zip(said, ("default", "twin")):
            self.assertIn(f"{pool}: not probed", row["text"])
            self.assertIn("queue echo is paused, by a command at run time", row["text"])
        self.assertEqual(quern.json("jobs", "--state", "ready"), [])
        quern("resume", "echo")
        probed = {row["text"].split(":")[0]: row for row in quern.json("doctor")
                  if row["about"] == "probe"}
        text = " ".join(row["text"] for row in probed.values())
        self.assertIn("a job of kind echo took", text)
        if "not probed" in text:  # the same pool took both
            self.assertIn("queue sleep is paused, by the configuration", text)

    def test_doctor_does_not_take_others_jobs_for_its_own(self):
        quern = self.quern
        quern.start()
        load = subprocess.Popen(
            [BIN / "quern", "bench", "roundtrip", "--durability", "none", "--count", "1000000"],
            stdout=subprocess.DEVNULL, env=quern_tree.environment(QUERN_DATA=str(quern.data)))
        self.addCleanup(load.wait)
        self.addCleanup(load.kill)
        wait_for("load", lambda: quern.workers() and quern.workers()[0]["done"] > 100)
        told, = [row for row in quern.json("doctor") if row["about"] == "probe"]
        self.assertIn("meanwhile, not only the probe's", told["text"])


class Killed(unittest.TestCase):
    def setUp(self):
        self.quern = Quern()
        self.addCleanup(self.quern.close)
        self.quern.start()

    def test_worker(self):
        quern = self.quern
        job = quern.submit("sleep", {"ms": 1500})
        quern.wait_state(job, "running")
        fence = quern.json("job", job)["fence"]
        kill(quern.pids("quern-worker"))
        wait_for("another attempt", lambda: quern.json("job", job).get("fence") != fence)
        quern.wait_state(job, "done")
        pool = quern.pool()
        self.assertEqual((pool["alive"], pool["restarts"]), (1, 1))
        self.assertIn("signal 9", pool["text"])

    def test_supervisor(self):
        quern = self.quern
        job = quern.submit("sleep", {"ms": 1000})
        quern.wait_state(job, "running")
        old = quern.pids("quern-pools") + quern.pids("quern-worker")
        kill(quern.pids("quern-pools"))
        quern.wait_state(job, "done")
        wait_for("its workers to go", lambda: not any(map(is_alive, old)))
        wait_for("other workers", lambda: quern.pool()["alive"] == 1)
        self.assertEqual(quern.json("job", job)["attempts"], 0)  # it cost the job nothing

    def test_broker(self):
        quern = self.quern
        waiting = subprocess.Popen(
            [BIN / "quern", "submit", "sleep", "--payload", '{"ms":1500}', "--wait"],
            stdout=subprocess.PIPE, env=quern_tree.environment(QUERN_DATA=str(quern.data)))
        job = wait_for("the job to run", lambda: quern.json("jobs", "--state", "running"))[0]["id"]
        kept = quern.submit("nobody")
        kill(quern.pids("quern-broker"))
        said, _ = waiting.communicate(timeout=DEADLINE_S)
        self.assertEqual(waiting.returncode, 0)
        self.assertIn(b"slept_ms", said)
        self.assertEqual(quern.state(job), "done")
        self.assertEqual(quern.state(kept), "ready")
        self.assertEqual(quern.json("status")["broker"]["epoch"], 2)

    def test_who_waits_over_a_restart_hears_in_time(self):
        """Of a job that ended while the broker was away, of one that ran on, of one behind it."""
        quern = self.quern
        def submit(ms, *options):
            return subprocess.Popen(
                [BIN / "quern", "submit", "sleep", "--payload", json.dumps({"ms": ms}), "--wait",
                 *options], stdout=subprocess.PIPE,
                env=quern_tree.environment(QUERN_DATA=str(quern.data)))
        clients = {"ended": submit(300), "ran on": submit(1500, "--key", "k")}
        wait_for("them to run", lambda: len(quern.json("jobs", "--state", "running")) == 2)
        clients["behind"] = submit(100, "--key", "k")
        wait_for("it to wait", lambda: quern.json("jobs", "--state", "blocked"))
        began = time.monotonic()
        kill(quern.pids("quern-broker"))
        wait_for("another broker", lambda: quern.run("status").returncode == 0)
        back = time.monotonic() - began
        took = {}
        for name, least in (("ended", 0), ("ran on", 1.5), ("behind", 1.6)):
            said, _ = clients[name].communicate(timeout=DEADLINE_S)
            took[name] = time.monotonic() - began
            self.assertEqual((clients[name].returncode, b"slept_ms" in said), (0, True), name)
            self.assertLess(took[name], max(back, least) + HEARD_S, (name, back, took))

    def test_unknown_whether_accepted(self):
        quern = self.quern
        batch = subprocess.Popen(
            [BIN / "quern", "submit", "nobody", "--batch", "-"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=quern_tree.environment(QUERN_DATA=str(quern.data)))
        line, chunk = b'{"n":1}\n', 8192  # jobs that are sent together
        batch.stdin.write(line * (chunk + 1))
        batch.stdin.flush()
        for _ in range(chunk):
            self.assertEqual(len(batch.stdout.readline()), 14)
        broker = quern.pids("quern-broker")
        os.kill(broker[0], signal.SIGSTOP)
        batch.stdin.write(line * 10)
        batch.stdin.close()
        wait_for("the rest to be sent", lambda: sleeps_for_long(batch.pid))
        kill(broker)
        said = batch.stderr.read().decode()
        self.assertEqual(batch.wait(DEADLINE_S), 5, said)
        self.assertIn("unknown", said)
        batch.stdout.close()
        batch.stderr.close()

    def test_root(self):
        """Without its root the rest ends by itself, and the next tree does not wait for it."""
        quern = self.quern
        old = [pid for name in ("broker", "pools", "worker") for pid in quern.pids(f"quern-{name}")]
        self.assertEqual(len(old), 3)
        job = quern.submit("nobody")
        quern.tree.kill()
        quern.tree.wait()
        began = time.monotonic()
        quern.start()
        self.assertLess(time.monotonic() - began, READY_S)
        self.assertEqual(quern.state(job), "ready")
        wait_for("the old processes to end", lambda: not any(map(is_alive, old)))
        wait_for("one worker", lambda: quern.pool()["alive"] == 1)

    def test_everything(self):
        quern = self.quern
        job = quern.submit("sleep", {"ms": 1000}, "--attempts", 3)
        kept = quern.submit("nobody")
        quern.wait_state(job, "running")
        old = [pid for name in ("broker", "pools", "worker") for pid in quern.pids(f"quern-{name}")]
        quern.tree.kill()
        kill(old)
        quern.tree.wait()
        began = time.monotonic()
        quern.start()
        self.assertLess(time.monotonic() - began, READY_S)
        self.assertEqual(quern.state(kept), "ready")
        quern.wait_state(job, "done")


class Reload(unittest.TestCase):
    def setUp(self):
        self.quern = Quern()
        self.addCleanup(self.quern.close)
        self.quern.start()

    def test_applied_and_restart(self):
        quern = self.quern
        quern("submit", "echo", "--queue", "chat", "--wait")
        quern.config.write_text(CONFIG.replace("slots: 4", "slots: 8") +
                                "queues:\n  chat: {concurrency: 3}\ndefaults: {timeout: 7m}\n")
        told = quern.json("reload")
        self.assertIn("defaults.timeout: 5m -> 7m", told["applied"])
        self.assertIn("queues.chat added", told["applied"])
        self.assertEqual(told["restart"], ["pools.default.slots: 4 -> 8"])
        wait_for("the limit", lambda: quern.json("queues", "chat")[0]["concurrency"] == 3)
        text = quern("reload")
        self.assertIn("nothing new to apply", text)
        self.assertIn("needs a restart: pools.default.slots: 4 -> 8", text)

    def test_all_or_nothing(self):
        quern = self.quern
        quern("submit", "echo", "--queue", "chat", "--wait")
        quern.config.write_text(CONFIG + "queues:\n  chat: {concurrency: 3, burst: many}\n")
        self.assertIn("queues.chat.burst", quern.fails(2, "reload"))
        self.assertEqual(quern.json("queues", "chat")[0]["concurrency"], 0)
        self.assertEqual(len(quern.json("reload", status=2)["errors"]), 1)

    def doctor(self, about, *options):
        return [row for row in self.quern.json("doctor", *options) if row["about"] == about]

    def test_refused_file_stops_nobody(self):
        """What dies comes back with the settings that were last accepted, not with the file's."""
        quern = self.quern
        quern.config.write_text(CONFIG + "queues:\n  chat: {concurrency: 3}\n")
        quern("reload")
        quern("submit", "echo", "--queue", "chat", "--wait")
        quern.config.write_text(CONFIG + "queues:\n  chat: {concurrency: 9\n")
        self.assertIn("quern.yaml:", quern.fails(2, "reload"))
        for names in (["worker"], ["broker"], ["broker", "worker", "pools"]):
            old = [pid for name in names for pid in quern.pids(f"quern-{name}")]
            self.assertEqual(len(old), len(names))
            kill(old)
            wait_for("them to come back", lambda: all(
                set(quern.pids(f"quern-{name}")) - set(old) for name in names))
            self.assertEqual(quern("submit", "echo", "--queue", "chat", "--wait"), "{}")
            wait_for("one worker", lambda: quern.pool()["alive"] == 1)
            self.assertEqual(quern.json("queues", "chat")[0]["concurrency"], 3)
        self.assertIn("quern.yaml:", quern.fails(2, "reload"))
        told, = self.doctor("config")
        self.assertEqual(told["verdict"], "warn")
        self.assertIn("quern.yaml:", told["text"])
        self.assertIn("quern reload", told["advice"])

    def test_pool_taken_out_of_the_file(self):
        """That needs a restart: until then its workers come back."""
        quern = self.quern
        quern.config.write_text("pools:\n  other: {}\n")
        self.assertIn("pools.default removed", quern.json("reload")["restart"])
        kill(quern.pids("quern-worker"))
        wait_for("another worker", lambda: quern.events("process.died") and
                 [row for row in quern.workers() if row["pool"] == "default"])

    def test_doctor_judges_by_what_runs(self):
        quern = self.quern
        self.assertEqual(self.doctor("config")[0]["verdict"], "ok")
        self.assertIn("256.0MiB", self.doctor("disk")[0]["text"])
        quern.config.write_text(CONFIG + "journal: {disk_min_free: 1MiB}\n")
        told, = self.doctor("config")
        self.assertIn("1 of its settings", told["text"])
        self.assertEqual((told["verdict"], told["advice"]), ("warn", "quern reload"))
        self.assertIn("256.0MiB", self.doctor("disk")[0]["text"])
        quern("reload")
        self.assertEqual(self.doctor("config")[0]["verdict"], "ok")
        self.assertIn("1.0MiB", self.doctor("disk")[0]["text"])


if __name__ == "__main__":
    quern_tree.main()
