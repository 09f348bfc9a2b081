#!/usr/bin/env python3
"""What an author of a worker gets: an installation in a folder of its own, of which everything here is
used as its pages say. The programs, the header by itself, the library's symbols, the examples, built
through pkg-config alone and run as a pool of `quern up` and by hand."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import tempfile
import unittest

BUILD = os.environ["QUERN_TEST_BUILD"]
CMAKE = os.environ["QUERN_TEST_CMAKE"]
CC = os.environ["QUERN_TEST_CC"]
# What the library was built with, where that is a sanitizer; nothing in a release.
SANITIZER = os.environ["QUERN_TEST_SANITIZER"].split()
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]
STANDARD_HEADERS = {"stdbool.h", "stddef.h", "stdint.h", "string.h"}

FOLDER = tempfile.TemporaryDirectory(prefix="quern-sdk-")
PREFIX = pathlib.Path(FOLDER.name, "usr")


def call(*words, **options):
    done = subprocess.run([str(word) for word in words], text=True, capture_output=True,
                          check=False, **options)
    if done.returncode:
        raise AssertionError(f"{shlex.join(map(str, words))}: status {done.returncode}\n"
                             f"{done.stdout}{done.stderr}")
    return done.stdout


call(CMAKE, "--install", BUILD, "--prefix", PREFIX)
os.environ["QUERN_TEST_BIN"] = str(PREFIX / "bin")
os.environ["LD_LIBRARY_PATH"] = str(PREFIX / "lib")
os.environ["PKG_CONFIG_PATH"] = str(PREFIX / "lib/pkgconfig")

import quern_tree  # noqa: E402: it reads where the programs are
from quern_tree import DEADLINE_S, TreeTest, environment, wait_for  # noqa: E402

EXAMPLES = PREFIX / "share/doc/quern/examples/c"
CONFIG = f"""
broker:
  heartbeat: 200ms
pools:
  words:
    command: '"{PREFIX}/word_count"'
    processes_min: 1
    processes_max: 1
    slots: 2
    restart_backoff: 50ms
    stop_grace: 5s
