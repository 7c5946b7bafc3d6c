"""What a type checker makes of the package: it is checked, and never run."""

from collections.abc import Iterator
from typing import Any, assert_type

import framelane


@framelane.task("wordcount")
def wordcount(text: str) -> dict[str, int]:
    return {word: 1 for word in text.split()}


@framelane.task("double", batch=16)
def double(jobs: list[int]) -> list[int]:
    return [2 * job for job in jobs]


# What is registered stays what it was.
assert_type(wordcount("a b"), dict[str, int])
assert_type(double([1]), list[int])


def push() -> None:
    with framelane.Client(server="127.0.0.1:4434", budget=0.5, reconnect=False) as client:
        answer = client.submit("wordcount", "to be")
        assert_type(answer, framelane.Answer)
        answer.cancel()
        assert_type(client.map("wordcount", ["a", "b"], ahead=2), Iterator[Any])
        try:
            print(client.call("wordcount", "to be", timeout=1))
        except framelane.Unanswered as error:
            assert_type(error.reason, str)
            assert_type(error.may_have_run, bool)
    client.submit(7, "no name")  # type: ignore[arg-type]


def look(body: framelane.Body) -> bytes:
    return bytes(memoryview(body)[: len(body)])


def main() -> None:
    try:
        framelane.serve(redis=["redis://localhost"], processes=2, threads=2, hang_after=60, shared_memory=False)
    except framelane.NotAdmitted as refused:
        # Whoever does not tell them apart is told all the same.
        error: framelane.Error = refused
        print(error)
    framelane.serve(hang_after="soon")  # type: ignore[arg-type]
