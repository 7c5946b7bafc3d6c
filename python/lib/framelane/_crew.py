"""Several processes that serve the same tasks, and the one that looks after them."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import threading
import time
from typing import Any

from framelane import _child, _signals
from framelane._framelane import Error, NotAdmitted

logger = logging.getLogger("framelane")

#: Ended since the server does not let this worker in: as the program framelane-worker does, and EX_NOPERM.
NOT_ADMITTED = 77
#: Ended since a job hung, which says nothing against how it began.
HUNG = 86

#: The first wait before a process that died is started again, which doubles up to the last.
FIRST, LAST = 0.25, 5.0
#: A process that lived for so long had begun well.
LIVED = 10.0
#: After so many in a row that had not, there is no use.
TRIES = 5


class _Process:
    """One of them, and its successors."""

    def __init__(self, number: int, events: queue.SimpleQueue[Any]) -> None:
        self.number = number
        self.failures = 0
        self._command = _child.command()
        self._events = events
        self.start()

    def start(self) -> None:
        # A group of its own: a terminal's Ctrl-C reaches the parent alone, which then tells each of them.
        group: dict[str, Any] = {"creationflags": 0x200} if sys.platform == "win32" else {"process_group": 0}
        environment = {**os.environ, _child.NUMBER: str(self.number)}
        self.began = time.monotonic()
        self._popen = subprocess.Popen(
            self._command, env=environment, cwd=_child.FOLDER, stdin=subprocess.PIPE, **group
        )
        threading.Thread(target=self._wait, name=f"framelane-{self.number}", daemon=True).start()

    def _wait(self) -> None:
        self._events.put((self, self._popen.wait()))

    def stop(self) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.close()

    def kill(self) -> None:
        self._popen.kill()

    def died(self, code: int) -> Exception | None:
        """What its death means for all. None: it is to be started again."""
        if code == NOT_ADMITTED:
            return NotAdmitted("the server does not let this worker in; the reason is above")
        lived = time.monotonic() - self.began
        self.failures = 0 if lived > LIVED or code == HUNG else self.failures + 1
        how = f"by signal {-code}" if code < 0 else "since a job hung" if code == HUNG else f"with code {code}"
        if self.failures >= TRIES:
            return Error(f"process {self.number} of this worker ended {how}, {TRIES} times now; the reason is above")
        logger.error("process %d of this worker ended %s: it is started again", self.number, how)
        return None


def run(count: int) -> None:
    """Runs this program `count` times, and each that dies again, until a signal, or until all are done."""
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    alive: set[_Process] = set()
    #: When to start which again.
    due: dict[_Process, float] = {}
    failure: Exception | None = None

    def stop() -> None:
        due.clear()
        for process in alive:
            process.stop()

    def kill() -> None:
        for process in alive:
            process.kill()

    # A handler runs between any two steps of this very thread, so it only leaves a word.
    with _signals.handled(lambda: events.put(None), kill):
        stopping = False
        try:
            for number in range(1, count + 1):
                alive.add(_Process(number, events))
            while alive or due:
                try:
                    wait = min(due.values()) - time.monotonic() if due else None
                    event = events.get(timeout=None if wait is None else max(wait, 0))
                except queue.Empty:
                    process = min(due, key=due.__getitem__)
                    del due[process]
                    process.start()
                    alive.add(process)
                    continue
                if event is not None:
                    process, code = event
                    alive.discard(process)
                    process.stop()
                    if stopping or code == 0:
                        continue
                    failure = process.died(code)
                    if failure is None:
                        due[process] = time.monotonic() + min(FIRST * 2**process.failures, LAST)
                        continue
                stopping = True
                stop()
        finally:
            # After an error of our own; otherwise none is left.
            kill()
    if failure is not None:
        raise failure
