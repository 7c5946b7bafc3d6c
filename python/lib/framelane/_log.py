"""What goes wrong in tasks, in Python's own log."""

from __future__ import annotations

import logging
import threading
import time

from framelane._framelane import Bad

logger = logging.getLogger("framelane")

#: A task that always fails is not to fill a disk: for so long after one of its lines there is no other.
QUIET = 1.0


class Log:
    """Logs at once, and then not for a while; what comes too fast is counted, and told with the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By task: when it was last told of, and how many were not since.
        self._last: dict[str, tuple[float, int]] = {}

    def raised(self, task: str, error: BaseException) -> None:
        """A task raised this, which has its traceback."""
        more = self._more(task)
        if more is None:
            return
        if isinstance(error, Bad):
            logger.warning("task %s: bad job: %s%s", task, error, more)
        else:
            logger.error("task %s failed%s", task, more, exc_info=error)

    def wrong(self, task: str, why: str) -> None:
        """A task does not keep to the rules."""
        more = self._more(task)
        if more is not None:
            logger.error("task %s: %s%s", task, why, more)

    def _more(self, task: str) -> str | None:
        now = time.monotonic()
        with self._lock:
            last, unsaid = self._last.get(task, (now - QUIET, 0))
            if now - last < QUIET:
                self._last[task] = (last, unsaid + 1)
                return None
            self._last[task] = (now, 0)
        return f" ({unsaid} more since the last of these lines)" if unsaid else ""


log = Log()
