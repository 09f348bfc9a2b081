#!/usr/bin/env python3
"""The worker and the client of docs/examples/node, which were written from docs/protocol.md alone,
against the programs that are shipped.

P-1, P-13, P-19, P-23, P-24, P-25, P-30, P-44, P-47, P-49, P-54, P-57, P-60, P-71, P-74, P-77, P-83
and P-114 are kept by peers that share no code with the broker.
"""

import itertools
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import threading
import unittest
import urllib.request

import quern_tree
from quern_tree import DEADLINE_S, Quern, wait_for

SOURCE = pathlib.Path(os.environ["QUERN_TEST_SOURCE"])
EXAMPLES = SOURCE / "docs/examples/node"
PACKAGES = SOURCE / "build/node"
DRIVER = SOURCE / "tests/e2e/node_peer_client.mjs"

CONFIG = """
broker: {{heartbeat: 200ms, ops_listen: "127.0.0.1:0"}}
defaults: {{max_attempts: 3, backoff: 20ms}}
{kinds}
pools:
  default: {{processes_min: 0}}
  node: {{command: node {program}, processes_min: 1, processes_max: 2, slots: 4,
         prefetch: {prefetch}, restart_backoff: 50ms, stop_grace: 5s}}
"""


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def copy_examples(quern):
    """Node looks for packages in the folders above a module."""
    if not (PACKAGES / "installed").exists():
        said = PACKAGES / "npm.log"
        why = said.read_text()[-2000:] if said.exists() else "it has not run"
        raise AssertionError(f"`./dev test` has not installed packages in build/node: {why}")
    folder = quern.path / "node"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(PACKAGES / "node_modules")
    return folder


class NodeClient:
    """A process that is a client in Node; commands run side by side, in threads of its own."""

    def __init__(self, quern, module):
        self.process = subprocess.Popen(
            ["node", DRIVER, module.as_uri()], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=quern_tree.environment(QUERN_DATA=str(quern.data)))
        self.numbers = itertools.count(1)
        self.answers = {}
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            number, *answer = json.loads(line)
            self.answers[number].put(answer)

    def begin(self, *words):
        """Sends a command; what is returned waits for the answer, or raises what went wrong."""
        number = next(self.numbers)
        self.answers[number] = queue.Queue()
        self.process.stdin.write(json.dumps([number, *words]) + "\n")
        self.process.stdin.flush()

        def end():
            try:
                answer, *error = self.answers[number].get(timeout=DEADLINE_S)
            except queue.Empty:
                raise AssertionError(f"no answer within {DEADLINE_S:.0f} s: {words}") from None
            if error:
                raise RuntimeError(error[0])
            return answer

        return end

    def __call__(self, *words):
        return self.begin(*words)()

    def close(self):
        self.process.stdin.close()
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join()
            self.process.stdout.close()


class NodePeers(unittest.TestCase):
    PREFETCH = 0
    KINDS = ""  # what the workers' HELLO and DECLARE_KIND say is enough

    @classmethod
    def setUpClass(cls):
        cls.quern = Quern("")
        cls.addClassCleanup(cls.quern.close)
        folder = copy_examples(cls.quern)
        cls.quern.config.write_text(CONFIG.format(program=folder / "word_count.mjs",
                                                  prefetch=cls.PREFETCH, kinds=cls.KINDS))
        cls.quern.start()
        cls.node = NodeClient(cls.quern, folder / "quern_client.mjs")
        cls.addClassCleanup(lambda: cls.node.close())

    # --- helpers ---------------------------------------------------------------------------------

    def worker_pids(self):
        return sorted(worker["pid"] for worker in self.quern.workers())

    def running(self, count):
        wait_for(f"{count} jobs to run",
                 lambda: self.quern.json("status")["broker"]["running"] == count)

    def check_heard(self, heard, words):
        """A stream of kind `tell`; what stands before a reset is void."""
        events = heard["events"]
        while {"type": "reset"} in events:
            events = events[events.index({"type": "reset"}) + 1:]
        self.assertEqual("".join(event.get("text", "") for event in events), " ".join(words))
        last = {"type": "data", "channel": 1, "data": {"words": len(words)}}
        self.assertEqual(events[-1], last)
        self.assertEqual((heard["end"]["whole"], heard["end"]["state"]), (True, "done"))

    def end(self, *submission):
        return self.node("wait", self.node("submit", *submission))


