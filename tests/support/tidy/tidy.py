#!/usr/bin/env python3
"""The rules of docs/style.md that a machine can check: who may include whom, how long things are,
which calls are refused, which marks and words must not be in the repository, and that every rule of
docs/protocol.md is cited by a test.

    tidy.py [ROOT]     prints `file:line: rule: what and the bound`; exit status 1 if there was any

Each rule is a function that yields findings; RULES at the end lists them. tidy_test.py shows a sample
that each one refuses and one that it accepts.
"""

import os
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

FUNCTION_LINES_MAX = 80
FUNCTION_LINES_WISH = 60  # only counted
FILE_LINES_MAX = 600

# Who may include what, beside its own folder; "" is everything. The most specific folder decides.
# docs/style.md has the same table for people, and tidy_test.py holds the two together.
PROGRAM = ("common", "store", "schemas", "config")
INCLUDES = {
    "schemas": ("common/base",),
    "common/base": ("schemas/errors.def",),
    "common/os": ("common/base",),
    "common/wire": ("common/base", "common/os", "schemas"),
    "common/config": ("common/base", "common/os", "schemas"),
    "common/log": ("common/base", "common/os", "schemas"),
    "broker/core": ("common/base", "schemas"),
    "broker/relay": ("common/base", "common/wire", "schemas"),
    "broker/journal": ("common", "schemas"),
    "broker/schedule": ("common/base",),
    "broker": PROGRAM,
    "workers": PROGRAM,
    "cli": PROGRAM,
    "frontend_gw": PROGRAM,
    "tests": ("",),
}


class Ban(NamedTuple):
    """Calls that are refused, and what to do instead."""
    calls: str
    instead: str
    allowed: tuple = ()  # folders and files that may all the same
    only: tuple = ("",)  # the folders the ban is for; "" is everywhere


PURE = ("broker/core", "broker/relay", "broker/schedule/civil.c", "broker/schedule/cron.c",
        "broker/schedule/posix_zone.c", "broker/schedule/tzif.c", "broker/schedule/calendar.c")
BANS = (
    Ban("strcpy strcat sprintf vsprintf gets", "has no bound: snprintf or a struct buf"),
    Ban("strtok", "keeps state between calls: split a struct str"),
    Ban("atoi atol atof sscanf", "cannot report an error: the parsers of common/base"),
    Ban("alloca", "takes stack of a size that nothing checks: an arena"),
    Ban("rand srand random srandom", "is not seeded per run: common/base/rng.h"),
    Ban("gmtime localtime", "returns shared memory: the _r variant"),
    Ban("system popen", "hands text to a shell: execve with an argument list"),
    Ban("usleep sleep", "waits for time instead of an event: poll with a deadline"),
    # Tests free what the libraries they compare with return.
    Ban("malloc calloc realloc free strdup strndup", "is common/base/mem.h's business, or an arena's",
        allowed=("common/base/mem.c", "tests")),
    Ban("time clock_gettime gettimeofday getrandom getentropy",
        "is for common/os only: take times and random numbers as arguments", allowed=("common/os",)),
    Ban("assert", "is gone in release builds: ASSERT or _Static_assert",
        allowed=("common/base/check.h",)),
    Ban("printf fprintf dprintf vprintf vfprintf vdprintf vsnprintf puts fputs putc fputc putchar "
        "fopen fdopen freopen fclose fflush fread fwrite fgets fgetc getc getchar getline scanf "
        "fscanf perror remove rename tmpfile fseek ftell rewind setvbuf",
        "acts on the world, the core does not; of stdio.h it may have snprintf", only=PURE),
)

CORE_HEADERS = re.compile(r"(time|unistd|pthread|threads|zmq|czmq|poll|fcntl|signal)\.h|sys/.*")

LENGTH_SUFFIXES = (".c", ".h", ".def", ".py", ".js", ".sh")
CODE_SUFFIXES = LENGTH_SUFFIXES + (".mjs", ".css", ".html", ".cmake", "CMakeLists.txt")
C_SUFFIXES = (".c", ".h", ".def")

MARKS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\b([Nn]ot implemented|NOT IMPLEMENTED)\b")
PLACES = re.compile(r"(?<![\w.])/(?:home|root|work)/")
HOSTS = re.compile(r"deb\.debian\.org|registry\.npmjs\.org")
PROTOCOL = "docs/protocol.md"
PROTOCOL_RULE = re.compile(r"\*\*(P-\d+)\*\*")
CITATION = re.compile(r"\bP-\d+\b")

