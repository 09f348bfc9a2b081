#!/usr/bin/env python3
"""Each rule of tidy.py refuses a bad sample, at the right line, and accepts a good one."""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import tidy

HERE = pathlib.Path(__file__).resolve().parent
HEADER = "/* What it is for. */\n#pragma once\n"
PAGE = "- **P-1** a rule\n- **P-2** another\n"


def check(files):
    """The findings about a tree of the given files, and the whole report."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tidy.check(root)


def function(lines, head="int f(void) {"):
    return f"{head}\n" + "    g();\n" * (lines - 2) + "}\n"


class Rules(unittest.TestCase):
    def refuses(self, files, *expected):
        found = [":".join(finding.split(":", 3)[:3]) for finding in check(files).findings]
        self.assertEqual(found, list(expected))

    def accepts(self, files):
        self.refuses(files)

    def test_include_of_another_program(self):
        files = {"broker/x.h": HEADER, "cli/main.c": '\n#include "broker/x.h"\n'}
        self.refuses(files, "cli/main.c:2: include")

    def test_include_from_the_core(self):
        files = {"broker/x.h": HEADER, "broker/core/y.h": HEADER, "common/os/z.h": HEADER,
                 "broker/core/y.c": '#include "broker/core/y.h"\n#include "common/os/z.h"\n'
                                    '#include "broker/x.h"\n'}
        self.refuses(files, "broker/core/y.c:2: include", "broker/core/y.c:3: include")

    def test_include_of_what_is_below(self):
        self.accepts({"broker/core/x.h": HEADER, "common/base/y.h": HEADER, "schemas/errors.def": "",
                      "broker/main.c": '#include "broker/core/x.h"\n#include "common/base/y.h"\n',
                      "common/base/y.c": '#include "schemas/errors.def"\n#include <errno.h>\n',
                      "tests/unit/x_test.c": '#include "broker/core/x.h"\n'})

    def test_include_beside(self):
        files = {"cli/x.h": HEADER, "cli/x.c": '/* "a.h" */\n#include "x.h"\n'}
        self.refuses(files, "cli/x.c:2: include")

    def test_include_from_an_unknown_folder(self):
        files = {"cli/x.h": HEADER, "attic/x.c": '#include "cli/x.h"\n'}
        self.refuses(files, "attic/x.c:1: include")

    def test_function_length(self):
        self.accepts({"cli/x.c": function(80)})
        self.refuses({"cli/x.c": "int y;\n" + function(81)}, "cli/x.c:2: function-length")

    def test_function_length_counts_the_whole_head(self):
        head = "static int f(int a,\n             int b) {"
        self.accepts({"cli/x.c": function(79, head)})
        self.refuses({"cli/x.c": function(80, head)}, "cli/x.c:1: function-length")

    def test_function_length_leaves_tables_alone(self):
        table = "static const int table[] = {\n" + "    1,\n" * 200 + "};\n"
        macro = "#define X(a) \\\n    do { \\\n" + "        a; \\\n" * 100 + "    } while (0)\n"
        self.accepts({"cli/x.c": table + macro + "struct x {\n" + "    int a;\n" * 100 + "};\n"})

    def test_function_length_is_not_fooled_by_text(self):
        body = '    puts("}");\n    /*\n}\n*/\n' + "    g();\n" * 80
        self.refuses({"cli/x.c": "int f(void) {\n" + body + "}\n"}, "cli/x.c:1: function-length")

    def test_long_functions_are_counted(self):
        report = check({"cli/x.c": function(60) + function(61, "int h(void)\n{")})
        self.assertEqual((report.findings, report.long_functions), ([], 1))

    def test_file_length(self):
        for name in ("cli/x.c", "schemas/x.def", "tests/x.py", "frontend_gw/web/x.js", "dev"):
            self.accepts({name: "\n" * 600})
            self.refuses({name: "\n" * 601}, f"{name}:601: file-length")
        self.accepts({"docs/x.md": "\n" * 601})

    def test_every_banned_call(self):
        for ban in tidy.BANS:
            for call in ban.calls.split():
                for folder in ban.only:
                    name = f"{folder or 'cli'}/x.c"
                    self.refuses({name: f"\n    {call} (a);\n"}, f"{name}:2: banned-call")

    def test_banned_calls_where_they_are_allowed(self):
        self.accepts({"common/base/mem.c": "    free(p);\n", "common/os/clock.c": "    time(0);\n",
                      "tests/unit/x_test.c": "    free(p);\n", "cli/main.c": "    printf(a);\n",
                      "broker/core/x.c": "    snprintf(a);\n"})

    def test_what_only_looks_like_a_banned_call(self):
        self.accepts({"cli/x.c": "    x->free(p);\n    x.time(1);\n    job_time(1); /* free(p) */\n"
                                 '    log("free(p)");\n    int time = 1;\n    runtime(1);\n'
                                 "    assert_true(1);\n    _Static_assert(1);\n"})

    def test_banned_headers(self):
        self.refuses({"cli/x.c": "#include <assert.h>\n"}, "cli/x.c:1: banned-header")
        for header in ("time.h", "unistd.h", "sys/stat.h", "pthread.h", "zmq.h", "czmq.h"):
            self.refuses({"broker/core/x.c": f"#include <{header}>\n"},
                         "broker/core/x.c:1: banned-header")
            self.accepts({"broker/main.c": f"#include <{header}>\n"})
        self.refuses({"broker/relay/x.c": "#include <time.h>\n"},
                     "broker/relay/x.c:1: banned-header")
        self.accepts({"broker/core/x.c": "#include <string.h>\n"})

    def test_unfinished(self):
        for mark in ("TODO", "FIXME", "XXX", "HACK", "not implemented"):
            for name in ("cli/x.c", "dev", "tests/CMakeLists.txt", "frontend_gw/web/x.js"):
                self.refuses({name: f"#!\n# {mark}: later\n"}, f"{name}:2: unfinished")
        self.accepts({"cli/x.c": '"/tmp/x-XXXXXX" "501 Not Implemented" HACKER\n',
                      "docs/style.md": "No `TODO`\n"})

    def test_white_space(self):
        self.refuses({"cli/x.c": "int x;\n\tint y;\nint z; \n"},
                     "cli/x.c:2: white-space", "cli/x.c:3: white-space")
        self.accepts({"cli/x.c": "int x;\n\n    int y;\n"})

    def test_header(self):
        self.refuses({"cli/x.h": "/* For x. */\nint x;\n"}, "cli/x.h:1: header")
        self.refuses({"cli/x.h": "#pragma once\nint x;\n"}, "cli/x.h:1: header")
        self.accepts({"cli/x.h": HEADER, "cli/y.h": "#pragma once\n\n// For y.\n"})

    def test_words(self):
        for word in ("/home/me/x", "see /root/x", '"/work/x"', "http://deb.debian.org/debian",
                     "https://registry.npmjs.org/x"):
            self.refuses({"docs/x.md": f"\n{word}\n"}, "docs/x.md:2: words")
        self.accepts({"docs/x.md": "tests/work/x example.org/home/x\n"})

    def test_inputs_and_other_peoples_text_are_left_alone(self):
        self.accepts({"tests/fuzz/corpus/x/a.c": "/home/x\t\n", "tests/data/x.html": "/home/x",
                      "frontend_gw/web/vendor/x.js": "// TODO\n", "tests/x.bin": "\0/home/x"})

    def test_protocol(self):
        self.refuses({"docs/protocol.md": PAGE, "tests/unit/x_test.c": "/* P-2 */\n",
                      "cli/x.c": "/* P-1 */\n"}, "docs/protocol.md:1: protocol")
        self.refuses({"docs/protocol.md": PAGE, "tests/unit/x_test.c": "/* P-1 P-2 P-3 */\n"},
                     "tests/unit/x_test.c:1: protocol")
        self.refuses({"docs/protocol.md": PAGE + "- **P-1** a third\n",
                      "tests/unit/x_test.c": "/* P-1 P-2 */\n"}, "docs/protocol.md:3: protocol")
        self.accepts({"docs/protocol.md": PAGE, "tests/unit/x_test.c": "/* P-1 P-2 */\n"})
        self.accepts({"tests/unit/x_test.c": "/* P-1: there is no such page */\n"})


class House(unittest.TestCase):
    def test_the_table_of_includes_is_the_one_of_the_style_page(self):
        page = (HERE.parents[2] / "docs/style.md").read_text()
        table = {}
        for row in re.findall(r"^\|(.*)\|$", page, re.MULTILINE):
            folders, _, may = row.split("|")
            allowed = tuple(re.findall(r"`([^`]+?)/?`", may)) or ("",)
            for folder in re.findall(r"`([^`]+?)/?`", folders):
                table[folder] = allowed
        self.assertEqual(table, tidy.INCLUDES)

    def test_every_rule_has_a_test(self):
        text = pathlib.Path(__file__).read_text()
        for rule in (*tidy.FILE_RULES, *tidy.TREE_RULES):
            self.assertIn(f": {rule}\"", text)

    def test_exit_status_and_last_line(self):
        for text, status in ((HEADER, 0), ("int x;\n", 1)):
            with tempfile.TemporaryDirectory() as folder:
                pathlib.Path(folder, "x.h").write_text(text)
                done = subprocess.run([sys.executable, "-B", str(HERE / "tidy.py"), folder],
                                      capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, status)
            self.assertEqual(done.stdout.splitlines()[-1], f"1 files, {2 * status} findings")


if __name__ == "__main__":
    unittest.main()