class Jobs(NodePeers):
    def test_done(self):
        end = self.end("word_count", {"text": "a b  c"})
        self.assertEqual((end["state"], end["result"]["words"], end["attempts"]), ("done", 3, 0))

    def test_options(self):
        job = self.node("submit", "word_count", {"text": "a", "big": 2**40},
                        {"queue": "other", "priority": 6, "key": "k", "unique": "u", "delay_ms": 10,
                         "ttl_ms": 60000, "timeout_ms": 5000, "trace": TRACE, "watch": True,
                         "durability": "async"})
        self.assertEqual(self.node("wait", job)["state"], "done")
        info = self.node("job", job)
        fields = ("queue", "priority", "key", "unique", "trace", "timeout_ms")
        self.assertEqual([info[field] for field in fields], ["other", 6, "k", "u", TRACE, 5000])
        self.assertEqual(info["payload"], {"text": "a", "big": 2**40})
        self.assertEqual(info["result"]["words"], 1)

    def test_retried(self):
        end = self.end("word_count", {"text": "a", "fail_first": 2})
        self.assertEqual((end["state"], end["result"]["attempt"]), ("done", 3))

    def test_dead(self):
        end = self.end("word_count", {"text": "a", "fail_first": 9})
        self.assertEqual((end["state"], end["error"], end["attempts"]), ("dead", 75, 3))
        self.assertIn("attempt 3 fails", end["text"])

    def test_rejected(self):
        end = self.end("word_count", {"nothing": 1})
        self.assertEqual((end["state"], end["error"], end["text"]),
                         ("dead", 76, "payload.text is missing"))

    def test_held(self):
        """A hold costs no attempt."""
        end = self.end("word_count", {"text": "a", "hold_for_ms": 50}, {"attempts_max": 1})
        self.assertEqual((end["state"], end["result"]["attempt"]), ("done", 1))

    def test_cancelled(self):
        job = self.node("submit", "word_count", {"text": "a", "wait_ms": 60000})
        self.quern.wait_state(job, "running")
        self.node("cancel", job, "not wanted any more")
        end = self.node("wait", job)
        self.assertEqual((end["state"], end["error"]), ("cancelled", 71))
        with self.assertRaisesRegex(RuntimeError, "ALREADY_DONE"):
            self.node("cancel", job)

    def test_cancelled_before_it_runs(self):
        job = self.node("submit", "word_count", {"text": "a"}, {"delay_ms": 60000})
        self.node("cancel", job)
        self.assertEqual(self.node("wait", job)["state"], "cancelled")

    def test_timeout(self):
        end = self.end("word_count", {"text": "a", "wait_ms": 60000},
                       {"timeout_ms": 100, "attempts_max": 1})
        self.assertEqual((end["state"], end["error"]), ("dead", 73))

    def test_progress(self):
        job = self.node("submit", "word_count", {"text": "a b c", "wait_ms": 60000})
        wait_for("progress", lambda: self.node("job", job).get("progress_total") == 3)
        self.node("cancel", job)
        self.node("wait", job)

    def test_result_too_large(self):
        end = self.end("word_count", {"text": "a", "pad": 100000})
        self.assertEqual((end["state"], end["error"]), ("dead", 77))
        self.assertIn("at most 65536", end["text"])

    def test_refusals(self):
        for kind, payload, options, said in (
                ("nothing_of_the_kind", {}, {}, "UNKNOWN_KIND: submit.kind"),
                ("word_count", {}, {"priority": 9}, "BAD_ROLE"),
                ("word_count", {"text": "x" * 1100000}, {}, "TOO_LARGE|BAD_VALUE")):
            with self.assertRaisesRegex(RuntimeError, said):
                self.node("submit", kind, payload, options)
        ids = ("0000000000001", "fzzzzzzzzzzzz")
        for command, job in itertools.product(("wait", "job", "cancel"), ids):
            with self.assertRaisesRegex(RuntimeError, f"NOT_FOUND: job {job}"):
                self.node(command, job)
        job = self.node("submit", "word_count", {"text": "a"}, {"delay_ms": 60000})
        with self.assertRaisesRegex(RuntimeError, "WAIT_TIMEOUT"):
            self.node("wait_for", job, 10)

    def test_unique(self):
        job = ["word_count", {"text": "a"}, {"unique": "once"}]
        first, second = self.node("submit_many", [job, job])
        self.assertEqual(first["id"], second["id"])
        self.assertEqual([first["duplicate"], second["duplicate"]], [False, True])

    def test_many(self):
        """2,000 jobs in messages of at most 1,024."""
        jobs = [["word_count", {"text": f"job {n}"}, {"watch": True}] for n in range(2000)]
        taken = self.node("submit_many", jobs)
        ends = self.node("wait_all", [job["id"] for job in taken])
        self.assertEqual({(end["state"], end["result"]["words"]) for end in ends}, {("done", 2)})
        listed = self.node("list", {"kind": "word_count"})
        self.assertLessEqual({job["id"] for job in taken}, {job["id"] for job in listed})


