#!/usr/bin/env python3
"""Flows through the command line: children that come with a submission, waiting for all of them,
looking at them, and ending them."""

import json
import os
import pty
import signal
import subprocess
import unittest

import quern_tree
from quern_tree import BIN, DEADLINE_S, TreeTest, wait_for

FAILS = {"kind": "fail", "payload": {"class": "perm", "text": "no such page"}}
NOBODY = {"kind": "nobody"}
QUICK = {"kind": "echo"}


class FlowTest(TreeTest):
    CONFIG = quern_tree.CONFIG.replace("slots: 4", "slots: 8")

    def begin(self, *options, children=None, kind="echo"):
        """A job with children; its id."""
        words = ["--children", json.dumps(children)] if children else []
        return self.quern("submit", kind, *words, *options)

    def children(self, job, **like):
        rows = self.quern.json("jobs", "--parent", job)
        return [row for row in rows if all(row.get(key) == like[key] for key in like)]

    def settled(self, job):
        wait_for(f"the flow of job {job} to settle",
                 lambda: self.quern.json("job", job).get("settled"))
        return self.quern.json("job", job)

    def start(self, *words, **more):
        """A command that runs on in the background."""
        return subprocess.Popen([BIN / "quern", *words], stderr=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True,
                                env=quern_tree.environment(QUERN_DATA=str(self.quern.data)), **more)

    def end(self, started, status):
        said, complaints = started.communicate(timeout=DEADLINE_S)
        self.assertEqual(started.returncode, status, said + complaints)
        return said, complaints


class Submitting(FlowTest):
    def test_children(self):
        """P-81: one id for all of them; a child may run before its parent has ended."""
        job = self.begin(children=[QUICK, {"kind": "echo", "payload": {"n": 2}, "priority": 2}])
        told = self.settled(job)
        self.assertEqual((told["spawned"], told["below"], told["below_done"]), (2, 2, 2))
        rows = self.children(job)
        self.assertEqual([row["priority"] for row in rows], [2, 5])
        self.assertEqual({row["parent"] for row in rows}, {job})
        self.assertEqual(self.quern.json("job", rows[0]["id"], "--payload")["payload"], {"n": 2})

    def test_then(self):
        job = self.begin("--then", "echo", "--then-payload", '{"last": true}',
                         children=[{"kind": "sleep", "payload": {"ms": 200}}, FAILS])
        then = self.children(job, then=True)[0]
        self.assertEqual(then["state"], "blocked")
        row = self.quern.reasons(then["id"])["children"]
        self.assertEqual(row["holder"], job)
        self.assertIn(f"that it waits for go on: {job}", self.quern("why", then["id"]))
        self.settled(job)
        told = self.quern.json("job", then["id"], "--payload")
        self.assertEqual((told["state"], told["result"]), ("done", {"last": True}))
        self.assertIn("it waits for its parent", self.quern("job", then["id"]))

    def test_fail_fast(self):
        job = self.begin("--fail-fast", "--then", "echo", children=[NOBODY, FAILS])
        told = self.settled(job)
        self.assertEqual(told["flow_error"], "FLOW_FAILED")
        self.assertEqual((told["below_dead"], told["below_cancelled"]), (1, 2))
        text = self.quern("job", job)
        self.assertIn("3 jobs below it, 0 done, 1 dead, 2 cancelled; all has ended; FLOW_FAILED",
                      text)
        self.assertIn("JOB_REJECTED: no such page", text)

    def test_none_or_all(self):
        """What is wrong with a child is wrong with all of them."""
        words = ("submit", "echo", "--queue", "wrong", "--children")
        for children, says in (
                ([QUICK, {"kind": "nokind"}], "child 1: "),
                ([{"kind": "echo", "tenant": "other"}], "child 0: submit.tenant: not for a child"),
                ([{"kind": "echo", "children": [QUICK]}], "child 0: a child has no children"),
                ([{"kind": "echo", "then": QUICK}], "child 0: a child has no children"),
                ([{"kind": "echo", "knid": 1}], "did you mean 'kind'?"),
                ([QUICK] * 1001, "children: 1001, at most 1000"),
                ({}, "must be a list")):
            self.assertIn(says, self.quern.fails(2, *words, json.dumps(children)))
        self.assertIn("durability none", self.quern.fails(
            2, *words, json.dumps([QUICK]), "--durability", "none"))
        self.assertEqual(self.quern.json("jobs", "--queue", "wrong"), [])

    def test_usage(self):
        for words, says in (
                (("--then-payload", "{}"), "--then-payload needs --then"),
                (("--lines", "job"), "--lines needs --batch"),
                (("--batch", "-", "--lines", "job", "--then", "echo"), "stands without --children"),
                (("--payload", "-", "--children", "-"), "only one option can be standard input"),
                (("--children", "@/nowhere"), "submit --children: cannot open '/nowhere'"),
                (("--then", "echo", "--then-payload", "{"), "submit --then-payload")):
            self.assertIn(says, self.quern.fails(2, "submit", "echo", *words))
        self.assertIn("stands without", self.quern.fails(
            2, "job", "0000c00000007", "--watch", "--stream"))

    def test_a_thousand_children(self):
        job = self.begin(children=[QUICK] * 999 + [{"kind": "echo", "then": True}])
        self.assertEqual(self.settled(job)["below_done"], 1000)
        text = self.quern("job", job)
        self.assertIn("... and 979 more: 979 done", text)
        self.assertIn("echo (then)", text.splitlines()[-1])

    def test_lines_that_are_jobs(self):
        """More than a message holds: each job keeps its children."""
        lines = "".join(json.dumps({
            "payload": {"n": n}, "children": [QUICK] * 9, "then": {"kind": "echo"}}) + "\n"
                        for n in range(300))
        words = ("submit", "echo", "--batch", "-", "--lines", "job", "--queue", "lines")
        ids = self.quern(*words, text=lines).split("\n")
        self.assertEqual(len(set(ids)), 300)
        for n in (0, 101, 299):
            self.assertEqual(self.settled(ids[n])["below_done"], 10)
            told = self.quern.json("job", ids[n], "--payload")
            self.assertEqual((told["payload"], told["queue"]), ({"n": n}, "lines"))
            self.assertEqual({row["queue"] for row in self.children(ids[n])}, {"echo"})
        results = self.quern(*words, "--wait", text=lines).split("\n")
        self.assertEqual(results, [f'{{"n":{n}}}' for n in range(300)])

    def test_a_bad_line_is_named(self):
        lines = '{"payload":{"n":1}}\n{"children":[{"kind":"echo","children":[]}]}\n{}\n'
        done = self.quern.run("submit", "echo", "--batch", "-", "--lines", "job", text=lines)
        self.assertEqual(done.returncode, 2)
        self.assertIn("line 2: child 0: a child has no children", done.stderr)
        self.assertEqual(len(done.stdout.split()), 1)  # what stands before it was accepted


