#!/usr/bin/env python3
"""Checks what a machine can check about the source; `./dev lint` calls it.

clang-format over C files, clang-tidy over every .c file that CMake compiles, shellcheck over shell
scripts, and the tidy check. clang-tidy's answer about a file is kept in build/lint-cache under a hash
of all that it depends on: the file, what it includes of ours, its flags, .clang-tidy and the tool's
version. The last line is "N files, N findings".
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support/tidy"))
import tidy  # noqa: E402  (found through the line above)

CACHE = ROOT / "build/lint-cache"
# Fuzzers are compiled by the second only; a file is analysed with the flags of the first that has it.
PRESETS = ("release", "fuzz")
MODEL = "tests/support/analyzer.h"
MODELLED = "common/base/err.c"  # defines what the model wraps
OURS = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)
FINDING = re.compile(r"^(\S+?):(\d+):\d+: (?:warning|error): (.*)$")


def run(command):
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False)


def relative(path):
    return path.removeprefix(f"{ROOT}/")


# --- clang-format, shellcheck -------------------------------------------------------------------


def check_format(files):
    """One finding a file: where in it is clang-format's business."""
    sources = [name for name in files if name.endswith((".c", ".h"))]
    if not sources:
        return []
    said = run(["clang-format", "--dry-run", "-Werror", *sources]).stdout
    wrong = {line.split(":")[0] for line in said.splitlines() if "[-Wclang-format-violations]" in line}
    return [f"{name}: clang-format: not as .clang-format wants it; clang-format -i {name}"
            for name in sorted(wrong)]


def is_shell(name):
    if name.endswith(".sh"):
        return True
    if pathlib.PurePath(name).suffix:
        return False
    with open(ROOT / name, "rb") as file:
        return re.match(rb"#!.*\b(ba|da)?sh\b", file.readline(80)) is not None


def check_shell(files):
    scripts = [name for name in files if is_shell(name)]
    if not scripts:
        return []
    return run(["shellcheck", "-x", "--format=gcc", *scripts]).stdout.splitlines()


def check_rules(_):
    report = tidy.check(ROOT)
    print(report.note())
    return report.findings


# --- clang-tidy ---------------------------------------------------------------------------------


def compile_commands(findings):
    """file -> (folder of the compile database, arguments), for each of our files CMake compiles."""
    commands = {}
    for preset in PRESETS:
        configured = run(["cmake", "--preset", preset])
        if configured.returncode != 0:
            findings.append(f"CMakePresets.json: preset '{preset}' cannot be configured:\n"
                            + configured.stdout)
            continue
        folder = ROOT / "build" / preset
        for entry in json.loads((folder / "compile_commands.json").read_text()):
            name = relative(os.path.normpath(os.path.join(entry["directory"], entry["file"])))
            commands.setdefault(name, (folder, entry["command"]))
    return commands


def included(name, seen):
    """Adds to `seen` the file and, through its includes, every file of ours that it reads."""
    if name in seen or not (ROOT / name).is_file():
        return
    seen.add(name)
    for target in OURS.findall((ROOT / name).read_text(errors="replace")):
        included(target, seen)


def cache_key(name, command, version):
    digest = hashlib.sha256(f"{version}\0{shlex.join(shlex.split(command))}\0".encode())
    digest.update((ROOT / ".clang-tidy").read_bytes())
    parts = set()
    included(name, parts)
    included(MODEL, parts)
    for part in sorted(parts):
        digest.update(f"\0{part}\0".encode() + (ROOT / part).read_bytes())
    return digest.hexdigest()


def findings_of(output):
    """clang-tidy's lines that name a place, without the source lines and notes below them."""
    for line in output.splitlines():
        if match := FINDING.match(line):
            yield f"{relative(match[1])}:{match[2]}: {match[3]}"


def analyse(name, folder, command, version):
    kept = CACHE / cache_key(name, command, version)
    if kept.is_file():
        return kept.read_text().splitlines()
    model = [] if name == MODELLED else ["--extra-arg=-include", f"--extra-arg={ROOT / MODEL}"]
    done = run(["clang-tidy", "--quiet", "-p", str(folder), *model, name])
    found = sorted(set(findings_of(done.stdout)))
    if done.returncode != 0 and not found:
        return [f"{name}: clang-tidy failed:\n{done.stdout}"]
    part = kept.with_suffix(f".{os.getpid()}")
    part.write_text("\n".join(found))
    part.rename(kept)
    return found


def check_analysis(files):
    findings = []
    CACHE.mkdir(parents=True, exist_ok=True)
    commands = compile_commands(findings)
    version = run(["clang-tidy", "--version"]).stdout
    sources = [name for name in files if name.endswith(".c")]
    findings += [f"{name}: clang-tidy: no CMakeLists.txt compiles this file"
                 for name in sources if name not in commands]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(analyse, name, *commands[name], version)
                for name in sources if name in commands]
        for job in jobs:
            findings += job.result()
    # A header's finding comes back from every file that includes it.
    return list(dict.fromkeys(findings))


# --- all of it ----------------------------------------------------------------------------------


def main():
    files = tidy.list_files(ROOT)
    count = 0
    for title, check in (("clang-format", check_format), ("shellcheck", check_shell),
                         ("rules of docs/style.md", check_rules), ("clang-tidy", check_analysis)):
        print(f"== {title}", flush=True)
        for finding in check(files):
            print(finding)
            count += 1
    print(f"{len(files)} files, {count} findings")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
