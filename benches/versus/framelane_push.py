"""A client of ours pushes tasks: `rate SECONDS` on standard input prints how many a second, until it is closed.

FRAMELANE_SERVER and FRAMELANE_TOKEN say where; the argument is the folder for its identity.
"""
import sys
import time

import framelane

BODY = bytes(range(100))


def jobs(until):
    number = 0
    while time.perf_counter() < until:
        yield framelane.Beside({"number": number}, BODY)
        number += 1


def rate(client, seconds):
    begin, answered = time.perf_counter(), 0
    for head, body in client.map("bench-work", jobs(begin + seconds)):
        if head["number"] != answered or body != BODY:
            raise SystemExit(f"answer {answered} is {head}")
        answered += 1
    return answered / (time.perf_counter() - begin)


with framelane.Client(state=sys.argv[1]) as client:
    print("ready", flush=True)
    for line in sys.stdin:
        print(rate(client, float(line.split()[1])), flush=True)