class Waiting(FlowTest):
    def test_the_whole_flow(self):
        """P-88: the result is the job's own; it is printed when all below has ended."""
        told = self.quern.json("submit", "echo", "--payload", '{"a":1}', "--children",
                               json.dumps([{"kind": "sleep", "payload": {"ms": 300}}]), "--then",
                               "sleep", "--then-payload", '{"ms":100}', "--wait")
        self.assertEqual((told["state"], told["result"]), ("done", {"a": 1}))
        flow = told["flow"]
        self.assertEqual((flow["total"], flow["done"], flow["settled"]), (2, 2, True))
        said = self.begin("--wait", "--payload", '{"a":1}', children=[QUICK])
        self.assertEqual(said, '{"a":1}')

    def test_a_flow_that_fails(self):
        """Also one that has settled by the time the job itself ends."""
        for kind, payload in (("echo", {}), ("sleep", {"ms": 400})):
            words = ("submit", kind, "--payload", json.dumps(payload), "--children",
                     json.dumps([QUICK, FAILS]), "--wait")
            done = self.quern.run(*words)
            self.assertEqual(done.returncode, 1)
            self.assertIn("2 of 2 jobs below it have ended, 1 dead; see: quern job", done.stderr)
            told = self.quern.json(*words, status=1)
            self.assertEqual((told["state"], told["flow"]["dead"]), ("done", 1))

    def test_a_job_that_fails(self):
        done = self.quern.run("submit", "fail", "--payload", '{"class":"perm"}', "--then", "echo",
                              "--wait", "--json")
        self.assertEqual(done.returncode, 1)
        told = json.loads(done.stdout)
        self.assertEqual((told["state"], told["flow"]["done"]), ("dead", 1))

    def test_many(self):
        said = self.quern.json("submit", "echo", "--count", 40, "--children",
                               json.dumps([QUICK, FAILS]), "--wait", status=1)
        self.assertEqual([row["flow"]["dead"] for row in said], [1] * 40)

    def test_interrupted(self):
        """Ctrl-C ends the waiting for a flow, not the flow."""
        waiting = self.start("submit", "echo", "--queue", "interrupted", "--children",
                             json.dumps([NOBODY]), "--wait")
        job = wait_for("the job to end", lambda: self.quern.json(
            "jobs", "--queue", "interrupted", "--state", "done"))[0]["id"]
        self.assertIsNone(waiting.poll())
        waiting.send_signal(signal.SIGINT)
        _, complaints = self.end(waiting, -signal.SIGINT)
        self.assertIn(f"job {job} goes on", complaints)
        self.quern("cancel", job)

    def test_progress_on_a_terminal(self):
        ours, theirs = pty.openpty()
        waiting = subprocess.Popen(
            [BIN / "quern", "submit", "echo", "--children",
             json.dumps([QUICK, {"kind": "sleep", "payload": {"ms": 300}}]), "--wait"],
            stderr=theirs, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
            env=quern_tree.environment(QUERN_DATA=str(self.quern.data), TERM="xterm"))
        os.close(theirs)
        said, _ = waiting.communicate(timeout=DEADLINE_S)
        self.assertEqual((waiting.returncode, said), (0, "{}\n"))
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # nobody holds the other end any more
            pass
        os.close(ours)
        self.assertRegex(shown.decode(), r"\rjob \w+: done, 1 of 2 jobs below it have ended\x1b\[K")
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown)


