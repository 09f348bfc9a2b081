#!/usr/bin/env python3
"""Runs every test in every preset it is meant for, then every fuzzer; `./dev test` calls it.

A preset is configured, asked through ctest which of its tests are wanted, and built only when there
are some. Nothing stops at the first failure. The last line is "N passed, N failed", counting a test
program once a preset, each fuzzer, and each build that failed. Whatever processes tests leave behind
become children of this one, are reported as a failure and ended.
"""

import concurrent.futures
import ctypes
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
JOBS = 2
FUZZ_SECONDS = 10
FUZZ_SECONDS_MAX = 120  # with reading its corpus; a fuzzer that takes longer hangs
LEFTOVER_GRACE_S = 2.0

# preset -> how ctest chooses among labels. A test labelled `sanitizer` proves a sanitizer is at work.
PRESETS = {
    "release": ["-LE", "^sanitizer$"],
    "asan": ["-L", "^(unit|contract|fault|sim|sanitizer)$"],
    "tsan": ["-L", "^(threads|e2e)$"],
}

SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:suppressions="
                    + str(ROOT / "tests/support/tsan.supp"),
}


@dataclass
class Totals:
    passed: int = 0
    failures: list = field(default_factory=list)

    def fail(self, where, why):
        self.failures.append(f"{where}: {why}")


class Clock:
    """Prints what starts, and how long it took."""

    def __init__(self):
        self.start = time.monotonic()

    def say(self, text):
        minutes, seconds = divmod(int(time.monotonic() - self.start), 60)
        print(f"[{minutes:2d}:{seconds:02d}] {text}", flush=True)


# --- processes ----------------------------------------------------------------------------------


def become_reaper():
    """Makes orphans of our descendants our children, so that none of them can get away."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def parents():
    """pid -> parent's pid, of every process that is not a zombie."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path("/proc", entry, "stat").read_text(errors="replace")
        except OSError:
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]
        if state != "Z":
            found[int(entry)] = int(parent)
    return found


def descendants():
    tree, ours = parents(), {os.getpid()}
    grown = True
    while grown:
        more = {pid for pid, parent in tree.items() if parent in ours} - ours
        ours |= more
        grown = bool(more)
    return ours - {os.getpid()}


def command_of(pid):
    try:
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    return b" ".join(words).decode(errors="replace").strip()


def kill_descendants():
    while left := descendants():
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def end_leftovers(where, totals):
    """What is still alive a moment after its test ended was left behind: a failure."""
    deadline = time.monotonic() + LEFTOVER_GRACE_S
    while descendants() and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in sorted(descendants()):
        totals.fail(where, f"a test left a process behind: {command_of(pid)}")
    kill_descendants()


def run(command, **options):
    return subprocess.run(command, cwd=options.pop("cwd", ROOT), stdin=subprocess.DEVNULL,
                          check=False, **options)


def run_quiet(command):
    """Shows the command's output only when it failed; on a terminal it speaks for itself."""
    if sys.stdout.isatty():
        return run(command).returncode == 0
    done = run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        print(done.stdout.decode(errors="replace"), flush=True)
    return done.returncode == 0


# --- building -----------------------------------------------------------------------------------


