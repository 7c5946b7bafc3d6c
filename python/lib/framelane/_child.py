"""One of several processes: how it is started, and how it learns that it is to stop.

Each runs the same program from the top, since whatever it makes before `serve`, such as a model, is needed in each.
Its standard input is a pipe from the process that started it: the end of the pipe, however it comes, asks it to stop.
So none is left behind by a parent that was killed. The pipe is taken away before the program could read from it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

#: In the environment of a process that is one of several: its number, from 1.
NUMBER = "FRAMELANE_PROCESS"

#: As it was when the program began, before it could change it.
FOLDER = os.getcwd()
_given = os.environ.pop(NUMBER, "")
#: Which of several processes this is; None for one that stands alone.
number: int | None = int(_given) if _given.isdigit() else None

_lock = threading.Lock()
_over = False
_callbacks: list[Callable[[], None]] = []


def on_stop(callback: Callable[[], None]) -> None:
    """Calls back when the parent wants this process to stop, at once if it has said so already."""
    with _lock:
        if not _over:
            _callbacks.append(callback)
            return
    callback()


def command() -> list[str]:
    """What starts this program again."""
    main = sys.modules.get("__main__")
    again = sys.orig_argv[1:]
    if not again or not ("-c" in again or getattr(main, "__file__", None)):
        raise ValueError("processes=N runs the program N times, so it must be a file: this one is typed in")
    return [sys.executable, *again]


def _watch(pipe: int) -> None:
    global _over
    try:
        while os.read(pipe, 64):
            pass
    except OSError:
        pass
    with _lock:
        _over = True
        callbacks = list(_callbacks)
    for callback in callbacks:
        callback()


if number is not None:
    _pipe = os.dup(0)
    _nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(_nothing, 0)
    os.close(_nothing)
    threading.Thread(target=_watch, args=(_pipe,), name="framelane-parent", daemon=True).start()