class StreamsAndFlows:
    WORDS = [f"w{n}ß" for n in range(600)]

    def test_stream(self):
        job = self.node("submit", "tell", {"text": " ".join(self.WORDS)})
        self.check_heard(self.node("follow", job), self.WORDS)

    def test_while_it_runs_and_late(self):
        """One comes while it runs, and one when it has ended."""
        job = self.node("submit", "tell", {"text": " ".join(self.WORDS[:50]), "pause_ms": 5})
        first = self.node.begin("follow", job)
        wait_for("the first words", lambda: self.node("heard", job))
        self.assertEqual(self.quern.state(job), "running")
        self.check_heard(first(), self.WORDS[:50])
        self.check_heard(self.node("follow", job), self.WORDS[:50])

    def test_reset(self):
        job = self.node("submit", "tell", {"text": "a b c", "begin": "what is void"})
        self.check_heard(self.node("follow", job), ["a", "b", "c"])

    def test_no_stream(self):
        job = self.node("submit", "word_count", {"text": "a b"})
        heard = self.node("follow", job)
        self.assertEqual((heard["events"], heard["end"]["result"]["words"]), ([], 2))

    def test_children(self):
        """By SPAWN, in an order and once each; and with SUBMIT."""
        job = self.node("submit", "word_count", {"text": "a\nb c\nd e f", "split": True},
                        {"trace": TRACE})
        self.assertEqual(self.node("wait", job)["result"]["lines"], 3)
        wait_for("the flow to settle", lambda: self.node("job", job).get("settled"))
        below = self.node("list", {"parent": job})
        self.assertEqual([child["state"] for child in below], ["done"] * 3)
        trace = self.node("job", below[0]["id"])["trace"]  # P-110: a span of the attempt's own
        self.assertEqual((trace[:36], trace[52:]), (TRACE[:36], TRACE[52:]))
        self.assertNotEqual(trace, TRACE)
        children = [["word_count", {"text": "x"}], ["word_count", {"text": "y"}, {"then": True}]]
        job = self.node("submit", "word_count", {"text": "a"}, {"children": children})
        wait_for("the flow to settle", lambda: self.node("job", job).get("settled"))
        self.assertEqual(self.node("job", job)["below_done"], 2)

    def test_children_refused(self):
        end = self.end("word_count", {"text": "a", "split": True, "split_kind": "tell"})
        self.assertEqual(end["state"], "dead")
        self.assertIn("may_spawn", end["text"])


