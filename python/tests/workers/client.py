"""A client: python client.py all|enters|revoked|waits. What does the tasks is in client.rs."""

import sys

import numpy

import framelane


def reason(answer: framelane.Answer) -> str:
    try:
        answer.result(timeout=60)
    except framelane.Unanswered as error:
        assert error.may_have_run, error
        return f"{error.reason}: {error}"
    return "an answer"


def everything(client: framelane.Client) -> None:
    # More than may be under way at once.
    assert list(client.map("echo", range(10_000))) == list(range(10_000))
    plain = {"text": "größer", "numbers": [1, -2.5, None, True], "bytes": b"\x00"}
    assert client.call("echo", plain) == plain
    picture = numpy.random.default_rng(1).integers(0, 256, (640, 640, 3), dtype=numpy.uint8)
    back = client.call("echo", picture)
    assert (back == picture).all() and back.shape == picture.shape and not back.flags.owndata
    assert bytes(client.call("echo", b"raw" * 1000)) == b"raw" * 1000
    assert client.call("echo", framelane.Beside("head", b"body")).head == "head"

    failed = client.submit("fails", "that")
    for _ in range(2):
        assert reason(failed) == "failed: it failed: no luck", reason(failed)

    told = list(client.map("odd", range(1000), ahead=10, return_exceptions=True))
    for number, answer in enumerate(told):
        if number % 2:
            assert answer == number, (number, answer)
        else:
            assert isinstance(answer, framelane.Unanswered) and answer.reason == "failed", (number, answer)
    numbers = client.map("odd", [1, 3, 4, 5])
    assert [next(numbers), next(numbers)] == [1, 3]
    try:
        next(numbers)
        raise AssertionError("it is even")
    except framelane.Unanswered:
        assert list(numbers) == [], "that was the end"

    slow = client.submit("never", None)
    behind = client.submit("echo", "behind")
    for _ in range(2):
        try:
            slow.result(timeout=0.01)
            raise AssertionError("it has an answer")
        except TimeoutError:
            pass
    slow.cancel()
    assert reason(slow).startswith("cancelled"), reason(slow)
    assert behind.result(timeout=60) == "behind", "what is cancelled holds nothing up"
    client.submit("never", "and nobody holds it")
    assert client.call("echo", "after it", timeout=60) == "after it"

    for wrong in ({1, 2}, [numpy.zeros(2)], "x" * 100_000):
        try:
            client.submit("echo", wrong)
            raise AssertionError("it went")
        except TypeError as error:
            assert "cannot be sent" in str(error), error
    try:
        client.submit("No Name", 1)
        raise AssertionError("it went")
    except ValueError as error:
        assert "cannot name a task" in str(error), error


if sys.argv[1] == "all":
    with framelane.Client() as client:
        everything(client)
        last = client.submit("echo", "last")
    assert last.result() == "last", "the end waits for what was sent"
    try:
        client.submit("echo", 1)
        raise AssertionError("it went")
    except framelane.Error as error:
        assert "closed" in str(error)
    # The token was for once; what it was exchanged for is on disk.
    assert framelane.Client().call("echo", 1) == 1
    print("over")
elif sys.argv[1] == "enters":
    try:
        with framelane.Client() as client:
            print(client.call("echo", "in"))
    except framelane.Error as error:
        print(f"{type(error).__name__}: {error}")
elif sys.argv[1] == "revoked":
    client = framelane.Client()
    print("connected", flush=True)
    while True:
        try:
            client.call("echo", 1, timeout=60)
        except framelane.Unanswered as error:
            assert error.reason == "lost", error
        except framelane.NotAdmitted:
            break
else:
    client = framelane.Client()
    print("connected", flush=True)
    client.call("never", None)
