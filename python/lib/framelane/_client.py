"""`Client`: pushes tasks to a coordinator, and gets their answers."""

from __future__ import annotations

import collections
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from framelane import _child
from framelane._framelane import Answer, Pusher


class Unanswered(Exception):
    """A task has no answer.

    `reason` is failed, late, no_lane, evicted, cancelled, lost or unreadable; `may_have_run` is False where submitting
    it again does it once.
    """

    def __init__(self, text: str, reason: str, may_have_run: bool) -> None:
        super().__init__(text)
        self.reason = reason
        self.may_have_run = may_have_run


@dataclass(frozen=True)
class _Asking:
    server: str
    name: str
    identity: Path
    token: str | None
    reconnect: bool
    budget: float | None
    attempts: int | None
    retry_after: float | None
    answer_within: float | None
    hedge: int | None
    worker: str | None


class Client:
    """A connection over which tasks are pushed. Its tasks are one flow: their answers come in their order.

    Any thread may use it. As a context manager it waits at the end for all that was sent, unless an exception ends it.
    """

    def __init__(
        self,
        *,
        server: str | None = None,
        token: str | None = None,
        name: str | None = None,
        state: str | os.PathLike[str] | None = None,
        reconnect: bool = True,
        budget: float | None = None,
        attempts: int | None = None,
        retry_after: float | None = None,
        answer_within: float | None = None,
        hedge: int | None = None,
        worker: str | None = None,
    ) -> None:
        """Connects.

        server: its address, HOST:PORT. Default: FRAMELANE_SERVER in the environment.
        token: one for clients, to get in with the first time, and where the server refuses what that was exchanged
            for; `framelane-tasks token --role client` makes one. Default: FRAMELANE_TOKEN.
        name: what people see this client as. Default: this machine's name.
        state: the folder that keeps this client's identity. Default: framelane-client-state.
        reconnect: whether to connect again when the connection is lost, for as long as it takes.
        budget: seconds after which a task without an answer is given up as late.
        attempts: how many failures end a task; 0: none does.
        retry_after: seconds that a task rests after a failure.
        answer_within: seconds that a worker may take over a task before another one gets it.
        hedge: a percentage, 1 to 100: a task whose worker is among the slowest so many is given to a second one too, if
            one is idle, and the first answer counts; 0: none is.
        worker: the id of the only worker that may get the tasks, as `framelane-tasks status` shows it.
        What is None is left to the server.

        Raises NotAdmitted when only another token can help, and Error when it cannot connect for another reason.
        """
        server = server or os.environ.get("FRAMELANE_SERVER")
        if not server:
            raise ValueError("server=HOST:PORT is needed, or FRAMELANE_SERVER in the environment")
        token = token or os.environ.get("FRAMELANE_TOKEN") or None
        name = name or platform.node().encode()[:64].decode(errors="ignore") or "client"
        folder = Path(_child.FOLDER, state or "framelane-client-state")
        identity = folder / "client.pem"
        self._pusher = Pusher(
            _Asking(server, name, identity, token, reconnect, budget, attempts, retry_after, answer_within, hedge, worker)
        )

    def submit(self, task: str, job: Any) -> Answer:
        """Sends a job once there is room for it, and gives its answer to be waited for.

        An answer that nobody holds any more is cancelled.
        """
        return self._pusher.submit(task, job)

    def call(self, task: str, job: Any, timeout: float | None = None) -> Any:
        """One job, and its answer."""
        return self.submit(task, job).result(timeout)

    def map(
        self, task: str, jobs: Iterable[Any], *, ahead: int = 256, return_exceptions: bool = False
    ) -> Iterator[Any]:
        """The answers to jobs, in their order; up to `ahead` jobs are under way.

        The first job without an answer raises `Unanswered`, and that ends it: those under way are cancelled. With
        `return_exceptions` the exception comes in the place of the answer instead, and the others go on.
        """
        if ahead < 1:
            raise ValueError("ahead is a number from 1 on")
        flying: collections.deque[Answer] = collections.deque()

        def first() -> Any:
            try:
                return flying.popleft().result()
            except Unanswered as error:
                if return_exceptions:
                    return error
                raise

        for job in jobs:
            if len(flying) >= ahead:
                yield first()
            flying.append(self.submit(task, job))
        while flying:
            yield first()

    def close(self) -> None:
        """Takes no more jobs, and waits for the answers to those that were sent."""
        self._pusher.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._pusher.abandon()
