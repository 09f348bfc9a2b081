#!/usr/bin/env python3
"""What `quern` says about itself, and about being called wrongly. Nothing has to run for that."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import quern_tree
from quern_tree import BIN

SOURCE = pathlib.Path(os.environ["QUERN_TEST_SOURCE"])
COMMANDS = ("up down reload doctor status top submit job why jobs cancel dead retry queues pause resume "
            "purge limit workers pools scale drain notes bench keygen keys help").split()
FAMILIES = {"schedule": "add list run rm pause resume".split(), "note": "set rm".split()}
# What may stand first on the command line.
FIRST = [*COMMANDS, *FAMILIES]


def quern(*words, **env):
    return subprocess.run([BIN / "quern", *words], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, cwd=tempfile.gettempdir(),
                          env=quern_tree.environment(**env))


class Help(unittest.TestCase):
    def test_list(self):
        done = quern("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        golden = (SOURCE / "tests/e2e/help.txt").read_text()
        self.assertEqual(done.stdout, golden)
        self.assertEqual(quern("help").stdout, golden)
        self.assertEqual(quern("-h").stdout, golden)
        listed = re.findall(r"^  ([a-z]+) ", golden, re.MULTILINE)
        self.assertEqual(sorted(listed), sorted(FIRST))

    def check_help(self, *name):
        done = quern("help", *name)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(done.stdout.startswith(f"usage: quern {' '.join(name)}"))
        self.assertEqual(quern(*name, "--help").stdout, done.stdout)
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 80)
        return done.stdout

    def test_each_command(self):
        for name in COMMANDS:
            self.assertIn("\nexit status\n  0  ", self.check_help(name))
        for family, parts in FAMILIES.items():
            said = self.check_help(family)
            self.assertIn(f"{family} {'|'.join(parts)} ", said)
            self.assertEqual(re.findall(r"^  ([a-z]+) ", said, re.MULTILINE), parts)
            for part in parts:
                self.assertIn("\nexit status\n  0  ", self.check_help(family, part))

    def test_page(self):
        """docs/cli.md is what the table says: `quern help --markdown > docs/cli.md`."""
        self.assertEqual(quern("help", "--markdown").stdout, (SOURCE / "docs/cli.md").read_text())

    def test_hidden(self):
        for words in (["--help"], ["help", "help"]):
            self.assertNotIn("markdown", quern(*words).stdout)
        self.assertIn("--stream", quern("help", "submit").stdout)
        self.assertNotIn("--listen", quern("help", "up").stdout)

    def test_version(self):
        self.assertRegex(quern("--version").stdout, r"^quern \d+\.\d+\.\d+\n$")


class Completion(unittest.TestCase):
    def complete(self, *words):
        script = (". <(\"$QUERN\" help --bash); COMP_WORDS=(\"$@\"); COMP_CWORD=$(($#-1)); _quern; "
                  "printf '%s\\n' \"${COMPREPLY[@]}\"")
        done = subprocess.run(["bash", "-euc", script, "bash", "quern", *words], check=True,
                              capture_output=True, text=True,
                              env=quern_tree.environment(QUERN=str(BIN / "quern")))
        return done.stdout.split()

    def test_words(self):
        self.assertEqual(self.complete("st"), ["status"])
        self.assertEqual(sorted(self.complete("")), sorted([*FIRST, "--help"]))
        self.assertEqual(self.complete("submit", "--uni"), ["--unique"])
        self.assertEqual(self.complete("submit", "--durability", "a"), ["async"])
        self.assertEqual(self.complete("limit", "q"), ["queue"])
        self.assertEqual(self.complete("help", "dr"), ["drain"])
        self.assertEqual(self.complete("help", "sche"), ["schedule"])
        self.assertEqual(sorted(self.complete("schedule", "")),
                         sorted([*FAMILIES["schedule"], "--help"]))
        self.assertEqual(self.complete("schedule", "add", "--cr"), ["--cron"])
        self.assertEqual(self.complete("schedule", "add", "--overlap", "r"), ["replace"])


class Wrong(unittest.TestCase):
    def wrong(self, *words, **env):
        """What is said on standard error; with --json the same on standard output too."""
        done = quern(*words, **env)
        self.assertTrue(done.stderr.startswith("quern: "), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)
        if words and "--json" not in words and "--" not in words:
            told = quern(*words, "--json", **env)
            self.assertEqual(told.returncode, 2, words)
            self.check_json(told, words)
        if "--json" in words:
            self.check_json(done, words)
        else:
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
        return done.stderr

    def check_json(self, done, words):
        self.assertEqual(done.returncode, 2)
        error = json.loads(done.stdout)["error"]
        self.assertEqual(sorted(error), ["class", "code", "context", "text"])
        self.assertEqual(error["class"], "perm")
        self.assertEqual(error["context"]["status"], 2)
        if words[0] in COMMANDS:
            self.assertEqual(error["context"]["command"], words[0])
        elif words[0] in FAMILIES and words[1:] and words[1] in FAMILIES[words[0]]:
            self.assertEqual(error["context"]["command"], " ".join(words[:2]))

    def test_named_with_what_was_meant(self):
        for words, says in {
            (): "a command is missing",
            ("sumbit",): "no command 'sumbit'; did you mean 'submit'?",
            ("--json", "status"): "the command comes first",
            ("status", "--jsn"): "did you mean '--json'?",
            ("submit", "echo", "--prio", "3"): "did you mean '--priority'?",
            ("submit", "echo", "-p"): "options begin with --",
            ("submit",): "KIND is missing",
            ("submit", "echo", "again"): "'again' is one word too many",
            ("submit", "echo", "--queue"): "--queue needs a value: --queue Q",
            ("submit", "echo", "--queue", "--wait"): "--queue needs a value",
            ("submit", "echo", "--wait=yes"): "--wait takes no value",
            ("submit", "echo", "--queue", "a", "--queue", "b"): "--queue is given twice",
            ("submit", "echo", "--priority", "12"): "--priority: 12, at most 9",
            ("submit", "echo", "--priority", "high"): "'high' is no whole number",
            ("submit", "echo", "--delay", "soon"): "--delay",
            ("submit", "echo", "--ttl", "0s"): "at least 1ms",
            ("submit", "echo", "--queue", "a b"): "'a b' is no name",
            ("submit", "e" * 65): "65 characters, at most 64",
            ("submit", "echo", "--durability", "asinc"): "did you mean 'async'?",
            ("submit", "echo", "--count", "10000001", "--wait"): "with --wait at most 10000000 jobs",
            ("submit", "echo", "--window", "1h"): "--window needs --unique",
            ("submit", "echo", "--interval", "1s"): "--interval needs --key",
            ("submit", "echo", "--run-at", "2027-02-30T09:00"): "is no time",
            ("submit", "echo", "--delay", "1s", "--run-at", "2027-01-01T00:00Z"): "not both",
            ("submit", "echo", "--batch", "-", "--count", "2"): "--batch stands without",
            ("submit", "echo", "--stream", "--count", "2"): "--stream stands without",
            ("submit", "echo", "--stream", "--batch", "-"): "--stream stands without",
            ("job", "0000c00000007", "--payload", "--stream"): "not both",
            ("submit", "echo", "--payload", "{"): "payload",
            ("submit", "echo", "--payload", "3"): "must be a JSON object",
            ("submit", "echo", "--payload", '{"a":1,"a":2}'): "payload",
            ("job", "17"): "'17' is no id",
            ("jobs", "--state", "runing"): "did you mean 'running'?",
            ("retry",): "give an ID, --group or --dead",
            ("retry", "--dead", "--queue"): "--queue needs a value",
            ("retry", "--group", "0000000000001", "--queue", "q"): "--queue stands with --dead",
            ("dead", "--limit", "3"): "stand with a GROUP",
            ("scale", "default"): "must be POOL=N",
            ("scale", "default=2000"): "at most 1024",
            ("scale", "default=2", "--reset"): "only its name",
            ("limit", "queues", "x", "--rate", "1/s"): "did you mean 'queue'?",
            ("limit", "queue", "x"): "nothing to set",
            ("limit", "queue", "x", "--rate", "10"): "write it such as 100/s",
            ("limit", "queue", "x", "--burst", "10"): "--burst needs --rate",
            ("limit", "queue", "x", "--weight", "2"): "--weight is for tenants",
            ("limit", "queue", "x", "--reset", "--rate", "1/s"): "--reset stands alone",
            ("bench", "submits"): "did you mean 'submit'?",
            ("schedule",): "what to do is missing: add, list, run, rm, pause or resume",
            ("schedule", "--cron", "@daily"): "what to do is missing",
            ("schedule", "ad"): "no command 'schedule ad'; did you mean 'schedule add'?",
            ("schedule", "submit"): "no command 'schedule submit'",
            ("schedul", "add"): "no command 'schedul'; did you mean 'schedule'?",
            ("schedule", "add"): "schedule add: NAME is missing",
            ("schedule", "add", "n"): "schedule add: KIND is missing",
            ("schedule", "add", "n", "k"): "give --cron or --every, which say when",
            ("schedule", "add", "n", "k", "--cron", "@daily", "--every", "1h"): "not both",
            ("schedule", "add", "n", "k", "--every", "1h", "--zone", "UTC"): "--zone needs --cron",
            ("schedule", "add", "n", "k", "--every", "10ms"): "--every: 10ms, at least 1s",
            ("schedule", "add", "n", "k", "--every", "1h", "--jitter", "25h"): "at most 1d",
            ("schedule", "add", "n", "k", "--cron", ""): "--cron: it is empty",
            ("schedule", "add", "n", "k", "--every", "1h", "--overlap", "skp"):
                "did you mean 'skip'?",
            ("schedule", "add", "n", "k", "--every", "1h", "--missed", "all"):
                "'all' is not one of once|none",
            ("schedule", "add", "n", "k", "--every", "1h", "--payload", "@/nowhere"):
                "schedule add --payload: cannot open '/nowhere': No such file or directory",
            ("schedule", "run", "n", "--zone", "UTC"): "schedule run: no option '--zone'",
            ("schedule", "rm", "a", "b"): "'b' is one word too many",
            ("schedule", "pause", "a b"): "'a b' is no name",
            ("status", "--data", "a", "--broker", "tcp://h:1"): "not both",
            ("status", "--broker", "http://h"): "must be tcp://HOST:PORT",
            ("status", "--broker", "tcp://h"): "must be tcp://HOST:PORT",
            ("status", "--broker", "nowhere"): "write tcp://HOST:PORT, ipc://PATH, or the path",
            ("submit", "echo", "--broker", "localhost:7000"): "is no address and no path",
            ("doctor", "--broker", "/dev/null"): "neither a folder nor a socket",
            ("submit", "echo", "--payload", "@"): "a file's name is missing behind @",
            ("submit", "echo", "--payload", "@/nowhere"):
                "submit --payload: cannot open '/nowhere': No such file or directory",
            ("submit", "echo", "--payload", "-"): "standard input is empty",
            ("submit", "echo", "--payload", "@/dev/null"): "/dev/null is empty",
            ("submit", "echo", "--payload", "@/"): "submit --payload: '/' is a folder",
            ("submit", "echo", "--payload", "@/dev/zero"): "more than 8388608 bytes",
            ("submit", "echo", "--batch", "/nowhere"):
                "submit --batch: cannot open '/nowhere': No such file or directory",
            ("submit", "echo", "--batch", "/"): "submit --batch: '/' is a folder",
            ("submit", "echo", "--priority", "-1"): "'-1' is no whole number",
            ("jobs", "--limit", "9" * 30): f"{'9' * 30}, at most 1000000",
            ("jobs", "--queue", ""): "'' is no name",
            ("cancel", ""): "'' is no id; an id has 13 digits and letters",
            ("help", "sumbit"): "did you mean",
            ("help", "schedule", "ad"): "did you mean 'schedule add'?",
        }.items():
            with self.subTest(words):
                self.assertIn(says, self.wrong(*words))

    def test_a_broker_of_the_environment(self):
        """It matters to those who speak with it."""
        self.assertIn('broker: "nowhere"', self.wrong("status", QUERN_BROKER="nowhere"))
        self.assertEqual(quern("help", QUERN_BROKER="nowhere").returncode, 0)
        self.assertEqual(quern("down", "--data", "/nowhere", QUERN_BROKER="nowhere").returncode, 3)

    def test_settings_that_cannot_be_read(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertIn("/nowhere: cannot be read", quern(
                "up", "--data", folder, "--config", "/nowhere").stderr)
            self.assertEqual(quern("up", "--data", folder, "--config", "/nowhere").returncode, 2)

    def test_words_that_are_no_text(self):
        """Whatever an argument holds, --json prints JSON."""
        said = quern("job", b"\xff\xfe", "--json")
        self.assertIn("is no id", json.loads(said.stdout)["error"]["text"])

    def test_nothing_of_the_terminal_is_taken_over(self):
        self.assertNotIn("\033", self.wrong("submit", "\033[31mred"))

    def test_no_broker(self):
        with tempfile.TemporaryDirectory() as folder:
            done = quern("status", "--data", folder)
            self.assertEqual(done.returncode, 3)
            self.assertEqual(done.stderr, f"quern: no broker runs in {folder}; start it with: "
                                          f"quern up --data {folder}\n")
            self.assertEqual(quern("status", QUERN_DATA=folder).stderr, done.stderr)
            self.assertEqual(quern("jobs", "--broker", f"ipc://{folder}/none").returncode, 3)

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([BIN / "quern", "help"], stdout=full, stderr=subprocess.PIPE,
                                  check=False, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("standard output", done.stderr)

    def test_descriptors_that_are_closed(self):
        """Nothing that is opened later takes the place of standard output or input."""
        for words, says in (("help >&-", "standard output"),
                            ("submit echo --payload - <&-", "standard input: cannot be read")):
            done = subprocess.run(["bash", "-c", f"exec {BIN / 'quern'} {words}"], check=False,
                                  stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                  env=quern_tree.environment())
            self.assertEqual(done.returncode, 1)
            self.assertIn(says, done.stderr)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        (SOURCE / "tests/e2e/help.txt").write_text(quern("--help").stdout)
        (SOURCE / "docs/cli.md").write_text(quern("help", "--markdown").stdout)
        sys.exit()
    quern_tree.main()