# This folder has to name what it refuses.
SELF = "tests/support/tidy"
# Other people's text, and inputs: bytes, not source.
NOT_OURS = re.compile(r"(^|/)(corpus|data|fixtures|vendor|node_modules)/")


def under(name, folder):
    return folder == "" or name == folder or name.startswith(folder + "/")


# --- sources ------------------------------------------------------------------------------------

COMMENT_OR_TEXT = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:.*\\\n)*.*", re.MULTILINE)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]')


def blank(text):
    """The same lines and columns with nothing on them."""
    return re.sub(r"[^\n]", " ", text)


@dataclass
class Source:
    name: str
    text: str

    @cached_property
    def lines(self):
        return self.text.splitlines()

    @cached_property
    def uncommented(self):
        """C without its comments."""
        return COMMENT_OR_TEXT.sub(
            lambda m: m[0] if m[0][0] in "\"'" else blank(m[0]), self.text)

    @cached_property
    def code(self):
        """C without comments, strings and characters: what a call can be found in."""
        return COMMENT_OR_TEXT.sub(lambda m: blank(m[0]), self.text)

    def includes(self):
        """(line, quote, target) of each include."""
        for number, line in enumerate(self.uncommented.splitlines(), 1):
            if match := INCLUDE.match(line):
                yield number, match[1], match[2]

    def is_c(self):
        return self.name.endswith(C_SUFFIXES)

    def is_code(self):
        return self.name.endswith(CODE_SUFFIXES) or self.text.startswith("#!")


class Function(NamedTuple):
    name: str
    line: int
    lines: int


def functions(source):
    """Functions of C that clang-format has seen: one begins in column 0 and ends at a `}` there."""
    start, inside = None, False
    lines = DIRECTIVE.sub(lambda m: blank(m[0]), source.code).splitlines()
    for index, line in enumerate(lines):
        line = line.rstrip()
        if inside:
            if line == "}":
                head = " ".join(lines[start:index])
                called = [name for name in re.findall(r"(\w+)\s*\(", head)
                          if name != "__attribute__"]
                yield Function(called[0] if called else "?", start + 1, index - start + 1)
            if line.startswith("}"):
                start, inside = None, False
            continue
        if re.match(r"\w", line):
            start = index
        if line.endswith(";"):
            start = None
        inside = start is not None and line.endswith("{")


