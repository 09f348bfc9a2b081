#!/usr/bin/env python3
"""The worker and the client of docs/examples/python, written from docs/protocol.md alone, with the
real programs: what they do when all is well, and when somebody is killed."""

import json
import os
import pathlib
import re
import signal
import sys
import threading
import unittest

import quern_tree
from quern_tree import DEADLINE_S, TreeTest, wait_for

SOURCE = pathlib.Path(os.environ["QUERN_TEST_SOURCE"])
EXAMPLE = SOURCE / "docs/examples/python"
sys.path.insert(0, str(EXAMPLE))

import msgpack  # noqa: E402  (the path comes first)
import quern_peer  # noqa: E402
from quern_client import Client, QuernError  # noqa: E402
from quern_peer import Code  # noqa: E402

ALREADY_DONE, UNKNOWN_KIND = 34, 31
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TEXT = "the quick brown fox jumps over the lazy dog " * 8


def config(script, pool="", more=""):
    return f"""
broker: {{heartbeat: 200ms}}
journal: {{segment_size: 8MiB, disk_min_free: 0}}
pools:
  python:
    command: '"{sys.executable}" -B "{script}"'
    processes_min: 1
    processes_max: 4
    restart_backoff: 50ms
    stop_grace: 5s
    {pool}
{more}
"""