def configure(preset, totals):
    BUILD.mkdir(exist_ok=True)
    done = run(["cmake", "--preset", preset], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode == 0:
        return True
    print(done.stdout.decode(errors="replace"), flush=True)
    totals.fail(preset, "cannot be configured")
    return False


def build(preset, clock, totals, targets=()):
    """Builds what can be built, so that all errors are seen; tests of a broken build are not run."""
    clock.say(f"{preset}: build")
    command = ["cmake", "--build", "--preset", preset]
    if targets:
        command += ["--target", *targets]
    if run_quiet([*command, "--", "-k", "0", "--quiet"]):
        return True
    totals.fail(preset, "cannot be built, its tests did not run")
    return False


# --- tests --------------------------------------------------------------------------------------


def ctest(preset, *args):
    return ["ctest", "--test-dir", str(BUILD / preset), *PRESETS[preset], "--no-tests=ignore", *args]


def count_tests(preset):
    done = run(ctest(preset, "--show-only=json-v1"), stdout=subprocess.PIPE)
    return len(json.loads(done.stdout)["tests"]) if done.returncode == 0 else 0


def read_results(preset, junit, totals):
    """Adds ctest's own record of each test; a test whose program is missing has failed too."""
    skipped = []
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        name, status = case.get("name"), case.get("status")
        note = next((child.get("message", "") for child in case
                     if child.tag in ("failure", "skipped")), "")
        if status == "run":
            totals.passed += 1
        elif status == "disabled" or note.startswith("SKIP_"):
            skipped.append(name)
        else:
            totals.fail(preset, f"{name} ({note or status})")
    return skipped


def personality():
    """The thread sanitizer cannot map its shadow where addresses are randomised widely."""
    plain = ["setarch", os.uname().machine, "-R"]
    usable = shutil.which("setarch") and run([*plain, "true"], stderr=subprocess.DEVNULL)
    return plain if usable and usable.returncode == 0 else []


def run_preset(preset, clock, totals):
    if not configure(preset, totals):
        return
    wanted = count_tests(preset)
    if wanted == 0 or not build(preset, clock, totals):
        return
    clock.say(f"{preset}: {wanted} tests")
    junit = BUILD / preset / "results.xml"
    junit.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="quern-test-", ignore_cleanup_errors=True) as scratch:
        command = ctest(preset, "--output-on-failure", f"-j{JOBS}", "--output-junit", str(junit))
        if preset == "tsan":
            command = personality() + command
        run(command, env={**os.environ, **SANITIZER_ENV, "TMPDIR": scratch})
        end_leftovers(preset, totals)
    if not junit.exists():
        totals.fail(preset, "ctest left no results")
        return
    skipped = read_results(preset, junit, totals)
    note = f", skipped: {' '.join(skipped)}" if skipped else ""
    clock.say(f"{preset}: done{note}")


# --- fuzzers ------------------------------------------------------------------------------------


def fuzz_targets():
    done = run(["cmake", "--build", "--preset", "fuzz", "--target", "help"],
               stdout=subprocess.PIPE, text=True)
    names = (line.split(":")[0] for line in done.stdout.splitlines() if line.endswith(": phony"))
    return sorted(name for name in names if name.startswith("fuzz_"))


def run_fuzzer(target, scratch):
    """One fuzzer over its corpus. Returns None, or what it said when it found something."""
    folder = pathlib.Path(scratch, target)
    found = folder / "found"
    found.mkdir(parents=True)
    corpus = ROOT / "tests/fuzz/corpus" / target.removeprefix("fuzz_")
    # libFuzzer writes new inputs to the first folder and only reads the others.
    folders = [str(found)] + ([str(corpus)] if corpus.is_dir() else [])
    crashes = BUILD / "fuzz-crashes"
    crashes.mkdir(exist_ok=True)
    command = [str(BUILD / "fuzz/bin" / target), f"-max_total_time={FUZZ_SECONDS}", "-timeout=10",
               f"-artifact_prefix={crashes}/{target}-", *folders]
    try:
        done = run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                   env={**os.environ, **SANITIZER_ENV, "TMPDIR": str(folder)},
                   timeout=FUZZ_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return f"did not end within {FUZZ_SECONDS_MAX} s"
    if done.returncode == 0:
        return None
    return done.stdout.decode(errors="replace")[-8000:] + f"\nexit status {done.returncode}"


def run_fuzzers(clock, totals):
    if not configure("fuzz", totals):
        return
    targets = fuzz_targets()
    if not targets or not build("fuzz", clock, totals, targets):
        return
    clock.say(f"fuzz: {len(targets)} fuzzers, {FUZZ_SECONDS} s each")
    with tempfile.TemporaryDirectory(prefix="quern-fuzz-", ignore_cleanup_errors=True) as scratch, \
            concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        reports = pool.map(lambda target: run_fuzzer(target, scratch), targets)
        for target, report in zip(targets, reports):
            if report is None:
                totals.passed += 1
                clock.say(f"fuzz: {target} passed")
            else:
                totals.fail("fuzz", f"{target} (inputs are in build/fuzz-crashes)")
                clock.say(f"fuzz: {target} FAILED\n{report}")
    end_leftovers("fuzz", totals)
    clock.say("fuzz: done")


# --- all of it ----------------------------------------------------------------------------------


def stop(signum, _frame):
    raise SystemExit(128 + signum)


def main():
    become_reaper()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, stop)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    clock, totals = Clock(), Totals()
    try:
        for preset in PRESETS:
            run_preset(preset, clock, totals)
        run_fuzzers(clock, totals)
    finally:
        kill_descendants()
    clock.say("everything ran")
    for failure in totals.failures:
        print(f"FAILED {failure}")
    print(f"{totals.passed} passed, {len(totals.failures)} failed")
    return 1 if totals.failures or totals.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
