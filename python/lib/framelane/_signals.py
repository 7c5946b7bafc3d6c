"""Ctrl-C and SIGTERM: the first asks to finish, the second ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handled(stop: Callable[[], None], kill: Callable[[], None]) -> Iterator[None]:
    """Calls `stop` at the first signal, and `kill` at the second, before the process ends.

    Python lets its main thread alone handle signals; from any other they are left as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            kill()
            os._exit(128 + number)
        asked = True
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: it was set by something else than Python, and cannot be set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
