"""A process tree of `quern up` in a folder of its own, for tests of the programs together.

Nothing here outlives a test: all that a test starts, however indirectly, becomes a child of the test
program when its parent ends, and is ended with it.
"""

import ctypes
import json
import os
import pathlib
import select
import signal
import subprocess
import tempfile
import time
import unittest

BIN = pathlib.Path(os.environ["QUERN_TEST_BIN"])
# A sanitizer makes everything slower; nothing waits that long when all is well.
DEADLINE_S = float(os.environ.get("QUERN_TEST_DEADLINE", "20"))
SUPPRESSIONS = pathlib.Path(__file__).resolve().parents[1] / "support/tsan.supp"
PR_SET_CHILD_SUBREAPER = 36

CONFIG = """
broker:
  heartbeat: 200ms
kinds:
  nobody: {}
pools:
  default: {processes_min: 1, processes_max: 4, slots: 4, restart_backoff: 50ms, stop_grace: 5s}
"""


def environment(**more):
    ours = {name: value for name, value in os.environ.items() if not name.startswith("QUERN_")}
    ours.pop("NO_COLOR", None)
    tsan = f"{ours.get('TSAN_OPTIONS', '')}:suppressions={SUPPRESSIONS}"
    return {**ours, "TZ": "UTC", "TSAN_OPTIONS": tsan, **more}


def wait_for(what, condition):
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}")
        time.sleep(0.01)


def parents():
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path("/proc", entry, "stat").read_text(errors="replace")
            except OSError:
                continue
            state, parent = stat.rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(entry)] = int(parent)
    return found


def descendants():
    """Everything that this test has started and that still runs."""
    tree, ours = parents(), {os.getpid()}
    while more := {pid for pid, parent in tree.items() if parent in ours} - ours:
        ours |= more
    return ours - {os.getpid()}


def reap_orphans(known):
    """Takes the ends of processes whose parent is gone; `known` are subprocess's own."""
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) in known:
            continue
        try:
            stat = pathlib.Path("/proc", pid, "stat").read_text(errors="replace")
            state, parent = stat.rpartition(")")[2].split()[:2]
            if state == "Z" and int(parent) == os.getpid():
                os.waitpid(int(pid), os.WNOHANG)
        except OSError:
            continue


def end_descendants():
    """Kills them; true when none is left. One that was just started is met the next time."""
    for pid in descendants():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    reap_orphans(set())
    return not descendants()


def is_alive(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Quern:
    """A data folder, the commands in it, and at most one tree."""

    def __init__(self, config=CONFIG):
        self.folder = tempfile.TemporaryDirectory(prefix="quern-e2e-")
        self.path = pathlib.Path(self.folder.name)
        self.data = self.path / "data"
        self.config = self.path / "quern.yaml"
        self.config.write_text(config)
        self.log = self.path / "log"
        self.tree = None

    # --- commands --------------------------------------------------------------------------------

    def run(self, *words, text=None, **env):
        """A command; its result, whatever the status."""
        command = [BIN / "quern", *map(str, words)]
        return subprocess.run(command, input=text, text=True, capture_output=True, check=False,
                              cwd=self.path, timeout=3 * DEADLINE_S,
                              stdin=subprocess.DEVNULL if text is None else None,
                              env=environment(QUERN_DATA=str(self.data), **env))

    def __call__(self, *words, status=0, text=None):
        """A command that must end with this status; what it said on standard output."""
        done = self.run(*words, text=text)
        if done.returncode != status:
            raise AssertionError(f"quern {' '.join(map(str, words))}: status {done.returncode}, "
                                 f"not {status}\n{done.stdout}{done.stderr}\n{self.log_tail()}")
        return done.stdout.strip()

    def run_exact(self, status, *words):
        """A command that must end with this status; what it said, to the last blank."""
        done = self.run(*words)
        if done.returncode != status:
            raise AssertionError(f"quern {' '.join(map(str, words))}: status {done.returncode}, "
                                 f"not {status}\n{done.stdout[-2000:]}{done.stderr}\n"
                                 f"{self.log_tail()}")
        return done.stdout, done.stderr

    def json(self, *words, status=0):
        return json.loads(self(*words, "--json", status=status))

    def fails(self, status, *words):
        """A command that must fail; what it said on standard error."""
        done = self.run(*words)
        if done.returncode != status:
            raise AssertionError(f"quern {' '.join(map(str, words))}: status {done.returncode}, "
                                 f"not {status}\n{done.stdout}{done.stderr}")
        assert done.stderr.startswith("quern: "), done.stderr
        return done.stderr

    def submit(self, kind, payload=None, *options):
        words = ["--payload", json.dumps(payload)] if payload is not None else []
        return self("submit", kind, *words, *options)

    def state(self, job):
        return self.json("job", job)["state"]

    def wait_state(self, job, *states):
        return wait_for(f"job {job} to be {states}", lambda: self.state(job) in states)

    def reasons(self, job):
        return {row["reason"]: row for row in self.json("why", job)}

    def wait_reason(self, job, reason):
        wait_for(f"{reason} for job {job}", lambda: reason in self.reasons(job))
        return self.reasons(job)[reason]

    def pool(self, name="default"):
        return self.json("pools", name)[0]

    def workers(self):
        return self.json("workers")

    # --- the tree --------------------------------------------------------------------------------

    def start(self, *options):
        """`quern up` in the background; returns when it says that it is ready."""
        if self.tree:
            self.tree.stdout.close()
        log = open(self.log, "ab")
        self.tree = subprocess.Popen(
            [BIN / "quern", "up", "--config", self.config, *options], stdout=subprocess.PIPE,
            stderr=log, stdin=subprocess.DEVNULL, cwd=self.path,
            env=environment(QUERN_DATA=str(self.data)))
        log.close()
        ready, _, _ = select.select([self.tree.stdout], [], [], DEADLINE_S)
        line = self.tree.stdout.readline().decode() if ready else ""
        if not line.startswith("quern is ready: "):
            raise AssertionError(f"no ready line: {line}\n{self.log_tail()}")
        return line

    def stop(self):
        if self.tree and self.tree.poll() is None:
            self("down", "--timeout", f"{DEADLINE_S:.0f}s")
        return self.tree.wait(DEADLINE_S)

    def pids(self, name):
        """The processes of this tree that run a program."""
        found = []
        for pid in descendants():
            try:
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                env = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            ours = str(self.data).encode() in b" ".join(words) + env
            if ours and words[0].decode().endswith(name):
                found.append(pid)
        return found

    def events(self, name):
        """What was logged under that name."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines() if self.log.exists() else []:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("event") == name:
                found.append(event)
        return found

    def log_tail(self):
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def close(self):
        """Ends all of it, at once."""
        if self.tree:
            self.tree.kill()
            self.tree.wait()
            self.tree.stdout.close()
        wait_for("all processes to end", end_descendants)
        self.folder.cleanup()


class TreeTest(unittest.TestCase):
    """One tree for all tests of a class."""

    CONFIG = CONFIG

    @classmethod
    def setUpClass(cls):
        cls.quern = Quern(cls.CONFIG)
        cls.addClassCleanup(cls.quern.close)
        cls.quern.start()


def main():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    unittest.main(verbosity=2)
