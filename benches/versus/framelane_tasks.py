"""Our side of `framelane-bench python`: the tasks of the rivals' scripts, served by two processes."""
import collections
import re

import numpy

import framelane

SPLIT = re.compile(r"[,;|.]")
REPLY = 1024


@framelane.task("count-words")
def count_words(text: str) -> dict[str, int]:
    return collections.Counter(SPLIT.split(text))


@framelane.task("frame")
def frame(picture: numpy.ndarray) -> bytes:
    flat = picture.reshape(-1)
    return flat[:: flat.size // REPLY][:REPLY].tobytes()


framelane.serve(processes=2)