class PythonTest(TreeTest):
    """A tree whose only workers are in Python; no kind of theirs is in the configuration."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = Client(str(cls.quern.data), role="gateway", timeout=DEADLINE_S)
        cls.addClassCleanup(cls.client.close)
        wait_for("a worker", cls.quern.workers)

    def ends(self, job, state="done"):
        end = self.client.wait(job.id, DEADLINE_S)
        self.assertEqual(end.state, state, end)
        return end

    def run_job(self, kind, payload, state="done", **options):
        return self.ends(self.client.submit(kind, payload, watch=True, **options), state)

    def run(self, result=None):
        """What was at work when a test fails is in its output."""
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            print(self.quern.log_tail(), self.quern.run("jobs", "--limit", "9").stdout,
                  self.quern.run("workers").stdout, file=sys.stderr)

    def worker_pid(self):
        [worker] = wait_for("one worker", lambda: [w for w in self.quern.workers()])
        return worker["pid"]

    def broker_pid(self):
        [pid] = self.quern.pids("quern-broker")
        return pid

    def kill_broker(self):
        """It is started again by `quern up`."""
        before = len(self.quern.events("broker.ready"))
        os.kill(self.broker_pid(), signal.SIGKILL)
        wait_for("the next broker", lambda: len(self.quern.events("broker.ready")) > before)


class Words(PythonTest):
    """The example worker as it is shipped."""

    CONFIG = config(EXAMPLE / "word_count.py", "slots: 4\n    prefetch: 4")

    def test_how_jobs_end(self):
        end = self.run_job("word_count", {"text": "one two three"})
        self.assertEqual(end.result, {"words": 3, "attempt": 1})
        # P-48: failed attempts are repeated, until one is good or none is left.
        retry = {"backoff_ms": 1}
        end = self.run_job("word_count", {"text": "fail", "good": 3}, **retry)
        self.assertEqual((end.result["attempt"], end.failed), (3, 2))
        end = self.run_job("word_count", {"text": "fail"}, "dead", attempts_max=2, **retry)
        self.assertEqual((end.error, end.text), (Code.JOB_FAILED, "attempt 2 of None"))
        end = self.run_job("word_count", {"words": 1}, "dead")
        self.assertEqual((end.error, end.text), (Code.JOB_REJECTED, "text: missing, or no text"))
        # A defect fails with its traceback, whose last line P-95 makes the words of the group.
        end = self.run_job("tell", {}, "dead", attempts_max=1)
        self.assertTrue(end.text.startswith("Traceback"), end.text)
        self.assertTrue(end.text.rstrip().endswith("KeyError: 'text'"), end.text)

    def test_hold(self):
        """It costs no attempt, however often."""
        after = self.client.get(self.client.submit("word_count", {"text": ""}).id)["created_ms"]
        end = self.run_job("word_count", {"text": "x", "after": after / 1000 + 0.5},
                           attempts_max=1)
        self.assertEqual((end.failed, end.result["attempt"]), (0, 1))

    def test_cancel_while_it_runs(self):
        job = self.client.submit("word_count", {"text": TEXT, "ms": 100}, watch=True)
        wait_for("its progress", lambda: self.client.get(job.id).get("progress"))
        [outcome] = self.client.cancel(job.id, reason="enough")
        self.assertEqual(outcome["code"], 0)
        self.ends(job, "cancelled")
        self.assertEqual(self.client.cancel(job.id)[0]["code"], ALREADY_DONE)

    def test_timeout(self):
        end = self.run_job("word_count", {"text": TEXT, "ms": 100}, "dead", timeout_ms=150,
                           attempts_max=1)
        self.assertEqual(end.error, Code.TIMEOUT)

    def test_stream(self):
        job = self.client.submit("tell", {"text": TEXT, "ms": 2}, attach=True)
        early = self.client.stream(job.id, DEADLINE_S)
        events = [next(iter(early)) for _ in range(20)]
        late = self.client.stream(self.client.submit("tell", {"text": "x"}).id)
        self.assertEqual([e.value for e in late], ["x ", {"words": 1}])
        events += early
        self.assertEqual([e.value for e in events if e.kind == "text"],
                         [word + " " for word in TEXT.split()])
        self.assertEqual(events[-1], ("map", 1, {"words": len(TEXT.split())}))
        self.assertTrue(early.whole)
        self.assertFalse(self.client._ended)    # nothing is kept for nobody
        # Who comes when all is over hears it too, in order.
        self.assertEqual(list(self.client.stream(job.id, DEADLINE_S)), events)

    def test_two_readers_join_while_it_runs(self):
        job = self.client.submit("tell", {"text": TEXT, "ms": 5})
        with Client(str(self.quern.data), role="operator") as other:
            heard = [list(c.stream(job.id, DEADLINE_S)) for c in (self.client, other)]
        self.assertEqual(heard[0], heard[1])
        self.assertEqual(len(heard[0]), len(TEXT.split()) + 1)

    def test_batches(self):
        jobs = [{"kind": "word_count", "payload": {"text": "a " * (n % 7)}, "watch": True}
                for n in range(2000)]
        jobs[1000:1000] = [{"kind": "nobody"}]
        answers = self.client.submit_many(jobs)
        refused = answers.pop(1000)
        self.assertEqual(refused.code, UNKNOWN_KIND)
        self.assertEqual(len({answer.id for answer in answers}), 2000)
        for n, answer in enumerate(answers):
            self.assertEqual(self.ends(answer).result["words"], n % 7)

    def test_questions(self):
        job = self.client.submit("word_count", {"text": "a b"}, tenant="acme", priority=9,
                                 unique="once", window_ms=60_000, key="k", trace=TRACE,
                                 watch=True)
        again = self.client.submit("word_count", {"text": "c"}, tenant="acme", unique="once",
                                   window_ms=60_000)
        self.assertEqual(again, (job.id, True))
        self.ends(job)
        info = self.client.get(job.id, payload=True)
        self.assertEqual((info["payload"], info["result"]["words"]), ({"text": "a b"}, 2))
        self.assertEqual((info["state"], info["tenant"], info["priority"], info["trace"]),
                         ("done", "acme", 9, TRACE))
        found = list(self.client.jobs(tenant="acme", state="done"))
        self.assertEqual([row["id"] for row in found], [job.id])

    def test_long_path(self):
        """P-2: a socket whose path the kernel would refuse."""
        folder = self.quern.path / ("long" * 40)
        folder.symlink_to(self.quern.data)
        with Client(str(folder), role="gateway", timeout=DEADLINE_S) as far:
            job = far.submit("tell", {"text": "far away"})
            self.assertEqual(
                [event.value for event in far.stream(job.id, DEADLINE_S)][:2], ["far ", "away "])

    def test_refusals(self):
        with self.assertRaisesRegex(QuernError, "UNREACHABLE_BROKER"):
            with Client(str(self.quern.path / "nobody"), timeout=0.2) as lost:
                lost.submit("word_count")
        with self.assertRaisesRegex(QuernError, "submit.priority"):
            self.client.submit("word_count", priority=10)
        with self.assertRaisesRegex(TypeError, "submit has no field 'colour'"):
            self.client.submit("word_count", colour="red")
        with self.assertRaisesRegex(QuernError, "TOO_LARGE"):
            self.client.submit("word_count", {"text": "x" * 5_000_000})
        with self.assertRaisesRegex(QuernError, "NOT_FOUND"):
            self.client.wait("0000000000007", DEADLINE_S)
        with self.assertRaisesRegex(QuernError, "NOT_FOUND"):
            list(self.client.stream("0000000000007"))
        with Client(str(self.quern.data)) as plain:
            with self.assertRaisesRegex(QuernError, "tenant"):      # P-37
                plain.submit("word_count", tenant="acme")

    def test_prefetched_jobs_go_back(self):
        """P-54: what no slot has taken is returned when the queue is paused."""
        jobs = [self.client.submit("word_count", {"text": TEXT, "ms": 100}, queue="paused")
                for _ in range(8)]
        wait_for("all to be at the worker", lambda: all(
            self.client.get(job.id)["state"] == "running" for job in jobs))
        self.quern("pause", "paused")

        def states():
            return sorted(self.client.get(job.id)["state"] for job in jobs)
        wait_for("four to be back", lambda: states() == ["ready"] * 4 + ["running"] * 4)
        self.client.cancel(*(job.id for job in jobs))
        wait_for("all to be cancelled", lambda: states() == ["cancelled"] * 8)


class Deaths(PythonTest):
    """Workers and brokers that are killed; P-57: what the worker holds is adopted."""

    CONFIG = config(SOURCE / "tests/e2e/python_peer_worker.py", "slots: 3",
                    "kinds: {tree: {may_spawn: [leaf, sum]}}")

    def marks(self):
        path = self.quern.path / self.id()
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def mark_jobs(self, count):
        """Jobs that run until their gate is opened."""
        self.gate = self.quern.path / (self.id() + ".gate")
        payload = {"marks": str(self.quern.path / self.id()), "until": str(self.gate)}
        answers = self.client.submit_many([
            {"kind": "mark", "watch": True, "payload": {**payload, "n": n}}
            for n in range(count)])
        return answers

    def wait_marks(self, word, count):
        wait_for(f"{count} x {word}", lambda: sum(
            row[1] == word for row in self.marks()) >= count)

    def test_worker_is_killed(self):
        jobs = self.mark_jobs(2)
        self.wait_marks("begins", 2)
        first = self.worker_pid()
        os.kill(first, signal.SIGKILL)
        self.wait_marks("begins", 3)
        self.gate.touch()
        for job in jobs:
            self.ends(job)
        ended = [row for row in self.marks() if row[1] == "ends"]
        self.assertEqual(sorted(row[0] for row in ended), ["0", "1"])
        self.assertNotIn(str(first), [row[2] for row in ended])

    def test_broker_is_killed_while_results_wait(self):
        """P-49, P-50: jobs that ended while nobody listened have run, and end, once."""
        jobs = self.mark_jobs(3)
        self.wait_marks("begins", 3)
        os.kill(self.broker_pid(), signal.SIGSTOP)
        self.gate.touch()
        self.wait_marks("ends", 3)
        self.kill_broker()
        for n, job in enumerate(jobs):
            self.assertEqual(self.ends(job).result, {"n": n})
        self.assertEqual(len(self.marks()), 6)
        self.assertEqual(self.quern.json("status")["broker"]["stale_fences"], 0)

    def test_broker_is_killed_while_jobs_run(self):
        jobs = self.mark_jobs(6)
        self.wait_marks("begins", 3)
        self.kill_broker()
        self.gate.touch()
        for job in jobs:
            self.ends(job)
        self.assertEqual(len(self.marks()), 12)

    def slots(self):
        return [worker["slots"] for worker in self.quern.workers()]

    def test_told_to_end(self):
        """P-114: it finishes what runs, takes no more, and ends with status 0."""
        jobs = self.mark_jobs(9)
        self.wait_marks("begins", 3)
        first, ended = self.worker_pid(), len(self.quern.events("process.ended"))
        os.kill(first, signal.SIGTERM)
        wait_for("fewer slots", lambda: "draining: told to end" in self.quern.log_tail())
        self.assertEqual(self.slots(), [3])
        self.client.cancel(jobs[0].id)
        self.ends(jobs[0], "cancelled")
        wait_for("one slot less", lambda: self.slots() == [2])
        self.gate.touch()
        for job in jobs[1:]:
            self.ends(job)
        ran = [row[0] for row in self.marks() if row[2] == str(first) and row[1] == "begins"]
        self.assertEqual(sorted(ran), ["0", "1", "2"])
        wait_for("its end", lambda: len(self.quern.events("process.ended")) > ended)
        self.assertEqual(self.quern.events("process.ended")[ended]["how"], "ended with status 0")

    def test_drain_and_scale(self):
        """P-60."""
        jobs = self.mark_jobs(6)
        self.wait_marks("begins", 3)
        self.quern("scale", "python=2")
        self.wait_marks("begins", 6)
        self.assertEqual(len({row[2] for row in self.marks()}), 2)
        self.quern("scale", "python=1")
        wait_for("one to drain", lambda: "draining: the broker asks" in self.quern.log_tail())
        self.gate.touch()
        for job in jobs:
            self.ends(job)
        wait_for("one worker", lambda: len(self.quern.workers()) == 1)
        self.assertEqual(len(self.marks()), 12)

    def test_client_connects_again(self):
        """P-28: a broker that was only stopped is asked again, and does it once."""
        count = len(list(self.client.jobs(kind="leaf")))
        found = {}

        def submit():
            found["job"] = self.client.submit("leaf", {"n": 1}, watch=True)
        epoch = self.client.terms["epoch"]
        os.kill(self.broker_pid(), signal.SIGSTOP)
        thread = threading.Thread(target=submit)
        thread.start()
        hello = self.client._hello_sequence
        wait_for("the client to connect anew", lambda: self.client._hello_sequence > hello)
        os.kill(self.broker_pid(), signal.SIGCONT)
        thread.join()
        self.ends(found["job"])
        self.assertEqual(self.client.terms["epoch"], epoch)
        self.assertEqual(len(list(self.client.jobs(kind="leaf"))), count + 1)

    def test_unknown_whether_accepted(self):
        """P-30: in a new epoch only `unique` makes it harmless to ask again."""
        found = {}

        def submit(name, **options):
            try:
                found[name] = self.client.submit("leaf", {"n": 1}, **options)
            except QuernError as error:
                found[name] = error
        os.kill(self.broker_pid(), signal.SIGSTOP)
        threads = [threading.Thread(target=submit, args=("plain",)),
                   threading.Thread(target=submit, args=("unique",), kwargs={"unique": "u"})]
        for thread in threads:
            thread.start()
        wait_for("both to be said", lambda: len(self.client._pending) == 2)
        self.kill_broker()
        for thread in threads:
            thread.join()
        self.assertEqual(found["plain"].code, Code.UNKNOWN_OUTCOME)
        self.ends(found["unique"])

    def test_results_that_cannot_be(self):
        end = self.run_job("big", {"size": 40_000})
        self.assertEqual(len(end.result["bytes"]), 40_000)
        for size in (70_000, 2_000_000, 6_000_000):
            end = self.run_job("big", {"size": size}, "dead")
            self.assertEqual(end.error, Code.RESULT_TOO_LARGE)
        end = self.run_job("list", {}, "dead")
        self.assertEqual((end.error, end.text), (Code.JOB_REJECTED, "result: list, not a map"))

    def test_payloads_that_cannot_be(self):
        """P-16: the broker does not look into them, the worker must."""
        bad = quern_peer.Peer("client", str(self.quern.data))
        jobs = []

        def ask(new_life):
            for payload in (b"\xc1", b"\x93\x01\x02\x03", b"\x81\xa1a" + b"\x91" * 32 + b"\x01",
                            b"\x81\xa1a\xa2\xff\xfe", b"\x81\xa1a"):
                bad.request("submit", [quern_peer.pack_item(
                    "submit", {"kind": "deep", "size": len(payload)})], payload)

        def answer(verb, sequence, items, bodies):
            jobs.append(quern_peer.id_text(items[0]["id"]))
            if len(jobs) == 5:
                bad.leave()
        bad.on_welcome, bad.on_message = ask, answer
        bad.run()
        for job in jobs:
            end = self.client.wait(job, DEADLINE_S)
            self.assertEqual((end.state, end.error), ("dead", Code.MALFORMED), end)
        nested = msgpack.unpackb(b"\x81\xa1a" * 31 + b"\x80")
        self.assertEqual(self.run_job("deep", nested).result, nested)

    def test_children(self):
        """P-81, P-83: children by SPAWN, with the result, and one after all."""
        job = self.client.submit("tree", {"leaves": 5}, watch=True, trace=TRACE)
        self.assertTrue(self.ends(job).flow)
        wait_for("all of it", lambda: self.client.get(job.id).get("settled"))
        below = list(self.client.jobs(parent=job.id))
        self.assertEqual(sorted(row["kind"] for row in below), ["leaf"] * 6 + ["sum"])
        # P-110: the job's trace id and flags, and a parent id of the attempt's own.
        [trace] = {self.client.get(row["id"])["trace"] for row in below}
        self.assertRegex(trace, f"^{TRACE[:35]}-[0-9a-f]{{16}}-01$")
        self.assertNotEqual(trace, TRACE)
        [last] = [row for row in below if row["kind"] == "sum"]
        self.assertEqual(self.client.get(last["id"], payload=True)["result"],
                         {"siblings": 6, "done": 6})
        end = self.run_job("trespass", {}, "dead")
        self.assertIn("may_spawn", end.text)
        job = self.client.submit("leaf", {"n": 0}, children=[
            {"kind": "leaf", "payload": {"n": 1}}, {"kind": "leaf", "payload": {"n": 2}}])
        wait_for("both", lambda: sorted(
            self.client.get(row["id"], payload=True).get("result", {}).get("n", 0)
            for row in self.client.jobs(parent=job.id)) == [1, 2])

    def test_children_once_over_a_restart(self):
        """P-83: SPAWN is said again with its index, and the index makes it the same child."""
        job = self.client.submit("tree", {"leaves": 100}, watch=True)
        wait_for("some of them", lambda: self.client.get(job.id).get("spawned", 0) > 10)
        self.kill_broker()
        self.ends(job)
        wait_for("all of it", lambda: self.client.get(job.id).get("settled"))
        below = list(self.client.jobs(parent=job.id))
        found = sorted(self.client.get(row["id"], payload=True)["result"]["n"]
                       for row in below if row["kind"] == "leaf")
        self.assertEqual(found, list(range(-1, 100)))

    def test_stream_outlives_the_broker(self):
        """P-74, P-77: both sides say and ask again, and nothing comes twice."""
        words = [f"{n} " for n in range(60)]
        job = self.client.submit("verse", {"words": words, "ms": 20}, attach=True)
        stream = iter(reader := self.client.stream(job.id, DEADLINE_S))
        heard = [next(stream) for _ in range(10)]
        self.kill_broker()
        heard += stream
        self.assertEqual([event.value for event in heard], words)
        self.assertTrue(reader.whole)

    def test_stream_begins_anew(self):
        words = ["a", "b", "again", "c"]
        job = self.client.submit("verse", {"words": words, "ms": 150}, attach=True)
        heard = [(event.kind, event.value) for event in self.client.stream(job.id, DEADLINE_S)]
        self.assertEqual(heard, [("text", "a"), ("text", "b"), ("reset", None), ("text", "c")])
        job = self.client.submit("verse", {"words": words, "ms": 150}, attach=True)
        stream = iter(self.client.stream(job.id, DEADLINE_S))
        next(stream)
        os.kill(self.worker_pid(), signal.SIGKILL)
        heard = [event.value for event in stream]
        self.assertEqual(heard[-5:], [None, "a", "b", None, "c"])

    def test_stream_of_nobody(self):
        job = self.client.submit("verse", {"words": ["again"], "ms": 1}, attach=True)
        self.assertEqual(list(self.client.stream(job.id, DEADLINE_S)), [])
        end = self.run_job("flood", {}, "dead")
        self.assertEqual(end.error, Code.TOO_LARGE)


class Wire(unittest.TestCase):
    """What needs no broker."""

    def test_fields(self):
        """The tables of quern_peer are those of the schemas, which may have come to have more."""
        page = (SOURCE / "docs/messages.md").read_text()
        rows = re.findall(r"^\| `(\w+)` \| (\d+) \| [^|]*\| \[(\w+)\]", page, re.M)
        message = {verb: (int(number), name) for verb, number, name in rows}
        for verb, (number, fields) in quern_peer.VERBS.items():
            schema = json.loads((SOURCE / f"docs/schemas/{message[verb][1]}.json").read_text())
            numbers = {name: rule["x-field"] for name, rule in schema["properties"].items()
                       if "x-field" in rule}
            self.assertEqual(number, message[verb][0])
            for at, name in enumerate(fields.split(), 1):
                self.assertEqual(numbers[name], at, f"{verb}.{name}")

    def test_codes(self):
        page = (SOURCE / "docs/messages.md").read_text()
        errors = dict(re.findall(r"^\| (\d+) \| (\w+) \| \w* \| ", page, re.M))
        self.assertEqual({str(code.value): code.name for code in Code},
                         {str(code.value): errors.get(str(code.value)) for code in Code})

    def test_examples(self):
        """Those of the page, read by another library."""
        page = re.split(r"^## \d+\. Examples$", (SOURCE / "docs/protocol.md").read_text(),
                        flags=re.M)[1]
        parts = {}
        for line in "\n".join(re.findall(r"```hex\n(.*?)```", page, re.S)).splitlines():
            words, _, note = line.partition(";")
            if not words.strip():
                parts[note.strip()] = name = bytearray()
            name += bytes.fromhex(words)
        frames = [bytes(parts[f"submit {part}"]) for part in ("head", "body", "payloads")]
        verb, sequence, items, bodies = quern_peer.unpack_message(frames)
        self.assertEqual((verb, sequence), ("submit", 2))
        self.assertEqual(items, [{"kind": "echo", "size": 14},
                                 {"kind": "echo", "size": 4, "priority": 9}])
        self.assertEqual([quern_peer.unpack_map(body) for body in bodies],
                         [{"text": "grüße"}, {"n": 7}])
        verb, _, items, _ = quern_peer.unpack_message(
            [bytes(parts["submitted head"]), bytes(parts["submitted body"])])
        self.assertEqual((verb, quern_peer.id_text(items[0]["id"])),
                         ("submitted", "0000c00000007"))
        self.assertEqual(quern_peer.id_number("0000c00000007"), items[0]["id"])

    def test_bounds(self):
        self.assertEqual(quern_peer.unpack_map(b""), {})
        with self.assertRaisesRegex(ValueError, "262144 values"):
            quern_peer.pack_map({"a": [0] * 262_144})
        text = quern_peer.fit_text("ä" * 5000 + "end", 4096)
        self.assertLessEqual(len(text.encode()), 4096)
        self.assertTrue(text.startswith("ä") and text.endswith("end"))


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    quern_tree.main()