class Deaths:
    def waiting(self, count, ms):
        jobs = count * [["word_count", {"text": "a", "wait_ms": ms}, {"watch": True}]]
        return [job["id"] for job in self.node("submit_many", jobs)]

    def check_done(self, jobs):
        for end in self.node("wait_all", jobs):
            self.assertEqual((end["state"], end["result"]["words"]), ("done", 1), end)

    def dispatches(self):
        ops = self.quern.json("status")["broker"]["ops"]
        with urllib.request.urlopen(f"http://{ops}/metrics") as page:
            figures = dict(line.rsplit(" ", 1) for line in page.read().decode().splitlines())
        return float(figures["quern_dispatches_total"])

    def test_worker_killed(self):
        jobs = self.waiting(12, 200)
        wait_for("jobs to run", lambda: self.quern.json("status")["broker"]["running"] > 3)
        for pid in self.worker_pids():
            os.kill(pid, signal.SIGKILL)
        self.check_done(jobs)

    def silence(self):
        """Stops the broker, until the client has heard nothing for so long that it has connected
        anew. What ran for less than that has ended by then."""
        broker, = self.quern.pids("quern-broker")
        before = self.node("connections")
        os.kill(broker, signal.SIGSTOP)
        wait_for("another connection", lambda: self.node("connections") > before)
        return broker

    def kill_broker(self, broker):
        os.kill(broker, signal.SIGKILL)
        wait_for("another broker", lambda: self.quern.pids("quern-broker") not in ([], [broker]))
        wait_for("it to serve", lambda: self.quern.run("status").returncode == 0)

    def test_broker_killed(self):
        """While jobs run, and while results wait for their acknowledgement: no attempt is lost,
        each job ends once, and the client watches again what it watched. Of a stream that is said
        meanwhile nothing is missing in the end."""
        words = [f"w{n}" for n in range(100)]
        told = self.node("submit", "tell", {"text": " ".join(words), "pause_ms": 10})
        heard = self.node.begin("follow", told)
        wait_for("the first words", lambda: self.node("heard", told))
        jobs = self.waiting(40, 60)
        before = self.worker_pids()
        self.running(8)
        self.kill_broker(self.quern.pids("quern-broker")[0])
        wait_for("jobs to end", lambda: self.quern.json("status")["broker"]["done"])
        once = self.node.begin("submit", "word_count", {"text": "a"}, {"unique": "over a restart"})
        self.kill_broker(self.silence())
        self.assertEqual(self.node("wait", once())["state"], "done")
        ends = self.node("wait_all", jobs)
        told = {(end["state"], end["result"]["attempt"], end["attempts"]) for end in ends}
        self.assertEqual(told, {("done", 1, 0)})
        self.check_heard(heard(), words)
        self.assertEqual(self.worker_pids(), before)

    def test_broker_stopped(self):
        """A client that hears nothing connects anew and asks the same again: that is done once."""
        broker, = self.quern.pids("quern-broker")
        os.kill(broker, signal.SIGSTOP)
        job = self.node.begin("submit", "word_count", {"text": "a"}, {"queue": "once"})
        os.kill(self.silence(), signal.SIGCONT)
        self.assertEqual(self.node("wait", job())["state"], "done")
        self.assertEqual(len(self.node("list", {"queue": "once"})), 1)

    def test_unknown(self):
        """What a broker had not answered when it was killed may have been accepted, or not."""
        broker, = self.quern.pids("quern-broker")
        os.kill(broker, signal.SIGSTOP)
        job = self.node.begin("submit", "word_count", {"text": "a"})
        self.node("connections")  # it has read both commands
        self.kill_broker(broker)
        with self.assertRaisesRegex(RuntimeError, "UNKNOWN_OUTCOME: submit: unknown whether"):
            job()

    def test_worker_stopped(self):
        """Its jobs are given up; when it goes on it hears that they are not its own any more."""
        jobs = self.waiting(4, 200)
        self.running(4)
        pid, = self.worker_pids()
        os.kill(pid, signal.SIGSTOP)
        self.running(0)
        os.kill(pid, signal.SIGCONT)
        self.check_done(jobs)
        self.assertEqual(self.worker_pids(), [pid])

    def test_scale_and_drain(self):
        """Two processes; one is drained while its jobs run, and those are finished."""
        self.quern("scale", "node=2")
        wait_for("two workers", lambda: self.quern.pool("node")["alive"] == 2)
        before = self.worker_pids()
        jobs = self.waiting(24, 100)
        self.quern("drain", "node")
        self.check_done(jobs)
        wait_for("their successors", lambda: not set(before) & set(self.worker_pids())
                 and self.quern.pool("node")["alive"] == 2)
        self.assertEqual(self.quern.pool("node")["restarts"], 0)
        self.quern("scale", "node=1")
        wait_for("one worker", lambda: self.quern.pool("node")["alive"] == 1)

    def test_recalled(self):
        """A queue that is paused takes back what no slot has."""
        jobs = self.waiting(8, 400)
        self.running(8)  # four of them in slots
        self.quern("pause", "word_count")
        self.running(4)
        self.quern("resume", "word_count")
        self.check_done(jobs)

    def test_terminated(self):
        """SIGTERM: what runs is finished, the rest goes back, and nothing is lost."""
        before = self.dispatches()
        jobs = self.waiting(1, 600) + self.waiting(20, 150)
        wait_for("jobs to run", lambda: self.quern.json("status")["broker"]["running"] > 3)
        pid, = self.worker_pids()
        os.kill(pid, signal.SIGTERM)
        wait_for("it to end", lambda: not quern_tree.is_alive(pid))
        self.check_done(jobs)
        # P-114: nothing was given to it again and again, only to come back.
        self.assertLess(self.dispatches() - before, 2 * len(jobs))


