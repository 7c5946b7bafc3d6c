"""Which function does which task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from framelane._framelane import check_name


class Beside(NamedTuple):
    """A value with raw bytes beside it: what a task in Rust may send whose payload is no array."""

    head: Any
    body: Any


@dataclass(frozen=True)
class Task:
    """A function that does one kind of task."""

    name: str
    function: Callable[[Any], Any]
    #: The most jobs that it is called with at once; None: one, which is not in a list.
    batch: int | None


#: By name, in the order in which they were written.
registered: dict[str, Task] = {}

_Function = TypeVar("_Function", bound=Callable[[Any], Any])


def task(name: str, *, batch: int | None = None) -> Callable[[_Function], _Function]:
    """Makes a function do the task called `name`: 1 to 64 of `a-z 0-9 . _ -`. The function stays as it is.

    It takes a job and returns its answer. Both are a numpy array or a plain value: str, int, float, bool, None, bytes,
    and lists and dicts of those. With `batch` it takes a list of up to so many jobs and returns a list of as many
    answers; an exception in the place of an answer fails that job alone.
    """
    check_name(name)
    if batch is not None and (not isinstance(batch, int) or isinstance(batch, bool) or batch < 1):
        raise ValueError(f"batch={batch!r}: give the most jobs at once, a number from 1 on")

    def register(function: _Function) -> _Function:
        if not callable(function):
            raise TypeError(f"a task is done by a function, and {function!r} is none")
        if name in registered:
            raise ValueError(f"the task {name!r} is done by {registered[name].function!r} already")
        registered[name] = Task(name, function, batch)
        return function

    return register


def chosen(names: list[str] | None) -> list[Task]:
    """The tasks of these names, or all."""
    if names is None:
        names = list(registered)
    if not names:
        raise ValueError('there is nothing to serve: put @framelane.task("name") on a function')
    unknown = [name for name in names if name not in registered]
    if unknown:
        raise ValueError(f"no function does the task {unknown[0]!r}; there are: {', '.join(registered) or 'none'}")
    return [registered[name] for name in dict.fromkeys(names)]
