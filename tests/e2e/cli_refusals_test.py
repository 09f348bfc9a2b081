#!/usr/bin/env python3
"""What a command says that is refused: each one with and without --json, and to whom it is said."""

import json
import select
import signal
import subprocess
import unittest

import quern_tree
from quern_tree import BIN, DEADLINE_S, TreeTest, wait_for

GONE, GONE_TOO = "0000c00000007", "0000c00000008"

# The words of a command; its exit status; the error's code.
REFUSED = [
    (("status", "--broker", "tcp://127.0.0.1:1"), 3, "UNREACHABLE_BROKER"),
    (("doctor", "--broker", "tcp://no port"), 2, "USAGE"),
    (("top", "--once", "--broker", "tcp://127.0.0.1:1"), 3, "UNREACHABLE_BROKER"),
    (("reload", "--data", "/nowhere"), 3, "UNREACHABLE_BROKER"),
    (("submit", "nokind"), 2, "UNKNOWN_KIND"),
    (("submit", "nokind", "--wait"), 2, "UNKNOWN_KIND"),
    (("submit", "nokind", "--stream"), 2, "UNKNOWN_KIND"),
    (("submit", "echo", "--payload", "[]"), 2, "BAD_VALUE"),
    (("submit", "echo", "--payload", "@/nowhere"), 2, "USAGE"),
    (("submit", "echo", "--batch", "/nowhere"), 2, "USAGE"),
    (("submit", "echo", "--batch", "/"), 2, "USAGE"),
    (("job", GONE), 4, "NOT_FOUND"),
    (("job", GONE, "--payload"), 4, "NOT_FOUND"),
    (("job", GONE, "--stream"), 4, "NOT_FOUND"),
    (("why", GONE), 4, "NOT_FOUND"),
    (("jobs", "--before", "17"), 2, "USAGE"),
    (("cancel", "17"), 2, "USAGE"),
    (("retry", GONE), 4, "NOT_FOUND"),
    (("retry", GONE, "--dry-run"), 4, "NOT_FOUND"),
    (("retry", "--group", GONE), 4, "NOT_FOUND"),
    (("dead", GONE), 4, "NOT_FOUND"),
    (("retry", "--dead", "--queue", "nothing"), 4, "UNKNOWN_QUEUE"),
    (("queues", "nothing"), 4, "UNKNOWN_QUEUE"),
    (("pause", "nothing"), 4, "UNKNOWN_QUEUE"),
    (("resume", "nothing"), 4, "UNKNOWN_QUEUE"),
    (("purge", "nothing"), 4, "UNKNOWN_QUEUE"),
    (("limit", "queue", "nothing"), 2, "USAGE"),
    (("workers", "nothing"), 4, "UNKNOWN_POOL"),
    (("pools", "nothing"), 4, "UNKNOWN_POOL"),
    (("scale", "nothing"), 2, "USAGE"),
    (("drain", "nothing"), 4, "UNKNOWN_POOL"),
    (("schedule", "add", "n", "nokind", "--every", "1h"), 2, "UNKNOWN_KIND"),
    (("schedule", "add", "n", "echo", "--cron", "0 0 31 2 *"), 2, "BAD_VALUE"),
    (("schedule", "add", "n", "echo"), 2, "USAGE"),
    (("schedule", "list", "nothing"), 4, "NOT_FOUND"),
    (("schedule", "run", "nothing"), 4, "NOT_FOUND"),
    (("schedule", "run", "nothing", "--wait"), 4, "NOT_FOUND"),
    (("schedule", "rm", "nothing"), 4, "NOT_FOUND"),
    (("schedule", "pause", "nothing"), 4, "NOT_FOUND"),
    (("schedule", "resume", "nothing"), 4, "NOT_FOUND"),
    (("bench", "submit", "--kind", "nokind"), 2, "UNKNOWN_KIND"),
    (("bench", "roundtrip", "--kind", "nokind"), 2, "UNKNOWN_KIND"),
    (("notes", "nothing"), 4, "NOT_FOUND"),
    (("note", "set", "-n", "v", "--for", "1s"), 2, "USAGE"),
    (("note", "set", "n", "v"), 2, "USAGE"),
    (("note", "rm", "nothing"), 4, "NOT_FOUND"),
    (("keygen", "a", "--role", "client"), 2, "USAGE"),
    (("keys", "--config", "/nowhere"), 2, "BAD_CONFIG"),
]

