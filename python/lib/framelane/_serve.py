"""`serve`: from registered tasks to a worker that works."""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from framelane import _child, _crew, _signals, _task
from framelane._framelane import NotAdmitted, Run, enrol, log_to_stderr, work


@dataclass(frozen=True)
class Place:
    """Where to work, and how to get in."""

    server: str | None
    redis: list[str]
    amqp: list[str]
    name: str
    state: Path
    token: str | None


@dataclass(frozen=True)
class Ways:
    """How to work."""

    threads: int
    credit: int | None
    reconnect: bool
    shared_memory: bool
    hang_after: float


def serve(
    *,
    server: str | None = None,
    token: str | None = None,
    redis: str | Iterable[str] | None = None,
    amqp: str | Iterable[str] | None = None,
    name: str | None = None,
    state: str | os.PathLike[str] | None = None,
    processes: int = 1,
    threads: int = 1,
    credit: int | None = None,
    reconnect: bool = True,
    shared_memory: bool = True,
    hang_after: float | None = None,
    log: str | None = None,
    tasks: Iterable[str] | None = None,
) -> None:
    """Serves the registered tasks until Ctrl-C, SIGTERM, or the server's word; then finishes what is in hand.

    server: its address for workers, HOST:PORT. Default: FRAMELANE_SERVER in the environment.
    token: one for workers, to get in with the first time, and where the server refuses what that was exchanged for;
        `framelane workers token` makes one. Default: FRAMELANE_TOKEN.
    redis, amqp: addresses of brokers that servers send jobs to, redis://HOST or amqp://USER:PASSWORD@HOST, instead of a
        server or beside one; several in a list, or by commas. Default: FRAMELANE_REDIS and FRAMELANE_AMQP.
    name: what people see this worker as. Default: this machine's name.
    state: the folder that keeps this worker's identity. Default: FRAMELANE_WORKER_STATE, or framelane-worker-state.
    processes: how many run this program, each from its top, so that pure Python uses as many processors.
    threads: how many jobs each process works on at a time; of use where functions let go of the interpreter, as numpy
        and onnxruntime do.
    credit: how many jobs the server may hand out to each process at a time. Default: it follows from their length.
    reconnect: whether to connect again when the connection is lost, for as long as it takes.
    shared_memory: whether a server on this machine may hand arrays over through memory.
    hang_after: after how many seconds in one call of a function the job counts as hung; 0: never. Nothing but the end of
        its process ends such a job, so that ends with 86, for whatever started it to start it again; of several
        processes it is the one alone, and starts again by itself. Default: FRAMELANE_WORKER_HANG_AFTER, or 30.
    log: what to log to stderr: info, debug, or a filter. Default: FRAMELANE_LOG, or info.
    tasks: the names of those to serve. Default: all that are registered.

    With several processes it returns in the first one alone, once all others have ended.
    Raises NotAdmitted when only another token can help, and Error when it cannot go on for another reason.
    """
    chosen = _task.chosen(None if tasks is None else list(tasks))
    if processes < 1 or threads < 1 or (credit is not None and credit < 1):
        raise ValueError("processes, threads and credit are numbers from 1 on")
    server = server or os.environ.get("FRAMELANE_SERVER") or None
    brokers = _addresses(redis, "FRAMELANE_REDIS"), _addresses(amqp, "FRAMELANE_AMQP")
    if not server and not any(brokers):
        raise ValueError("server=HOST:PORT, redis= or amqp= is needed, or FRAMELANE_SERVER in the environment")
    token = token or os.environ.get("FRAMELANE_TOKEN") or None
    name = name or platform.node().encode()[:64].decode(errors="ignore") or "worker"
    state = state or os.environ.get("FRAMELANE_WORKER_STATE") or "framelane-worker-state"
    place = Place(server, *brokers, name, Path(_child.FOLDER, state), token)
    ways = Ways(threads, credit, reconnect, shared_memory, _hang_after() if hang_after is None else hang_after)
    log_to_stderr(log or os.environ.get("FRAMELANE_LOG") or "info")

    def begin(on_end: Callable[[], None]) -> Run:
        return work(place, ways, chosen, on_end)

    if processes == 1:
        _until_over(begin)
    elif _child.number is None:
        # Once for all of them: a token may be good for one worker only, and together these are one.
        if server is None or _until_over(lambda on_end: enrol(place, on_end)):
            _crew.run(processes)
    else:
        short = name.encode()[:60].decode(errors="ignore")
        place = replace(place, name=f"{short}-{_child.number}")
        try:
            _until_over(begin)
        except NotAdmitted as error:
            print(f"framelane: {error}", file=sys.stderr)
            sys.exit(_crew.NOT_ADMITTED)
        # What the program does after it has served, it does once: in the process that started this one.
        sys.exit(0)


def _hang_after() -> float:
    """As long as in workers in Rust, unless the environment says otherwise."""
    given = os.environ.get("FRAMELANE_WORKER_HANG_AFTER") or "30"
    try:
        return float(given)
    except ValueError:
        raise ValueError(f"FRAMELANE_WORKER_HANG_AFTER={given!r}: a number of seconds, 0 for never") from None


def _addresses(given: str | Iterable[str] | None, variable: str) -> list[str]:
    """The addresses of brokers, from an argument or from the environment."""
    if given is None:
        given = os.environ.get(variable, "")
    parts = given.split(",") if isinstance(given, str) else given
    return [part for part in parts if part]


def _until_over(begin: Callable[[Callable[[], None]], Run]) -> bool:
    """Begins something and waits until it is over; False if it was asked to stop."""
    over = threading.Event()
    run = begin(over.set)
    asked = False

    def stop() -> None:
        nonlocal asked
        asked = True
        run.stop()

    _child.on_stop(stop)
    with _signals.handled(stop, lambda: None):
        # Windows wakes its main thread for a signal only between two waits.
        while not over.wait(0.5 if sys.platform == "win32" else None):
            pass
    run.result()
    return not asked
