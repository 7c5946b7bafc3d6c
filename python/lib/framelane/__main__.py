"""`python -m framelane serve MODULE[:TASK,...] --server HOST:PORT`."""

from __future__ import annotations

import argparse
import importlib
import sys

import framelane
from framelane import _crew


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m framelane", description="A worker for tasks in Python.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve the tasks of a module")
    add = serve.add_argument
    add("tasks", metavar="MODULE[:TASK,...]", help="a module that can be imported; which of its tasks [all]")
    add("--server", metavar="HOST:PORT", help="the server's address for workers [FRAMELANE_SERVER]")
    add("--token", help="to get in with, the first time; FRAMELANE_TOKEN keeps it out of `ps`")
    add("--redis", metavar="URL", help="a Redis that servers send jobs to [FRAMELANE_REDIS]")
    add("--amqp", metavar="URL", help="a RabbitMQ that servers send jobs to [FRAMELANE_AMQP]")
    add("--name", help="what people see this worker as [this machine's name]")
    add("--state", metavar="DIR", help="keeps the identity [FRAMELANE_WORKER_STATE, or framelane-worker-state]")
    add("--processes", type=int, default=1, metavar="N", help="how many run the module [1]")
    add("--threads", type=int, default=1, metavar="N", help="jobs at a time in each process [1]")
    add("--credit", type=int, metavar="N", help="jobs handed out to each process at a time [as is useful]")
    add("--once", action="store_true", help="end when the connection is lost")
    add("--no-shared-memory", action="store_true", help="get all arrays over the network")
    add(
        "--hang-after",
        type=float,
        metavar="SECONDS",
        help="end with 86 when a job takes longer; 0: never [FRAMELANE_WORKER_HANG_AFTER, or 30]",
    )
    add("--log", metavar="FILTER", help="info, debug, or a filter [FRAMELANE_LOG, or info]")
    given = parser.parse_args()
    module, _, names = given.tasks.partition(":")
    try:
        importlib.import_module(module)
        framelane.serve(
            server=given.server,
            token=given.token,
            redis=given.redis,
            amqp=given.amqp,
            name=given.name,
            state=given.state,
            processes=given.processes,
            threads=given.threads,
            credit=given.credit,
            reconnect=not given.once,
            shared_memory=not given.no_shared_memory,
            hang_after=given.hang_after,
            log=given.log,
            tasks=names.split(",") if names else None,
        )
    except (framelane.Error, ModuleNotFoundError, ValueError) as error:
        print(f"framelane: {error}", file=sys.stderr)
        sys.exit(_crew.NOT_ADMITTED if isinstance(error, framelane.NotAdmitted) else 1)


if __name__ == "__main__":
    main()
