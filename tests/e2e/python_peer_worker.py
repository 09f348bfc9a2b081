#!/usr/bin/env python3
"""A worker of the Python example's library, with the kinds that its test needs."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "docs/examples/python"))

from quern_worker import Job, Worker  # noqa: E402  (the path comes first)

worker = Worker()


def mark(job: Job, word: str) -> None:
    """Says on a file of the test's own that it was here; short appends are not torn."""
    with open(job.payload["marks"], "a", encoding="ascii") as file:
        file.write(f"{job.payload['n']} {word} {os.getpid()}\n")


@worker.kind("mark")
def marked(job: Job) -> dict:
    """Begins, and ends once the file `until` is there."""
    mark(job, "begins")
    while not os.path.exists(job.payload["until"]):
        job.sleep(0.01)
    mark(job, "ends")
    return {"n": job.payload["n"]}


@worker.kind("big")
def big(job: Job) -> dict:
    return {"bytes": b"x" * job.payload["size"]}


@worker.kind("list")
def no_map(job: Job) -> list:
    return [1, 2]


@worker.kind("deep")
def deep(job: Job) -> dict:
    return job.payload


@worker.kind("tree")
def tree(job: Job) -> dict:
    """Spawns `leaves` while it runs, one more with its result, and a last one after all of them."""
    for n in range(job.payload["leaves"]):
        job.spawn("leaf", {"n": n}, priority=3)
    job.child("leaf", {"n": -1})
    job.spawn("sum", {}, then=True)
    return {"leaves": job.payload["leaves"]}


@worker.kind("leaf")
def leaf(job: Job) -> dict:
    return {"n": job.payload["n"], "below": "parent" in job.info}


@worker.kind("sum")
def total(job: Job) -> dict:
    return {"siblings": job.info["siblings"], "done": job.info["siblings_done"]}


@worker.kind("trespass")
def trespass(job: Job) -> dict:
    """Spawns what its kind may not."""
    job.spawn("mark", {})
    return {}


@worker.kind("verse", streams=True)
def verse(job: Job) -> dict:
    """Says words; one that is "again" voids what was said before it."""
    for word in job.payload["words"]:
        if word == "again":
            job.reset()
        else:
            job.delta(word)
        job.sleep(job.payload.get("ms", 0) / 1000)
    return {}


@worker.kind("flood", streams=True)
def flood(job: Job) -> dict:
    while True:
        job.delta("x" * 100_000)


if __name__ == "__main__":
    sys.exit(worker.main())
