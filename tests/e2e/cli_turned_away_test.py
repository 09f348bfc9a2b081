#!/usr/bin/env python3
"""What is said where the broker will not have a client: because its places are taken, which an
operator must be able to look at, or for good, while something is waited for."""

import os
import subprocess
import unittest

import quern_tree
from quern_tree import BIN, DEADLINE_S, TreeTest, wait_for


def begin(quern, *words):
    """A command that runs on in the background."""
    return subprocess.Popen([BIN / "quern", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, stdin=subprocess.DEVNULL,
                            env=quern_tree.environment(QUERN_DATA=str(quern.data)))


class Full(TreeTest):
    """The supervisor has one place, one client the other."""

    CONFIG = quern_tree.CONFIG.replace("broker:\n", "broker:\n  clients_max: 2\n"
                                       "  tcp_client: tcp://127.0.0.1:*\n")

    def setUp(self):
        self.client = self.quern.events("broker.ready")[0]["tcp_client"]
        self.waiting = begin(self.quern, "submit", "nobody", "--wait", "--broker", self.client)
        self.addCleanup(self.leave)
        wait_for("the client's job", lambda: self.quern.json("jobs", "--state", "ready"))

    def leave(self):
        if self.waiting.poll() is None:
            self.waiting.terminate()
        self.waiting.communicate(timeout=DEADLINE_S)
        for job in self.quern.json("jobs", "--state", "ready"):
            self.quern("cancel", job["id"])

    def test_a_client_is_told_why(self):
        for words in (["jobs"], ["jobs", "--json"], ["submit", "echo", "--wait"]):
            said = self.quern.fails(1, *words, "--broker", self.client)
            self.assertEqual(said, f"quern: the broker at {self.client}: 2 clients are connected, "
                             "gateways and operators too: the bound (broker.clients_max)\n")
        self.waiting.terminate()
        self.waiting.communicate(timeout=DEADLINE_S)
        self.quern("jobs", "--broker", self.client)

    def test_an_operator_can_look(self):
        self.assertEqual(self.quern.json("status")["pools"][0]["alive"], 1)
        self.assertEqual(self.quern("submit", "echo", "--wait"), "{}")
        self.quern("scale", "default=2")
        self.quern("scale", "default", "--reset")
        self.assertIn("clients_max", self.quern.run("doctor", "--broker", self.client).stdout)
        self.assertNotIn("clients_max", self.quern("doctor"))


class Turned(unittest.TestCase):
    """The same address is another endpoint's after a restart: who waits is told, and ends."""

    OPERATORS = "broker:\n  tcp_operator: tcp://127.0.0.1:*\n"

    def test_who_waits_is_told_at_once(self):
        quern = quern_tree.Quern(quern_tree.CONFIG.replace("broker:\n", self.OPERATORS))
        self.addCleanup(quern.close)
        quern.start()
        where = quern.events("broker.ready")[-1]["tcp_operator"]
        job = quern.submit("nobody")
        waiting = [begin(quern, *words, "--broker", where) for words in (
            ("job", job, "--stream"), ("submit", "nobody", "--wait"),
            ("submit", "nobody", "--stream"))]
        wait_for("all jobs", lambda: len(quern.json("jobs")) == 3)
        wait_for("who follows", lambda: quern.json("status")["broker"]["watches"] == 3)
        quern.stop()
        quern.config.write_text(quern_tree.CONFIG.replace(
            "broker:\n", f"broker:\n  tcp_client: {where}\n"))
        quern.start()
        for process in waiting:
            said, complaints = process.communicate(timeout=DEADLINE_S)
            self.assertEqual((process.returncode, said), (2, ""), complaints)
            self.assertIn("hello.role", complaints.splitlines()[-1])


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    quern_tree.main()
