#!/usr/bin/env python3
"""Jobs through the command line: submitting, looking, waiting, cancelling, limits, and `quern why`
for every reason that can be brought about from outside."""

import datetime
import json
import os
import pty
import signal
import subprocess
import time
import unittest

import quern_tree
from quern_tree import BIN, DEADLINE_S, TreeTest, wait_for


class Submitting(TreeTest):
    def test_id_and_result(self):
        job = self.quern.submit("echo", {"a": 1})
        self.assertRegex(job, r"^[0-9a-hjkmnp-tv-z]{13}$")
        self.assertEqual(json.loads(self.quern("submit", "echo", "--payload", '{"b":[1,"ü"]}',
                                               "--wait")), {"b": [1, "ü"]})
        self.quern.wait_state(job, "done")
        told = self.quern.json("job", job, "--payload")
        self.assertEqual((told["payload"], told["result"]), ({"a": 1}, {"a": 1}))
        self.assertNotIn("payload", self.quern.json("job", job))
        text = self.quern("job", job)
        self.assertIn(f"job {job}: done", text)
        self.assertRegex(text, r"submitted +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 \(")

    def test_payload_from_file_and_standard_input(self):
        path = self.quern.path / "payload.json"
        path.write_text('{"from": "file"}')
        self.assertEqual(self.quern("submit", "echo", "--payload", f"@{path}", "--wait"),
                         '{"from":"file"}')
        self.assertEqual(self.quern("submit", "echo", "--payload", "-", "--wait",
                                    text='{"from": "stdin"}'), '{"from":"stdin"}')

    def test_wait_says_how_it_ended(self):
        done = self.quern.run("submit", "fail", "--payload", '{"class":"perm","text":"no such page"}',
                              "--wait")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("no such page", done.stderr)
        told = self.quern.json("submit", "fail", "--payload", '{"class":"perm"}', "--wait", status=1)
        self.assertEqual(told["state"], "dead")

    def test_many_at_once(self):
        ids = self.quern("submit", "echo", "--count", 3000, "--durability", "async").split("\n")
        self.assertEqual((len(ids), ids), (3000, sorted(set(ids))))
        lines = "".join(json.dumps({"n": n}) + "\n\n" for n in range(700))
        self.assertEqual(self.quern("submit", "echo", "--batch", "-", "--wait", text=lines),
                         "\n".join(f'{{"n":{n}}}' for n in range(700)))
        ids = self.quern("submit", "echo", "--batch", "-", text=lines).split("\n")
        self.assertEqual(len(ids), 700)
        last = self.quern.json("job", ids[-1], "--payload")
        self.assertEqual(last["payload"], {"n": 699})

    def test_none_at_all(self):
        for text in ("", "\n \n"):
            words = ("submit", "echo", "--batch", "-")
            self.assertEqual(self.quern(*words, text=text), "")
            self.assertEqual(self.quern(*words, "--json", text=text), "[]")
            self.assertEqual(self.quern(*words, "--wait", text=text), "")
            self.assertEqual(self.quern(*words, "--wait", "--json", text=text), "[]")

    def test_a_bad_line_is_named(self):
        done = self.quern.run("submit", "echo", "--batch", "-", text='{"n":1}\n{"n":\n{"n":3}\n')
        self.assertEqual(done.returncode, 2)
        self.assertIn("line 2", done.stderr)
        self.assertEqual(len(done.stdout.split()), 1)  # what stands before it was accepted

    def test_unique(self):
        first = self.quern.json("submit", "sleep", "--payload", '{"ms":60000}', "--unique", "u1")
        again = self.quern.json("submit", "sleep", "--payload", '{"ms":60000}', "--unique", "u1")
        self.assertEqual((again["id"], again["duplicate"]), (first["id"], True))
        self.quern("cancel", first["id"])
        window = self.quern("submit", "echo", "--unique", "u2", "--window", "1h", "--wait")
        self.assertEqual(window, "{}")
        self.assertTrue(self.quern.json("submit", "echo", "--unique", "u2", "--window", "1h")
                        ["duplicate"])

    def test_interrupted_while_waiting(self):
        waiting = subprocess.Popen(
            [BIN / "quern", "submit", "sleep", "--payload", '{"ms":60000}', "--queue", "interrupted",
             "--wait"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=quern_tree.environment(QUERN_DATA=str(self.quern.data)))
        jobs = wait_for("the job to run", lambda: self.quern.json(
            "jobs", "--queue", "interrupted", "--state", "running"))
        waiting.send_signal(signal.SIGINT)
        _, said = waiting.communicate(timeout=DEADLINE_S)
        self.assertEqual(waiting.returncode, -signal.SIGINT)
        self.assertIn(jobs[0]["id"], said)
        self.assertEqual(self.quern.state(jobs[0]["id"]), "running")
        self.quern("cancel", jobs[0]["id"])

    def test_bench(self):
        told = self.quern.json("bench", "submit", "--count", 500)
        self.assertEqual(told["jobs"], 500)
        told = self.quern.json("bench", "roundtrip", "--count", 20)
        self.assertGreater(told["p99_ms"], 0)


class Looking(TreeTest):
    def test_list_pages(self):
        """P-43: the newest first, page by page; payload and result only when asked for."""
        ids = self.quern("submit", "nobody", "--count", 25, "--queue", "pages").split("\n")
        rows = self.quern.json("jobs", "--queue", "pages", "--limit", 10)
        self.assertEqual([row["id"] for row in rows], ids[:-11:-1])
        rows = self.quern.json("jobs", "--queue", "pages", "--before", ids[15])
        self.assertEqual([row["id"] for row in rows], ids[14::-1])
        self.assertEqual(self.quern.json("jobs", "--queue", "pages", "--state", "dead"), [])
        self.assertEqual(self.quern("jobs", "--queue", "nothing"), "no jobs")
        head, first = self.quern("jobs", "--queue", "pages", "--limit", 1).split("\n")
        self.assertEqual(head.split()[:3], ["ID", "STATE", "KIND"])
        self.assertEqual(head.index("STATE"), first.index("ready"))

    def test_status(self):
        self.quern("submit", "echo", "--wait")
        told = self.quern.json("status")
        self.assertEqual(sorted(told), ["broker", "pools", "queues", "workers"])
        self.assertGreaterEqual(told["broker"]["done"], 1)
        self.assertEqual(told["pools"][0]["name"], "default")
        self.assertEqual(told["workers"][0]["pool"], "default")
        text = self.quern("status")
        for word in ("broker", "journal", "QUEUE", "POOL", "WORKER"):
            self.assertIn(word, text)
        self.assertNotIn("\033", text)

    def on_a_terminal(self, *words, **env):
        """What a command says where standard output is a terminal."""
        ours, theirs = pty.openpty()
        done = subprocess.run([BIN / "quern", *words], stdout=theirs, stdin=subprocess.DEVNULL,
                              check=True, timeout=DEADLINE_S, env=quern_tree.environment(
                                  QUERN_DATA=str(self.quern.data), TERM="xterm", **env))
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 65536):
                said += part
        except OSError:  # nobody holds the other end any more
            pass
        os.close(ours)
        self.assertEqual(done.returncode, 0)
        return said.decode()

    def test_terminal(self):
        self.assertIn("\033[1mPOOL", self.on_a_terminal("pools"))
        self.assertNotIn("\033", self.on_a_terminal("pools", NO_COLOR="1"))
        self.assertIn('\n  "broker": {', self.on_a_terminal("status", "--json").replace("\r", ""))

    def test_a_terminal_is_not_taken_over(self):
        """Control characters that JSON and UTF-8 allow stay what they say, unsaid."""
        evil = {"a": "\u009b31m\u007f\u00a0\u00fc", "\u0085": 1}
        job = self.quern.submit("echo", evil)
        self.quern.wait_state(job, "done")
        for words in (("job", job, "--payload"), ("job", job, "--payload", "--json")):
            said = self.on_a_terminal(*words)
            self.assertNotRegex(said, "[\u0080-\u009f\u007f]")
            self.assertIn("\u00a0\u00fc", said)
        self.assertEqual(self.quern.json("job", job, "--payload")["payload"], evil)
        said = self.quern("submit", "echo", "--payload", json.dumps(evil), "--wait")
        self.assertEqual(json.loads(said), evil)
        self.assertNotRegex(said, "[\u0080-\u009f\u007f]")

    def test_doctor(self):
        rows = self.quern.json("doctor")
        self.assertNotIn("bad", {row["verdict"] for row in rows})
        probe = next(row for row in rows if row["about"] == "probe")
        self.assertEqual(probe["verdict"], "ok")
        self.assertRegex(probe["text"], r"^default: a job of kind echo took [0-9.]+ ms$")

    def test_what_is_not_there(self):
        gone = "0000c00000007"
        for words in (("job", gone), ("why", gone), ("cancel", gone), ("retry", gone),
                      ("pause", "nothing"), ("purge", "nothing"), ("queues", "nothing"),
                      ("pools", "nothing"), ("scale", "nothing=1"), ("drain", "nothing")):
            self.quern.fails(4, *words)

    def test_what_cannot_be(self):
        # P-34: a kind must have been declared.
        self.assertIn("no kind 'nokind'", self.quern.fails(2, "submit", "nokind"))
        self.assertIn("at most 4", self.quern.fails(2, "scale", "default=9"))
        self.assertIn("JSON object", self.quern.fails(2, "submit", "echo", "--payload", "[1]"))