"""


def pkg_config(*words):
    return shlex.split(call("pkg-config", *words, "quern"))


def build(name):
    """As the head of the example says, and stricter."""
    call(CC, "-std=c11", *STRICT, *SANITIZER, EXAMPLES / f"{name}.c",
         *pkg_config("--cflags", "--libs"), "-o", PREFIX / name)


class Installation(unittest.TestCase):
    def test_header_stands_alone(self):
        text = (PREFIX / "include/quern.h").read_text()
        self.assertEqual(set(re.findall(r'(?m)^#\s*include\s*[<"]([^>"]+)', text)), STANDARD_HEADERS)
        flags = pkg_config("--cflags")
        source = PREFIX / "only_the_header.c"
        source.write_text("#include <quern.h>\n"
                          "extern size_t size;\n"
                          "size_t size = sizeof(struct quern_error) + sizeof(struct quern_spec);\n")
        for command in ([CC, "-std=c11"], ["clang", "-std=c11"], ["clang", "-x", "c++", "-std=c++11"],
                        ["clang", "-x", "c++", "-std=c++20"]):
            with self.subTest(command=command):
                call(*command, *STRICT, *flags, "-fsyntax-only", source)

    def test_pages(self):
        """What the guide and the header's own head show compiles as it stands there."""
        page = (PREFIX / "share/doc/quern/workers.md").read_text()
        worker, client = re.findall(r"```c\n(.*?)```", page, re.DOTALL)
        head = (PREFIX / "include/quern.h").read_text().split("*/")[0]
        shown = re.search(r"#include <quern.h>.*?\n \*     }\n(?= \*\n \*     cc)", head, re.DOTALL)[0]
        client = f"#include <quern.h>\n#include <stdio.h>\nint main(void) {{\n{client}}}\n"
        for name, text in (("worker", worker), ("head", re.sub(r"(?m)^ \* ?", "", shown)),
                           ("client", client)):
            with self.subTest(name):
                source = PREFIX / f"page_{name}.c"
                source.write_text(text)
                call(CC, "-std=c11", *STRICT, *SANITIZER, source, *pkg_config("--cflags", "--libs"),
                     "-o", PREFIX / f"page_{name}")

    def test_symbols(self):
        """Each function of the header, and nothing else."""
        text = (PREFIX / "include/quern.h").read_text()
        declared = set(re.findall(r"QUERN_API\s[^;]*?\b(quern_\w+)\(", text))
        said = call("nm", "-D", "--defined-only", PREFIX / "lib/libquern.so.0")
        exported = {line.split()[2].split("@")[0] for line in said.splitlines()} - {"QUERN_0"}
        self.assertEqual(exported, declared)
        self.assertGreater(len(exported), 60)

    def test_pkg_config(self):
        header = (PREFIX / "include/quern.h").read_text()
        version = re.search(r'QUERN_VERSION_STRING "(.*)"', header)[1]
        self.assertEqual(pkg_config("--modversion"), [version])
        self.assertEqual(pkg_config("--variable=prefix"), [str(PREFIX)])
        self.assertEqual(pkg_config("--cflags", "--libs"),
                         [f"-I{PREFIX}/include", f"-L{PREFIX}/lib", "-lquern"])

    def test_staged(self):
        """DESTDIR moves the files and is in none of them."""
        stage = PREFIX.parent / "stage"
        call(CMAKE, "--install", BUILD, "--prefix", "/opt/quern",
             env={**os.environ, "DESTDIR": str(stage)})
        for name in ("bin/quern", "bin/quern-broker", "bin/quern-pools", "bin/quern-worker",
                     "include/quern.h", "lib/libquern.so", "lib/libquern.so.0",
                     "share/doc/quern/workers.md", "share/doc/quern/quern.yaml",
                     "share/doc/quern/examples/c/word_count.c"):
            self.assertTrue((stage / "opt/quern" / name).is_file(), name)
        said = (stage / "opt/quern/lib/pkgconfig/quern.pc").read_text()
        self.assertIn("prefix=/opt/quern\n", said)
        self.assertNotIn(str(stage), said)


