"""A client: counts the words of a text, or has it told word by word.

    python3 ask.py "one two three"
    python3 ask.py --tell "one two three"
    python3 ask.py --unique greeting "said twice, counted once"
"""

import argparse
import sys

from quern_client import Client, Finished, QuernError


def tell(client: Client, text: str) -> Finished:
    job = client.submit("tell", {"text": text, "ms": 100}, attach=True)
    stream = client.stream(job.id)
    for event in stream:
        if event.kind == "text":
            print(event.value, end="", flush=True)
        elif event.kind == "reset":     # another attempt begins anew
            print("\n...")
    print()
    assert stream.finished
    return stream.finished


def count(client: Client, text: str, unique: str | None) -> Finished:
    job = client.submit("word_count", {"text": text}, watch=True,
                        unique=unique)
    print("job", job.id, "(was there already)" if job.duplicate else "")
    return client.wait(job.id)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("text")
    parser.add_argument("--tell", action="store_true")
    parser.add_argument("--unique")
    parser.add_argument("--data", help="the data folder; else QUERN_DATA")
    options = parser.parse_args()
    try:
        with Client(options.data, role="gateway") as client:
            end = (tell(client, options.text) if options.tell
                   else count(client, options.text, options.unique))
    except QuernError as error:
        print("ask:", error, file=sys.stderr)
        return 1
    print(end.state, end.result or end.text)
    return 0 if end.state == "done" else 1


if __name__ == "__main__":
    sys.exit(main())