class Changing(TreeTest):
    def test_cancel(self):
        running = self.quern.submit("sleep", {"ms": 60000})
        waiting = self.quern.submit("nobody")
        self.quern.wait_state(running, "running")
        self.assertEqual(self.quern("cancel", running, waiting, "--reason", "enough"), "")
        self.quern.wait_state(running, "cancelled")
        self.assertEqual(self.quern.state(waiting), "cancelled")
        self.assertIn("cancelled already", self.quern.fails(1, "cancel", waiting))
        self.assertEqual(self.quern.json("cancel", waiting, status=1)[0]["code"], "ALREADY_DONE")

    def test_retry(self):
        """P-41: one job, or all dead ones of a queue."""
        dead = self.quern.submit("fail", {"class": "perm"}, "--queue", "retried")
        self.quern.wait_state(dead, "dead")
        job = self.quern.json("job", dead)
        self.assertEqual(job["attempts"], 1)
        self.quern("retry", dead)
        wait_for("another attempt",
                 lambda: self.quern.json("job", dead).get("fence") != job["fence"])
        self.quern.wait_state(dead, "dead")
        self.assertEqual(self.quern("retry", "--dead", "--queue", "retried"),
                         "jobs that run again: 1")
        self.quern.wait_state(dead, "dead")
        waiting = self.quern.submit("nobody")
        self.quern.fails(1, "retry", waiting)
        self.quern.fails(4, "retry", "--dead", "--queue", "nothing")

    def test_dead_letters(self):
        """P-96, P-97, P-98: in groups, looked at, counted before they run again, run again."""
        name = "letters"
        ids = [self.quern.submit("fail", {"class": "perm", "text": f"no page {n}"}, "--queue", name)
               for n in range(3)]
        other = self.quern.submit("fail", {"text": "no answer"}, "--queue", name, "--attempts", 2,
                                  "--backoff", "10ms")
        for job in (*ids, other):
            self.quern.wait_state(job, "dead")
        told = self.quern.json("job", other)
        group = self.quern.json("job", ids[0])["group"]
        self.assertEqual([(row["error"], row["text"]) for row in told["history"]],
                         [("JOB_FAILED", "no answer")] * 2)
        text = self.quern("job", other)
        self.assertRegex(text, r"attempts +\d{4}-.* JOB_FAILED on .*: no answer")
        self.assertRegex(text, r'payload +\{.*"no answer"')
        groups = self.quern.json("dead")
        mine = {row["group"]: row for row in groups if row["group"] in (group, told["group"])}
        self.assertEqual((mine[group]["count"], mine[group]["kind"], mine[group]["error"]),
                         (3, "fail", "JOB_REJECTED"))
        self.assertEqual((mine[told["group"]]["count"], mine[told["group"]]["id"]), (1, other))
        self.assertEqual([row["count"] for row in groups],
                         sorted((row["count"] for row in groups), reverse=True))
        self.assertRegex(self.quern("dead"), rf"{group} +fail +JOB_REJECTED +3 .* no page \d")
        listed = [row["id"] for row in self.quern.json("dead", group)]
        self.assertEqual(sorted(listed), sorted(ids))
        first = self.quern.json("dead", group, "--limit", 1)
        rest = self.quern.json("dead", group, "--before", first[0]["id"])
        self.assertEqual([row["id"] for row in first + rest], listed)
        dry = self.quern.json("retry", "--group", group, "--dry-run")
        self.assertEqual((dry["count"], [row["id"] for row in dry["sample"]]), (3, listed))
        self.assertIn("jobs that would run again: 4",
                      self.quern("retry", "--dead", "--queue", name, "--dry-run"))
        self.assertEqual(self.quern("retry", other, "--dry-run"), "jobs that would run again: 1")
        self.assertEqual(self.quern.json("dead", group)[0]["id"], listed[0])
        self.assertEqual(self.quern("retry", "--group", group), "jobs that run again: 3")
        for job in ids:
            wait_for("its next end", lambda job=job: self.quern.state(job) == "dead")
        self.assertEqual(len(self.quern.json("job", ids[0])["history"]), 1)

    def test_pause_resume_purge(self):
        """P-65, P-66: what is set at run time, until reset; what waits is cancelled."""
        self.quern("submit", "echo", "--queue", "shut", "--wait")
        self.quern("pause", "shut")
        job = self.quern.submit("echo", {}, "--queue", "shut")
        self.quern.wait_reason(job, "paused")
        self.assertTrue(self.quern.json("queues", "shut")[0]["paused"])
        self.quern("resume", "shut")
        self.quern.wait_state(job, "done")
        self.quern("pause", "shut")
        self.quern("submit", "echo", "--queue", "shut", "--count", 7)
        self.assertEqual(self.quern("purge", "shut"), "jobs cancelled: 7")
        self.quern("resume", "shut", "--reset")
        self.assertFalse(self.quern.json("queues", "shut")[0]["at_run_time"])


