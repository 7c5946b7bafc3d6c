"""A client of framelane-tasks: python push.py words|rest|waits|stopped. The workers are in coordinator.rs."""

import collections
import sys

import numpy

import framelane

TEXT = ["the books always balance", "to be or not to be", "whatever the workers do"]


def unanswered(client: framelane.Client, task: str, job: object) -> str:
    try:
        client.call(task, job, timeout=60)
    except framelane.Unanswered as error:
        return f"{error.reason}: {error}"
    raise AssertionError("it has an answer")


def words(client: framelane.Client) -> None:
    total: collections.Counter[str] = collections.Counter()
    lines = 2000
    for number, counts in enumerate(client.map("wordcount", (TEXT[n % 3] for n in range(lines)))):
        assert counts == collections.Counter(TEXT[number % 3].split()), (number, counts)
        total.update(counts)
    assert sum(total.values()) == sum(len(TEXT[n % 3].split()) for n in range(lines))


def rest(client: framelane.Client) -> None:
    picture = numpy.random.default_rng(1).integers(0, 256, (640, 480, 3), dtype=numpy.uint8)
    assert (client.call("invert", picture) == (255 - picture).transpose(1, 0, 2)).all()

    said = unanswered(client, "fails", "that")
    assert said.startswith("failed") and "ValueError: no luck with that" in said, said
    said = unanswered(client, "bad", "this")
    assert said.startswith("failed") and "nobody can do this" in said, said
    said = unanswered(client, "wrong", "set")
    assert said.startswith("failed") and "set" in said, said
    # Neither worker can count a number: the one says so, the other raises.
    assert unanswered(client, "wordcount", 7).startswith("failed")
    try:
        client.submit("wordcount", {1, 2})
        raise AssertionError("it went")
    except TypeError as error:
        assert "cannot be sent" in str(error), error

    # One that nobody holds any more is cancelled, and holds nothing up.
    client.submit("nobody-does-this", None)
    assert client.call("wordcount", "after it", timeout=60) == {"after": 1, "it": 1}
    # One that nobody does waits, unless it has a budget.
    late = framelane.Client(budget=0.05)
    assert unanswered(late, "nobody-does-this", None).startswith(("late", "no_lane"))

    # A worker may be chosen.
    chosen = framelane.Client(worker=sys.argv[2])
    for _ in range(20):
        # Only the one in Rust minds neither case nor commas.
        assert chosen.call("wordcount", "Aha, aha", timeout=60) == {"aha": 2}
    try:
        framelane.Client(worker="me")
        raise AssertionError("it is an id")
    except ValueError as error:
        assert "worker" in str(error), error


role = sys.argv[1]
# One that connects again would wait for the next coordinator.
client = framelane.Client(reconnect=role != "stopped")
if role == "waits":
    answer = client.submit("nobody-does-this", None)
    print("waits", flush=True)
    answer.result()
elif role == "stopped":
    slow = client.submit("pid", 1.0)
    print("under way", flush=True)
    assert slow.result(timeout=60) > 0, "a coordinator that stops answers what it has"
    try:
        client.call("pid", 0.0, timeout=60)
        raise AssertionError("it took one more")
    except (framelane.Error, framelane.Unanswered) as error:
        print(f"told: {error}", flush=True)
else:
    with client:
        {"words": words, "rest": rest}[role](client)
    print("over")