# Commands that say of each thing what became of it: the status, the codes.
OF_EACH = [
    (("cancel", GONE), 4, ["NOT_FOUND"]),
    (("cancel", GONE, GONE_TOO), 4, ["NOT_FOUND", "NOT_FOUND"]),
    (("scale", "nothing=1", "default=99", "default=1"), 4, ["UNKNOWN_POOL", "BAD_VALUE", "OK"]),
    (("submit", "nokind", "--count", "2"), 2, ["UNKNOWN_KIND", "UNKNOWN_KIND"]),
]


def command(words):
    return " ".join(words[:2 if words[0] in ("schedule", "note") else 1])


class Refused(TreeTest):
    def both(self, words, status):
        """What is said on standard output with --json, and on standard error."""
        text, told = self.quern.run(*words), self.quern.run(*words, "--json")
        self.assertEqual((text.returncode, told.returncode), (status, status), text.stderr)
        self.assertEqual(told.stderr, text.stderr)
        self.assertTrue(text.stderr.startswith("quern: "), text.stderr)
        self.assertEqual(told.stdout.count("\n"), 1)
        return json.loads(told.stdout), text

    def test_one_document(self):
        for words, status, code in REFUSED:
            with self.subTest(words):
                told, text = self.both(words, status)
                self.assertEqual(list(told), ["error"])
                error = told["error"]
                self.assertEqual(error["code"], code)
                self.assertIn(error["class"], ("temp", "perm"))
                self.assertIn(error["text"], text.stderr)
                self.assertEqual(error["context"].pop("command"), command(words))
                self.assertEqual(error["context"].pop("status"), status)
                self.assertIn(error["context"].pop("hint", ""), text.stderr)
                self.assertEqual(error["context"], {})
                self.assertEqual(text.stdout, "")

    def test_every_command_is_tried(self):
        listed = self.quern("help", "--markdown").split("### quern ")[1:]
        with_json = {part.splitlines()[0] for part in listed if "`--json`" in part}
        self.assertEqual({command(words) for words, _, _ in REFUSED}, with_json)

    def test_what_became_of_each(self):
        for words, status, codes in OF_EACH:
            with self.subTest(words):
                rows, text = self.both(words, status)
                self.assertEqual([row["code"] for row in rows], codes)
                said = [row["text"] for row in rows if row["code"] != "OK"]
                for one in said:
                    self.assertIn(one, text.stderr)
                places = [text.stderr.index(one) for one in said]
                self.assertEqual(places, sorted(places))

    def test_a_batch_tells_of_its_bad_line(self):
        path = self.quern.path / "batch"
        path.write_text('{"n":1}\n[2]\n{"n":3}\n')
        rows, _ = self.both(("submit", "echo", "--batch", str(path)), 2)
        self.assertEqual([row["code"] for row in rows], ["OK", "BAD_VALUE"])
        self.assertIn("line 2", rows[1]["text"])

    def test_ends_of_those_that_were_refused(self):
        rows, _ = self.both(("submit", "nokind", "--count", "2", "--wait"), 2)
        self.assertEqual([row["error"] for row in rows], ["UNKNOWN_KIND"] * 2)

    def test_a_job_that_failed_is_no_failure_to_tell_of_it(self):
        words = ("submit", "fail", "--payload", '{"class":"perm"}')
        told = self.quern.json(*words, "--wait", status=1)
        self.assertEqual((told["state"], told["error"]), ("dead", "JOB_REJECTED"))
        told = self.quern.json(*words, "--stream", status=1)
        self.assertEqual((told["event"], told["error"]), ("finished", "JOB_REJECTED"))


