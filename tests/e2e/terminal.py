"""A terminal for tests: a program runs on a pseudo terminal of any size, what it draws is read as a
person would see it, and keys are pressed.

It knows what ncurses says to an xterm and to a vt100; what it does not know it keeps in `unknown`.
"""

import codecs
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unicodedata

from quern_tree import DEADLINE_S

SEQUENCE = re.compile(r"\x1b(?:\[(?P<how>[?>]?)(?P<numbers>[0-9;]*)(?P<what>[@-~])"
                      r"|(?P<short>[()][0-9A-B]|[=>78]|M)|\](?P<system>[^\x07]*)\x07)")
UNFINISHED = re.compile(r"\x1b(?:\[[?>]?[0-9;]*|[()]|\][^\x07]*)?\Z")


def columns_of(char):
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


class Screen:
    """What is seen: `lines()`. A wide character has a cell of '' behind it."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.cells = []
        self.row = self.column = 0
        self.wraps = False  # the next character begins a line
        self.region = (0, rows)  # the lines that scroll
        self.modes = set()
        self.colours = set()
        self.unknown = []
        self.rest = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.erase(0, 0, rows, 0)

    def lines(self):
        return ["".join(row).rstrip() for row in self.cells]

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.region = (0, rows)
        self.cells = [(row + [" "] * columns)[:columns] for row in self.cells[:rows]]
        self.cells += [[" "] * columns for _ in range(rows - len(self.cells))]
        self.row, self.column = min(self.row, rows - 1), min(self.column, columns - 1)

    def erase(self, row, column, row_end, column_end):
        if not self.cells:
            self.cells = [[" "] * self.columns for _ in range(self.rows)]
        for at in range(row, min(row_end + 1, self.rows)):
            first = column if at == row else 0
            last = column_end if at == row_end else self.columns
            self.cells[at][first:last] = [" "] * (min(last, self.columns) - first)

    def feed(self, data):
        text = self.rest + self.decoder.decode(data)
        self.rest = ""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self.put(text[at])
                at += 1
                continue
            found = SEQUENCE.match(text, at)
            if found:
                self.obey(found)
                at = found.end()
            elif UNFINISHED.match(text, at):
                self.rest = text[at:]
                return
            else:
                self.unknown.append(text[at:at + 12])
                at += 1

    def scroll(self, up, down):
        """The lines of the region, by so many."""
        first, end = self.region
        for _ in range(up):
            self.cells.insert(end, [" "] * self.columns)
            del self.cells[first]
        for _ in range(down):
            del self.cells[end - 1]
            self.cells.insert(first, [" "] * self.columns)

    def line_feed(self):
        if self.row + 1 == self.region[1]:
            self.scroll(1, 0)
        else:
            self.row = min(self.row + 1, self.rows - 1)

    def line_back(self):
        if self.row == self.region[0]:
            self.scroll(0, 1)
        else:
            self.row = max(self.row - 1, 0)

    def put(self, char):
        if char == "\r":
            self.column, self.wraps = 0, False
        elif char == "\n":
            self.line_feed()
        elif char == "\b":
            self.column, self.wraps = max(self.column - 1, 0), False
        elif char in "\x0e\x0f":
            pass
        elif char < " " or "\x7f" <= char <= "\x9f":
            self.unknown.append(char)
        else:
            self.write(char)

    def write(self, char):
        width = columns_of(char)
        if width == 0:
            self.cells[self.row][max(self.column - 1, 0)] += char
            return
        if self.wraps or self.column + width > self.columns:
            self.column, self.wraps = 0, False
            self.line_feed()
        self.cells[self.row][self.column:self.column + width] = [char] + [""] * (width - 1)
        self.column += width
        if self.column == self.columns:
            self.column, self.wraps = self.columns - 1, True

    def obey(self, found):
        if found["short"] == "M":
            self.line_back()
        if not found["what"]:
            return
        numbers = [int(n or 0) for n in found["numbers"].split(";")]
        first = numbers[0] or 1
        what = found["how"] + found["what"]
        row = self.cells[self.row]
        if what in ("?h", "?l", "h", "l"):
            for number in numbers:
                (self.modes.add if what[-1] == "h" else self.modes.discard)(f"{found['how']}{number}")
        elif what == "m":
            self.colours |= {n for n in numbers if 30 <= n <= 37 or 40 <= n <= 47}
        elif what == "H":
            self.row = min(first, self.rows) - 1
            self.column = min((numbers + [1])[1] or 1, self.columns) - 1
        elif what == "J":
            if numbers[0] == 2:
                self.erase(0, 0, self.rows, 0)
            elif numbers[0] == 0:
                self.erase(self.row, self.column, self.rows, 0)
            else:
                self.erase(0, 0, self.row, self.column + 1)
        elif what == "K":
            begin, end = [(self.column, self.columns), (0, self.column + 1), (0, self.columns)][numbers[0]]
            self.erase(self.row, begin, self.row, end)
        elif what == "X":
            self.erase(self.row, self.column, self.row, self.column + first)
        elif what == "P":
            row[self.column:] = (row[self.column + first:] + [" "] * first)[:self.columns - self.column]
        elif what == "@":
            row[self.column:] = ([" "] * first + row[self.column:])[:self.columns - self.column]
        elif what in "ST":
            self.scroll(first if what == "S" else 0, first if what == "T" else 0)
        elif what == "r":
            last = (numbers + [self.rows])[1] or self.rows
            self.region, self.row, self.column = (first - 1, min(last, self.rows)), 0, 0
        elif what == "b":
            for _ in range(first):
                self.write(row[self.column - 1])
        elif what in "ABCDGd":
            self.row = {"A": self.row - first, "B": self.row + first, "d": first - 1}.get(what, self.row)
            self.column = {"C": self.column + first, "D": self.column - first,
                           "G": first - 1}.get(what, self.column)
            self.row = min(max(self.row, 0), self.rows - 1)
            self.column = min(max(self.column, 0), self.columns - 1)
        elif what != "t":
            self.unknown.append(found[0])
        if what != "m":
            self.wraps = False


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command, size=(24, 80), term="xterm-256color", **how):
        self.screen = Screen(*size)
        self.ours, self.theirs = os.openpty()
        self.set_size(size)
        self.before = termios.tcgetattr(self.theirs)
        env = {**how.pop("env"), "TERM": term, "LC_ALL": "C.UTF-8", **how.pop("more", {})}
        self.program = subprocess.Popen(
            command, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, env=env,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), **how)

    def set_size(self, size):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def resize(self, *size):
        """The kernel tells the program."""
        self.read(0)
        self.screen.resize(*size)
        self.set_size(size)

    def read(self, wait_s):
        """Whether anything was there."""
        if not select.select([self.ours], [], [], wait_s)[0]:
            return False
        self.screen.feed(os.read(self.ours, 65536))
        return True

    def press(self, keys):
        os.write(self.ours, keys.encode())

    def lines(self):
        return self.screen.lines()

    def text(self):
        return "\n".join(self.lines())

    def wait(self, what, condition=None):
        """Until a text is on the screen, or a condition holds."""
        deadline = time.monotonic() + DEADLINE_S
        while not (condition() if condition else what in self.text()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}\n{self.text()}\n"
                                     f"status {self.program.poll()}")
            self.read(0.05)
        while self.read(0.02):  # the rest of that picture
            pass

    def end(self):
        """Waits for the program's end; its status."""
        deadline = time.monotonic() + DEADLINE_S
        while self.program.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"it does not end\n{self.text()}")
            self.read(0.01)
        while self.read(0):
            pass
        return self.program.returncode

    def is_restored(self):
        """Whether the terminal is as it was before the program came."""
        return (termios.tcgetattr(self.theirs) == self.before and "?1049" not in self.screen.modes
                and ("?25" in self.screen.modes or "?1049" not in self.screen.modes))

    def close(self):
        if self.program.poll() is None:
            self.program.send_signal(signal.SIGKILL)
            self.program.wait()
        os.close(self.ours)
        os.close(self.theirs)