class Ends:
    def test_down(self):
        """`quern down` lets what runs finish; all processes end with status 0."""
        job = self.node("submit", "word_count", {"text": "a b", "wait_ms": 300})
        self.quern.wait_state(job, "running")
        before = len(self.quern.events("process.died"))
        status = self.quern.stop()
        self.quern.start()
        self.assertEqual((status, len(self.quern.events("process.died"))), (0, before))
        self.assertEqual(self.node("wait", job)["result"], {"words": 2, "attempt": 1})

    def test_orphan(self):
        """Without supervisor and broker a worker has nobody to report to, and ends."""
        pid, = self.worker_pids()
        self.quern.tree.kill()
        self.quern.tree.wait()
        wait_for("the worker to end", lambda: not quern_tree.is_alive(pid))
        self.quern.start()


class Keys(unittest.TestCase):
    """P-103: by TCP, with keys; the worker is started by hand."""

    CONFIG = """
broker:
  key_file: {file}
  tcp_worker: tcp://127.0.0.1:*
  tcp_operator: tcp://127.0.0.1:*
streams: {{tcp_worker: "tcp://127.0.0.1:*", tcp_reader: "tcp://127.0.0.1:*"}}
pools: {{default: {{processes_min: 0}}}}
keys:
{keys}
"""

    def node(self, role, program, *words):
        ready = self.quern.events("broker.ready")[-1]
        key = self.quern.data / "keys" / f"{role}.key"
        where = ready["tcp_operator" if role == "operator" else "tcp_worker"]
        env = quern_tree.environment(QUERN_BROKER=where, QUERN_KEY_FILE=str(key))
        process = subprocess.Popen(["node", self.folder / program, *words], env=env, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdout.close()))
        return process

    def test_by_tcp(self):
        self.quern = Quern("")
        self.addCleanup(self.quern.close)
        self.folder = copy_examples(self.quern)
        server = self.quern.json("keygen", "--server")
        keys = [self.quern("keygen", role, "--role", role) for role in ("worker", "operator")]
        self.quern.config.write_text(self.CONFIG.format(
            file=server["file"], keys="\n".join("  " + key for key in keys)))
        self.quern.start()
        misled = self.node("nobody", "word_count.mjs")
        self.assertIn("nobody.key", misled.communicate(timeout=DEADLINE_S)[0])
        self.assertEqual(misled.returncode, 2)
        worker = self.node("worker", "word_count.mjs")
        wait_for("the worker", self.quern.workers)
        told, _ = self.node("operator", "ask.mjs", "a b", "c").communicate(timeout=DEADLINE_S)
        self.assertRegex(told, r"^\w+ done 2\n\w+ done 1\na b c { words: 3 }\n$")
        worker.terminate()
        self.assertEqual((worker.communicate(timeout=DEADLINE_S)[0], worker.returncode), ("", 0))


class Together(StreamsAndFlows, Deaths, Ends, NodePeers):
    # What a job may spawn is for the configuration alone to say.
    KINDS = "kinds: {word_count: {may_spawn: [word_count]}}"
    PREFETCH = 4


if __name__ == "__main__":
    quern_tree.main()