class Reading(TreeTest):
    """Who reads may go before all is said."""

    def head(self, *words):
        reader = subprocess.Popen([BIN / "quern", *words], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                  env=quern_tree.environment(QUERN_DATA=str(self.quern.data)))
        line = reader.stdout.readline()
        reader.stdout.close()
        _, said = reader.communicate(timeout=DEADLINE_S)
        return line, reader.returncode, said

    def test_a_pipe_that_is_closed(self):
        self.quern("submit", "nobody", "--queue", "long", "--count", 3000)
        line, status, said = self.head("jobs", "--limit", "3000", "--queue", "long")
        self.assertTrue(line.startswith(b"ID "))
        self.assertEqual((status, said), (-signal.SIGPIPE, b""))
        self.assertEqual(self.head("help", "--markdown")[2], b"")
        self.assertEqual(len(self.quern.json("jobs", "--limit", 5000, "--queue", "long")), 3000)
        self.quern("purge", "long")

    def test_paths_of_the_broker(self):
        socket = self.quern.data / "run/operator.sock"
        for broker in (self.quern.data, socket, f"ipc://{socket}"):
            self.assertEqual(self.quern.json("status", "--broker", broker)["broker"]["queues"],
                             self.quern.json("status")["broker"]["queues"])
        self.assertIn("is for clients only", self.quern.fails(
            2, "workers", "--broker", self.quern.data / "run/client.sock"))
        self.assertIn("worker.sock is for neither operators nor clients\n", self.quern.fails(
            2, "status", "--broker", self.quern.data / "run/worker.sock"))


class Waiting(TreeTest):
    """A job outlives its broker; whoever waits for it hears why nothing happens."""

    def said(self, waiting, text):
        ready, _, _ = select.select([waiting.stderr], [], [], DEADLINE_S)
        self.assertTrue(ready)
        self.assertEqual(waiting.stderr.readline(), f"quern: {text}\n".encode())

    def test_a_broker_that_goes_and_comes_back(self):
        for how in ("--wait", "--stream"):
            waiting = subprocess.Popen(
                [BIN / "quern", "submit", "nobody", "--queue", how[2:], how, "--json"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                stdin=subprocess.DEVNULL,
                env=quern_tree.environment(QUERN_DATA=str(self.quern.data)))
            job = wait_for("the job", lambda: self.quern.json("jobs", "--queue", how[2:]))[0]["id"]
            self.quern.stop()
            self.said(waiting, "the broker is gone; waiting for it to be back")
            self.quern.start()
            self.said(waiting, "the broker is back")
            self.quern("cancel", job)
            told, _ = waiting.communicate(timeout=DEADLINE_S)
            self.assertEqual(waiting.returncode, 1)
            self.assertEqual(json.loads(told)["state"], "cancelled")


class Quota(TreeTest):
    CONFIG = quern_tree.CONFIG.replace("kinds:", "queues:\n  shared: {tenant_concurrency: 2}\n"
                                       "kinds:")

    def test_what_of_it_is_used(self):
        row = self.quern.json("queues", "shared")[0]
        self.assertEqual((row["tenant_concurrency"], row["tenants_running"], row["tenants_full"]),
                         (2, 0, 0))
        self.assertNotIn("tenant", row)
        self.assertTrue(self.quern("queues", "shared").endswith("  2 a tenant"))
        jobs = [self.quern.submit("sleep", {"ms": 600000}, "--queue", "shared", "--tenant", tenant)
                for tenant in ("a", "b", "b", "b")]
        for job in jobs[:3]:
            self.quern.wait_state(job, "running")
        self.quern.wait_reason(jobs[3], "queue_tenant_concurrency")
        row = self.quern.json("queues", "shared")[0]
        self.assertEqual((row["tenants_running"], row["tenants_full"]), (2, 1))
        self.assertEqual((row["tenant"], row["tenant_running"]), ("b", 2))
        self.assertIn("2 a tenant (most: b 2; full: 1 of 2)", self.quern("queues", "shared"))
        self.quern("cancel", *jobs)


if __name__ == "__main__":
    quern_tree.main()
