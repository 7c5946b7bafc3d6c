"""The worker of most tests: python tasks.py [PROCESSES [loud]]."""

import ctypes
import os
import sys
import threading
import time

import numpy

import framelane
import framelane._log


@framelane.task("wordcount")
def wordcount(text: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return counts


@framelane.task("echo")
def echo(job):
    return job


@framelane.task("kind")
def kind(job) -> str:
    return type(job).__name__


@framelane.task("repr")
def told(job) -> str:
    return repr(job)


@framelane.task("invert")
def invert(picture: numpy.ndarray) -> numpy.ndarray:
    return (255 - picture).transpose(1, 0, 2)


@framelane.task("look")
def look(picture: numpy.ndarray) -> dict:
    address = picture.__array_interface__["data"][0]
    return {
        "type": type(picture).__name__,
        "dtype": picture.dtype.name,
        "shape": list(picture.shape),
        "owns": picture.flags.owndata,
        "writeable": picture.flags.writeable,
        "base": type(picture.base).__name__,
        "same_address": address == picture.base.address,
        "first": ctypes.c_ubyte.from_address(address).value,
        "sum": int(picture.sum()),
    }


@framelane.task("numbers")
def numbers(_) -> dict:
    return {"float": numpy.float32(0.5), "int": numpy.int64(-3), "truth": numpy.bool_(True), "tuple": (1, b"two")}


@framelane.task("big-endian")
def big_endian(_) -> numpy.ndarray:
    return numpy.arange(6, dtype=">u4").reshape(2, 3)[:, ::2]


calls = 0


@framelane.task("calls")
def count_calls(_) -> int:
    return calls


@framelane.task("fails")
def fails(job: str):
    global calls
    calls += 1
    raise ValueError(f"no luck with {job}")


@framelane.task("bad")
def bad(job: str):
    global calls
    calls += 1
    raise framelane.Bad(f"nobody can do {job}")


class Odd:
    pass


WRONG = {
    "set": {1, 2},
    "object": Odd(),
    "nested": {"array": numpy.zeros(3)},
    "names": numpy.array(["a", "b"]),
    "key": {("a", "b"): 1, 2: Odd()},
    "huge": 1 << 200,
    "long": "x" * 100_000,
    "endless": [],
}
WRONG["endless"].append(WRONG["endless"])


@framelane.task("wrong")
def wrong(which: str):
    return WRONG[which]


sizes: list[int] = []


@framelane.task("many", batch=8)
def many(jobs: list[int]) -> list:
    sizes.append(len(jobs))
    if 1000 in jobs:
        return "not a list"
    if 1001 in jobs:
        return []
    time.sleep(0.01)
    return [framelane.Bad("odd") if job % 2 else job * 10 for job in jobs]


@framelane.task("sizes")
def told_sizes(_) -> list[int]:
    return sizes


@framelane.task("pid")
def pid(pause: float) -> int:
    time.sleep(pause)
    return os.getpid()


barrier = threading.Barrier(2)


@framelane.task("meet")
def meet(_) -> str:
    """Two at a time, or none."""
    barrier.wait(timeout=20)
    return "met"


@framelane.task("hang")
def hang(mark: str) -> int:
    """The first one hangs, and the interpreter with it."""
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return os.getpid()
    # Unlike any other call into C, one of PyDLL does not let go of the interpreter.
    while True:
        ctypes.PyDLL(None).pause()


@framelane.task("quit")
def leave(_):
    sys.exit(3)


if __name__ == "__main__":
    if "loud" in sys.argv:
        framelane._log.QUIET = 0.0
    framelane.serve(processes=int(sys.argv[1]))
    print("over")