def list_files(root):
    """What git tracks or would track; without git everything but build folders."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-coz", "--exclude-standard"],
                            capture_output=True, check=False)
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")[:-1]
    else:
        names = [os.path.relpath(os.path.join(folder, name), root)
                 for folder, _, files in os.walk(root) for name in files]
        names = [name for name in names if not re.match(r"(\.git|build)/", name)]
    return sorted(name for name in set(names)
                  if (root / name).is_file() and not NOT_OURS.search(name))


def load(root):
    sources = []
    for name in list_files(root):
        data = (root / name).read_bytes()
        if b"\0" not in data:
            sources.append(Source(name, data.decode(errors="replace")))
    return sources


# --- rules about one file: each yields (line, text) ---------------------------------------------


def rule_include(source, names):
    if not source.is_c():
        return
    folder = max((key for key in INCLUDES if under(source.name, key)), key=len, default=None)
    for line, quote, target in source.includes():
        if quote == "<":
            continue
        if target not in names:
            yield line, f'"{target}" is no file: write it from the top of the tree'
        elif folder is None:
            yield line, "the table of includes in docs/style.md has no row for this folder"
        elif not any(under(target, part) for part in (folder, *INCLUDES[folder])):
            allowed = " ".join((folder, *INCLUDES[folder]))
            yield line, f'"{target}" is not for {folder}, which may include {allowed}'


def rule_function_length(source, _):
    if not source.name.endswith((".c", ".h")):
        return
    for function in functions(source):
        if function.lines > FUNCTION_LINES_MAX:
            yield function.line, (f"{function.name} has {function.lines} lines, "
                                  f"at most {FUNCTION_LINES_MAX}")


def rule_file_length(source, _):
    if not source.name.endswith(LENGTH_SUFFIXES) and source.name != "dev":
        return
    if len(source.lines) > FILE_LINES_MAX:
        yield FILE_LINES_MAX + 1, f"{len(source.lines)} lines, at most {FILE_LINES_MAX}"


def rule_banned_call(source, _):
    if not source.is_c():
        return
    for ban in BANS:
        if not any(under(source.name, x) for x in ban.only) or any(under(source.name, x) for x in ban.allowed):
            continue
        call = re.compile(rf"(?<![\w.])(?<!->)({'|'.join(ban.calls.split())})\s*\(")
        for number, line in enumerate(source.code.splitlines(), 1):
            for match in call.finditer(line):
                yield number, f"{match[1]}() {ban.instead}"


def rule_banned_header(source, _):
    if not source.is_c():
        return
    for line, _quote, target in source.includes():
        if target == "assert.h" and source.name != "common/base/check.h":
            yield line, "<assert.h> is gone in release builds: common/base/check.h"
        if any(under(source.name, x) for x in PURE) and CORE_HEADERS.fullmatch(target):
            yield line, f"<{target}> is not for {', '.join(PURE)}, which do nothing to the world"


def rule_unfinished(source, _):
    if not source.is_code() or under(source.name, SELF):
        return
    for number, line in enumerate(source.lines, 1):
        if match := MARKS.search(line):
            yield number, f'"{match[0]}": finish it, or leave it out'


def rule_white_space(source, _):
    if not source.is_c():
        return
    for number, line in enumerate(source.lines, 1):
        if "\t" in line:
            yield number, "a tab; 4 spaces a level"
        if line != line.rstrip():
            yield number, "white space at the end of the line"


def rule_header(source, _):
    if not source.name.endswith(".h"):
        return
    if "#pragma once" not in source.lines:
        yield 1, "no #pragma once"
    first = next((line for line in source.lines if line and line != "#pragma once"), "")
    if not first.startswith(("/*", "//")):
        yield 1, "does not open with a comment that says what it is for"


def rule_words(source, _):
    if under(source.name, SELF):
        return
    for number, line in enumerate(source.lines, 1):
        if match := PLACES.search(line):
            yield number, f'"{match[0]}": a path of one machine'
        if match := HOSTS.search(line):
            yield number, f'"{match[0]}": a registry is a setting of the machine'


# --- rules about all files: each yields (name, line, text) --------------------------------------


def rule_protocol(sources):
    """Rules of the protocol and the tests that cite them belong together, both ways."""
    page = next((source for source in sources if source.name == PROTOCOL), None)
    if page is None:
        return
    rules, cited = {}, {}
    for number, line in enumerate(page.lines, 1):
        for rule in PROTOCOL_RULE.findall(line):
            if rules.setdefault(rule, number) != number:
                yield PROTOCOL, number, f"{rule} is another rule already, in line {rules[rule]}"
    for source in sources:
        if under(source.name, "tests") and not under(source.name, SELF):
            for number, line in enumerate(source.lines, 1):
                for rule in CITATION.findall(line):
                    cited.setdefault(rule, (source.name, number))
    for rule in rules.keys() - cited.keys():
        yield PROTOCOL, rules[rule], f"{rule} is cited by no file under tests/"
    for rule in cited.keys() - rules.keys():
        yield *cited[rule], f"{rule} is not a rule of {PROTOCOL}"


# --- all of it ----------------------------------------------------------------------------------

FILE_RULES = {
    "include": rule_include,
    "function-length": rule_function_length,
    "file-length": rule_file_length,
    "banned-call": rule_banned_call,
    "banned-header": rule_banned_header,
    "unfinished": rule_unfinished,
    "white-space": rule_white_space,
    "header": rule_header,
    "words": rule_words,
}
TREE_RULES = {"protocol": rule_protocol}


@dataclass
class Report:
    files: int = 0
    findings: list = field(default_factory=list)
    long_functions: int = 0

    def note(self):
        return f"{self.long_functions} functions have more than {FUNCTION_LINES_WISH} lines"


def check(root):
    sources = load(root)
    names = {source.name for source in sources}
    found = []
    for source in sources:
        for rule, finder in FILE_RULES.items():
            found += [(source.name, line, rule, text) for line, text in finder(source, names)]
    for rule, finder in TREE_RULES.items():
        found += [(name, line, rule, text) for name, line, text in finder(sources)]
    return Report(
        files=len(sources),
        findings=[f"{name}:{line}: {rule}: {text}" for name, line, rule, text in sorted(found)],
        long_functions=sum(function.lines > FUNCTION_LINES_WISH for source in sources
                           if source.is_c() for function in functions(source)))


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parents[3]
    report = check(root.resolve())
    for finding in report.findings:
        print(finding)
    print(report.note())
    print(f"{report.files} files, {len(report.findings)} findings")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