class Looking(FlowTest):
    def test_tree(self):
        job = self.begin("--then", "echo", children=[NOBODY, FAILS, QUICK])
        wait_for("what can end", lambda: self.quern.json("job", job).get("below_dead") == 1 and
                 self.quern.json("job", job)["below_done"] == 1)
        told = self.quern.json("job", job)
        self.assertEqual([(row["kind"], row["state"]) for row in told["children"]],
                         [("fail", "dead"), ("nobody", "ready"), ("echo", "done"),
                          ("echo", "blocked")])
        self.assertEqual(told["children"][0]["text"], "no such page")
        self.assertNotIn("more", told)
        text = self.quern("job", job)
        self.assertIn("flow        4 jobs below it, 1 done, 1 dead\n", text)
        self.assertRegex(text, r"├─ \w+ dead fail, failed 1 time, JOB_REJECTED: no such page\n")
        self.assertRegex(text, r"└─ \w+ blocked echo \(then\)$")
        child = self.quern("job", told["children"][1]["id"])
        self.assertRegex(child, rf"\n  parent +{job}\n  root +{job}")
        self.quern("cancel", job)

    def test_many_children(self):
        job = self.begin(children=[NOBODY] * 100 + [FAILS])
        wait_for("the one that fails", lambda: self.quern.json("job", job).get("below_dead"))
        told = self.quern.json("job", job)
        self.assertEqual(told["children"][0]["state"], "dead")
        self.assertEqual(len(told["children"]), 20)
        self.assertEqual(told["more"], {"count": 81, "ready": 81})
        self.assertIn("└─ ... and 81 more: 81 ready", self.quern("job", job))
        self.quern("cancel", job)

    def test_list(self):
        job = self.begin(children=[QUICK, FAILS])
        other = self.begin(children=[QUICK])
        self.settled(job)
        self.settled(other)
        self.assertEqual(len(self.quern.json("jobs", "--parent", job)), 2)
        dead = self.quern.json("jobs", "--parent", job, "--state", "dead")
        self.assertEqual([row["kind"] for row in dead], ["fail"])
        self.assertEqual(self.quern.json("jobs", "--parent", dead[0]["id"]), [])

    def test_status(self):
        job = self.begin(children=[NOBODY])
        self.assertGreaterEqual(self.quern.json("status")["broker"]["flows"], 1)
        self.assertRegex(self.quern("status"), r"held .*[1-9]\d* flows")
        self.quern("cancel", job)

    def test_watch(self):
        job = self.begin(children=[NOBODY, QUICK])
        watching = self.start("job", job, "--watch")
        other = self.start("job", job, "--watch", "--json")
        first = watching.stdout.readline()
        self.assertRegex(first, rf"^job {job}: \w+, \d of 2 jobs below it have ended")
        told = json.loads(other.stdout.readline())
        self.assertEqual((told["id"], told["total"]), (job, 2))
        self.quern("cancel", job)
        said, _ = self.end(watching, 1)
        self.assertEqual(said.splitlines()[-1],
                         f"job {job}: done, 2 of 2 jobs below it have ended, 1 cancelled")
        said, _ = self.end(other, 1)
        self.assertTrue(json.loads(said.splitlines()[-1])["settled"])
        self.assertEqual(self.quern("job", job, "--watch", status=1).count("\n"), 0)
        self.quern.fails(4, "job", "0000c00000007", "--watch")

    def test_watch_a_job_without_children(self):
        job = self.quern.submit("sleep", {"ms": 300})
        self.assertIn("done, 0 of 0 jobs", self.quern("job", job, "--watch").splitlines()[-1])
        bad = self.quern.submit("fail", {"class": "perm"})
        self.assertIn("dead", self.quern("job", bad, "--watch", status=1))

    def test_watch_on_a_terminal(self):
        job = self.begin(children=[{"kind": "sleep", "payload": {"ms": 300}}])
        ours, theirs = pty.openpty()
        watching = subprocess.Popen(
            [BIN / "quern", "job", job, "--watch"], stdout=theirs, stderr=theirs,
            stdin=subprocess.DEVNULL,
            env=quern_tree.environment(QUERN_DATA=str(self.quern.data), TERM="xterm"))
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # nobody holds the other end any more
            pass
        os.close(ours)
        self.assertEqual(watching.wait(DEADLINE_S), 0)
        last = shown.decode().split("\033[H")[-1]
        self.assertIn("1 jobs below it, 1 done; all has ended", last)
        self.assertIn("done sleep", last)


