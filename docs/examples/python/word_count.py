"""A worker with two kinds: one counts words, one writes a stream.

It runs under `quern up` (see README.md), or by hand beside one:

    QUERN_DATA=.quern python3 word_count.py
"""

import sys
import time

from quern_worker import Hold, Job, Reject, Retry, Worker

worker = Worker(slots=2)


@worker.kind("word_count")
def word_count(job: Job) -> dict:
    """Counts the words of `text`; `ms` for each; not before `after`."""
    text = job.payload.get("text")
    if not isinstance(text, str):
        raise Reject("text: missing, or no text")
    wait = job.payload.get("after", 0) - time.time()
    if wait > 0:
        raise Hold(wait, "the dictionary is being printed")
    if text.startswith("fail") and job.attempt < job.payload.get("good", 99):
        raise Retry(f"attempt {job.attempt} of {job.payload.get('good')}")
    words = text.split()
    for at, _ in enumerate(words):
        job.sleep(job.payload.get("ms", 0) / 1000)
        job.progress(at + 1, len(words))
    return {"words": len(words), "attempt": job.attempt}


@worker.kind("tell", streams=True, timeout_ms=60_000)
def tell(job: Job) -> dict:
    """Says `text` word by word to whoever listens, `ms` apart."""
    words = job.payload["text"].split()
    for word in words:
        job.delta(word + " ")
        job.sleep(job.payload.get("ms", 0) / 1000)
    job.event({"words": len(words)}, channel=1)
    return {"text": " ".join(words)}


if __name__ == "__main__":
    sys.exit(worker.main())