class Examples(TreeTest):
    CONFIG = CONFIG

    @classmethod
    def setUpClass(cls):
        for name in ("word_count", "client"):
            build(name)
        super().setUpClass()

    def client(self, *words, status=0):
        done = subprocess.run([PREFIX / "client", *map(str, words)], text=True, capture_output=True,
                              check=False, timeout=3 * DEADLINE_S,
                              env=environment(QUERN_DATA=str(self.quern.data)))
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def file(self, name, text):
        path = self.quern.path / name
        path.write_text(text)
        return path

    def submit(self, path, *options):
        return self.quern.submit("words.count", {"path": str(path)}, *options)

    def test_kinds_are_declared_by_hello(self):
        """P-34: nothing else names them."""
        workers = self.quern.workers()
        self.assertEqual([(w["pool"], w["slots"], w["kinds"]) for w in workers],
                         [("words", 2, ["words.count", "words.recite"])])
        self.assertTrue(workers[0]["name"].startswith("word_count"), workers[0])

    def test_succeeds(self):
        path = self.file("three", "one two\nthree \n")
        said = json.loads(self.submit(path, "--wait"))
        self.assertEqual(said, {"words": 3, "lines": 2, "bytes": 15})

    def test_fails_and_is_tried_again(self):
        path = self.quern.path / "later"
        job = self.submit(path)
        wait_for("an attempt to fail", lambda: self.quern.json("job", job)["attempts"] >= 1
                 and self.quern.state(job) == "scheduled")
        self.file("later", "here it is")
        self.quern.wait_state(job, "done")
        self.assertGreaterEqual(self.quern.json("job", job)["attempts"], 1)

    def test_fails_for_good(self):
        job = self.submit("")
        self.quern.wait_state(job, "dead")
        said = self.quern.json("job", job)
        self.assertEqual((said["error"], said["attempts"]), ("JOB_REJECTED", 1))
        job = self.quern.submit("words.count", {"path": 7})
        self.quern.wait_state(job, "dead")
        self.assertIn("payload.path: must be text", self.quern.json("job", job)["text"])

    def test_streams_and_is_cancelled(self):
        said, _ = self.client("recite", "to be or not")
        self.assertEqual(said, 'to be or not\ndone {"words":4}\n')
        job = self.quern.submit("words.recite", {"text": "a b c", "ms": 60000})
        reader = subprocess.Popen([PREFIX / "bin/quern", "job", job, "--stream"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  env=environment(QUERN_DATA=str(self.quern.data)))
        self.assertEqual(reader.stdout.read(2), "a ")
        self.quern("cancel", job)
        self.quern.wait_state(job, "cancelled")
        said, complaints = reader.communicate(timeout=DEADLINE_S)
        self.assertEqual((reader.returncode, said), (1, ""), complaints)

    def test_client(self):
        one, two = self.file("one", "1"), self.file("two", "1 2")
        said, _ = self.client("count", one, two)
        self.assertEqual(sorted(json.loads(line.split(" ", 1)[1])["words"]
                                for line in said.splitlines()), [1, 2])
        _, complaints = self.client("count", one, "", status=1)
        self.assertIn("JOB_REJECTED", complaints)
        _, complaints = self.client(status=2)
        self.assertIn("usage", complaints)

    def test_killed(self):
        """P-59: the job comes back, in a new process, and nobody hears a word twice."""
        text = " ".join(f"word{n}" for n in range(8))
        job = self.quern.submit("words.recite", {"text": text, "ms": 150})
        self.quern.wait_state(job, "running")
        before = self.quern.pids("word_count")
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        said = self.quern("job", job, "--stream")
        self.assertEqual(said.rstrip().rpartition("word0")[2].split()[-1], "word7")
        self.quern.wait_state(job, "done")
        self.assertFalse(set(before) & set(self.quern.pids("word_count")))

    def test_by_hand(self):
        """No supervisor, no settings: $QUERN_DATA alone."""
        worker = subprocess.Popen([PREFIX / "word_count"], stderr=subprocess.PIPE, text=True,
                                  env=environment(QUERN_DATA=str(self.quern.data),
                                                  QUERN_WORKER_KINDS="words.count"))
        mine = lambda: [w for w in self.quern.workers() if "pool" not in w]  # noqa: E731
        wait_for("the worker", mine)
        self.assertEqual(mine()[0]["kinds"], ["words.count"])
        worker.send_signal(signal.SIGTERM)
        _, said = worker.communicate(timeout=DEADLINE_S)
        self.assertEqual(worker.returncode, 0, said)
        events = [json.loads(line)["event"] for line in said.splitlines()]
        self.assertEqual(events[0], "worker.starting")
        self.assertEqual(events[-1], "worker.ended")
        worker = subprocess.run([PREFIX / "word_count"], capture_output=True, text=True, check=False,
                                env=environment(QUERN_WORKER_KINDS="sums"), timeout=DEADLINE_S)
        self.assertEqual(worker.returncode, 2)
        self.assertIn('has no kind \\"sums\\"', worker.stderr)


class Life(unittest.TestCase):
    def test_up_and_down(self):
        """What was installed finds its other programs, works, and stops in order."""
        build("word_count")
        quern = quern_tree.Quern(CONFIG)
        self.addCleanup(quern.close)
        quern.start()
        for name in ("quern-broker", "quern-pools"):
            for pid in quern.pids(name):
                program = pathlib.Path(f"/proc/{pid}/exe").resolve()
                self.assertEqual(program, (PREFIX / "bin" / name).resolve())
        path = quern.path / "one"
        path.write_text("one")
        quern.submit("words.count", {"path": str(path)}, "--wait")
        self.assertEqual(quern.stop(), 0)
        ended = [e for e in quern.events("worker.ended") if e["program"] == "word_count"]
        self.assertEqual([e["status"] for e in ended], [0], quern.log_tail())


if __name__ == "__main__":
    try:
        quern_tree.main()
    finally:
        FOLDER.cleanup()