class Ending(FlowTest):
    def test_cancel(self):
        """P-86: also of a job that has ended."""
        job = self.begin("--then", "echo", children=[NOBODY, NOBODY])
        self.quern.wait_state(job, "done")
        self.assertEqual(self.quern("cancel", job),
                         f"job {job}: its flow is cancelled, jobs that had not ended: 3")
        told = self.settled(job)
        self.assertEqual((told["below_cancelled"], told["flow_error"]), (3, "CANCELLED"))
        self.assertIn("done already", self.quern.fails(1, "cancel", job))
        alone = self.quern.submit("nobody")
        self.assertEqual(self.quern("cancel", alone), "")
        told = self.quern.json("cancel", self.begin(kind="nobody", children=[NOBODY]))[0]
        self.assertEqual((told["count"], told["flow"]), (2, True))

    def test_why(self):
        """A job that does not stop when its flow ends."""
        job = self.begin(children=[{"kind": "sleep", "payload": {"ms": 600, "stubborn": True}}])
        child = self.children(job)[0]["id"]
        self.quern.wait_state(child, "running")
        self.quern("cancel", job)
        row = self.quern.wait_reason(child, "flow_ends")
        self.assertEqual(row["holder"], job)
        self.assertIn(f"flow_ends  the rest of its flow is being cancelled: {job}",
                      self.quern("why", child))
        self.settled(job)


class Restart(FlowTest):
    def test_waiting_over_a_restart(self):
        """Who waits for a flow hears of its end from the broker's next life."""
        waiting = self.start("submit", "echo", "--queue", "restarted", "--children",
                             json.dumps([NOBODY]), "--wait", "--json")
        job = wait_for("the job to end", lambda: self.quern.json(
            "jobs", "--queue", "restarted", "--state", "done"))[0]["id"]
        watching = self.start("job", job, "--watch")
        watching.stdout.readline()
        epoch = self.quern.json("status")["broker"]["epoch"]
        os.kill(self.quern.pids("quern-broker")[0], signal.SIGKILL)
        wait_for("the next life", lambda: self.quern.run("status").returncode == 0 and
                 self.quern.json("status")["broker"]["epoch"] > epoch)
        self.assertEqual(self.quern.json("job", job)["below"], 1)
        self.quern("cancel", job)
        said, complaints = self.end(waiting, 1)
        self.assertEqual(json.loads(said)["flow"]["cancelled"], 1)
        self.assertIn("the broker is back", complaints)
        said, _ = self.end(watching, 1)
        self.assertIn("1 of 1 jobs below it have ended, 1 cancelled", said)


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    quern_tree.main()