class Why(TreeTest):
    CONFIG = quern_tree.CONFIG.replace("slots: 4", "slots: 8")

    def busy(self, *options):
        """A job that runs for as long as the test does."""
        job = self.quern.submit("sleep", {"ms": 600000}, *options)
        self.addCleanup(self.quern, "cancel", job)
        self.quern.wait_state(job, "running")
        return job

    def test_no_worker_and_place(self):
        jobs = [self.quern.submit("nobody", {}, "--queue", "lonely") for _ in range(3)]
        rows = self.quern.json("why", jobs[2])
        self.assertEqual([row["reason"] for row in rows], ["no_worker", "its_turn"])
        self.assertEqual([self.quern.reasons(job)["its_turn"]["place"] for job in jobs], [1, 2, 3])
        self.assertIn("it is number 3 in its line", self.quern("why", jobs[2]))

    def test_not_before(self):
        job = self.quern.submit("echo", {}, "--delay", "1h")
        row = self.quern.wait_reason(job, "not_before")
        self.assertAlmostEqual(row["until_ms"] / 1000, time.time() + 3600, delta=60)
        self.assertIn("(in 59m", self.quern("why", job))
        at = self.quern.submit("echo", {}, "--run-at", "2037-01-31T09:00:00+01:00")
        wanted = datetime.datetime(2037, 1, 31, 8, tzinfo=datetime.timezone.utc).timestamp()
        self.assertEqual(self.quern.reasons(at)["not_before"]["until_ms"], wanted * 1000)

    def test_backoff(self):
        job = self.quern.submit("fail", {"times": 9}, "--backoff", "1h")
        self.quern.wait_reason(job, "backoff")
        self.assertIn("tried again in", self.quern("job", job))

    def test_key(self):
        holder = self.busy("--key", "k1", "--queue", "keys")
        behind = self.quern.submit("sleep", {"ms": 1}, "--key", "k1", "--queue", "keys")
        row = self.quern.wait_reason(behind, "key_held")
        self.assertEqual(row["holder"], holder)
        self.assertIn(holder, self.quern("why", behind))

    def test_key_interval(self):
        words = ("--queue", "paced", "--key", "k2", "--interval", "1h")
        self.quern("submit", "echo", *words, "--wait")
        job = self.quern.submit("echo", {}, *words)
        self.assertIn("until_ms", self.quern.wait_reason(job, "key_interval"))

    def test_queue_limits(self):
        self.quern("limit", "queue", "narrow", "--concurrency", 1)
        self.busy("--queue", "narrow")
        job = self.quern.submit("echo", {}, "--queue", "narrow")
        self.quern.wait_reason(job, "queue_concurrency")
        self.quern("limit", "queue", "slow", "--rate", "1/h")
        self.quern("submit", "echo", "--queue", "slow", "--wait")
        job = self.quern.submit("echo", {}, "--queue", "slow")
        self.assertIn("until_ms", self.quern.wait_reason(job, "queue_rate"))
        row = self.quern.json("queues", "slow")[0]
        self.assertEqual((row["rate_count"], row["rate_per_ms"]), (1, 3600000))
        self.quern("limit", "queue", "slow", "--reset")
        self.quern.wait_state(job, "done")

    def test_tenant_limits(self):
        self.quern("limit", "tenant", "small", "--concurrency", 1, "--weight", 2)
        self.busy("--tenant", "small")
        job = self.quern.submit("echo", {}, "--tenant", "small")
        self.quern.wait_reason(job, "tenant_concurrency")
        self.quern("limit", "tenant", "rare", "--rate", "1/h")
        self.quern("submit", "echo", "--tenant", "rare", "--wait")
        job = self.quern.submit("echo", {}, "--tenant", "rare")
        self.quern.wait_reason(job, "tenant_rate")

    def test_running_and_ended(self):
        job = self.busy()
        self.assertEqual(list(self.quern.reasons(job)), ["running"])
        self.assertRegex(self.quern("job", job), rf"job {job}: running for ")
        ended = self.quern.json("submit", "echo")["id"]
        self.quern.wait_state(ended, "done")
        self.assertEqual(list(self.quern.reasons(ended)), ["ended"])


