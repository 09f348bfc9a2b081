#!/usr/bin/env python3
"""quern up, down and reload on a disk without a free byte.

On a file system of its own, where one can be mounted for this process alone; in any case with copies
that cannot be written beside the file that they replace.
"""

import ctypes
import json
import os
import signal
import time
import unittest

import quern_tree
from quern_tree import Quern, wait_for

CONFIG = """
journal: {segment_size: 1MiB, batch_bytes: 1MiB, disk_min_free: 0}
broker: {heartbeat: 200ms, batch_bytes_max: 1MiB, body_max: 512KiB}
pools:
  default: {processes_min: 1, processes_max: 1, restart_backoff: 50ms}
"""
LATER = CONFIG + "retention: {done_age: 7s}\n"
APPLIED = "retention.done_age"
CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE = 0x20000, 0x10000000, 0x4000, 0x40000
LIBC = ctypes.CDLL(None, use_errno=True)


def mounts_of_our_own():
    """What is mounted from now on is seen by this process and its children, and ends with them."""
    uid, gid = os.geteuid(), os.getegid()
    if LIBC.unshare(CLONE_NEWNS | (CLONE_NEWUSER if uid else 0)) != 0:
        return False
    if uid:
        for name, text in (("uid_map", f"0 {uid} 1"), ("setgroups", "deny"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    return LIBC.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) == 0


class Small(Quern):
    """A data folder on a disk of its own."""

    def __init__(self, mib=32):
        super().__init__(CONFIG)
        self.data.mkdir(mode=0o700)
        if LIBC.mount(b"tmpfs", bytes(self.data), b"tmpfs", 0, f"size={mib}m,mode=0700".encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount")

    def fill(self):
        with open(self.data / "ballast", "ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass

    def kill_all(self):
        """As when the host dies, but for the disk."""
        parts = [pid for name in ("broker", "pools", "worker") for pid in self.pids(f"quern-{name}")]
        self.tree.kill()
        for pid in parts:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.tree.wait()

    def close(self):
        self.kill_all()
        wait_for("all processes to end", quern_tree.end_descendants)
        LIBC.umount2(bytes(self.data), 2)
        super().close()


class FullDisk(unittest.TestCase):
    def setUp(self):
        self.quern = Small()
        self.addCleanup(self.quern.close)
        self.quern.start()
        self.quern("submit", "echo", "--wait")
        self.quern.fill()

    def assert_tidy(self):
        left = [name for name in os.listdir(self.quern.data / "run")
                if name.endswith((".part", ".fifo"))]
        self.assertEqual(left, [])

    def assert_goes_on(self):
        quern = self.quern
        (quern.data / "ballast").unlink()
        wait_for("a job to be taken", lambda: quern.run("submit", "echo", "--wait").returncode == 0)

    def test_up_after_all_was_killed(self):
        self.quern.kill_all()
        self.quern.fill()
        self.quern.start()
        self.assert_tidy()
        self.assert_goes_on()

    def test_up_after_down(self):
        """What it removed at its end was taken by others."""
        quern = self.quern
        quern.stop()
        quern.fill()
        quern.start()
        self.assert_tidy()
        self.assert_goes_on()

    def test_up_without_what_a_tree_leaves(self):
        """There is no room for a copy of the settings: they are read where they are."""
        quern = self.quern
        quern.stop()
        for name in ("up.json", "quern.yaml"):
            (quern.data / "run" / name).unlink()
        quern.fill()
        quern.start()
        self.assertTrue(quern.events("tree.file"))
        self.assertTrue(quern.events("config.stands_in"))
        self.assert_tidy()
        quern.config.write_text(LATER)
        self.assertIn(APPLIED, quern("reload"))
        self.assert_goes_on()
        quern("reload")
        self.assertEqual((quern.data / "run/quern.yaml").read_text(), LATER)

    def test_reload(self):
        quern = self.quern
        quern.config.write_text(LATER)
        self.assertIn(APPLIED, quern("reload"))
        self.assert_tidy()
        self.assertEqual((quern.data / "run/quern.yaml").read_text(), LATER)
        self.assertIn("nothing new", quern("reload"))
        self.assert_goes_on()

    def test_reload_of_what_has_no_room(self):
        """The reason is said at once, and all is as it was."""
        quern = self.quern
        quern.config.write_text(LATER + "# much\n" * 5000)
        began = time.monotonic()
        self.assertIn("No space left", quern.fails(1, "reload"))
        self.assertLess(time.monotonic() - began, 5)
        self.assertTrue(quern.events("config.not_kept"))
        self.assertFalse(quern.events("config.refused"))
        self.assert_tidy()
        self.assertEqual((quern.data / "run/quern.yaml").read_text(), CONFIG)
        self.assert_goes_on()
        self.assertIn(APPLIED, quern("reload"))


class TooSmall(unittest.TestCase):
    """Fourteen segments of 1 MiB and a little are the least with these settings."""

    def start(self, mib):
        quern = Small(mib)
        self.addCleanup(quern.close)
        quern.start()
        told = [row for row in json.loads(quern.run("doctor", "--json").stdout)
                if row["about"] == "disk" and "no job is accepted" in row["text"]]
        return quern, told

    def test_one_that_never_accepts_a_job(self):
        quern, told = self.start(14)
        self.assertTrue(quern.events("journal.disk_small"))
        self.assertEqual([row["verdict"] for row in told], ["bad"])
        self.assertIn("14.2MiB", told[0]["text"])
        self.assertIn("journal.segment_size", told[0]["advice"])
        self.assertIn("what space is left", quern.fails(1, "submit", "echo"))

    def test_one_that_does(self):
        quern, told = self.start(15)
        self.assertEqual(told, [])
        self.assertFalse(quern.events("journal.disk_small"))
        for _ in range(20):
            quern("submit", "echo", "--wait")


class NoRoomForAnother(unittest.TestCase):
    """/dev/full stands where the new copy should be made: the old one's blocks are the room."""

    def setUp(self):
        self.quern = Quern(CONFIG)
        self.addCleanup(self.quern.close)

    def block(self):
        for name in ("up.json", "quern.yaml", "pools.yaml"):
            (self.quern.data / "run" / f"{name}.part").symlink_to("/dev/full")

    def test_up_and_reload(self):
        quern = self.quern
        quern.start()
        quern.stop()
        self.block()
        quern.start()
        for name in ("up.json", "quern.yaml", "pools.yaml"):
            (quern.data / "run" / f"{name}.part").unlink(missing_ok=True)
        self.block()
        quern.config.write_text(LATER)
        self.assertIn(APPLIED, quern("reload"))
        self.assertEqual((quern.data / "run/quern.yaml").read_text(), LATER)


if __name__ == "__main__":
    if not mounts_of_our_own():
        print("no file system can be mounted here: only copies that cannot be written")
        del FullDisk, TooSmall
    quern_tree.main()