class NoSlot(TreeTest):
    CONFIG = quern_tree.CONFIG.replace("slots: 4", "slots: 1").replace("processes_max: 4",
                                                                       "processes_max: 1")

    def test_all_are_busy(self):
        running = self.quern.submit("sleep", {"ms": 600000})
        self.quern.wait_state(running, "running")
        job = self.quern.submit("sleep", {"ms": 1})
        self.quern.wait_reason(job, "no_slot")
        self.quern("cancel", running)
        self.quern.wait_state(job, "done")


class Far(TreeTest):
    """By TCP: an operator's endpoint, and one that is only for clients."""

    CONFIG = quern_tree.CONFIG.replace("broker:\n", "broker:\n  tcp_operator: tcp://127.0.0.1:*\n"
                                       "  tcp_client: tcp://127.0.0.1:*\n")

    def test_endpoints(self):
        ready = self.quern.events("broker.ready")[0]
        operator, client = ready["tcp_operator"], ready["tcp_client"]
        self.assertEqual(self.quern.json("status", "--broker", operator)["pools"][0]["alive"], 1)
        self.assertEqual(self.quern("submit", "echo", "--broker", client, "--wait"), "{}")
        told = self.quern.json("status", "--broker", client)
        self.assertIsNone(told["workers"])
        self.assertIn("is for clients only", self.quern.fails(2, "workers", "--broker", client))
        done = self.quern.run("jobs", QUERN_BROKER=operator)
        self.assertEqual(done.returncode, 0)


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    quern_tree.main()
