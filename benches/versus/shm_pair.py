"""1.2 MB bodies to worker processes through bare shared memory, 1 kB back: one block for each worker, a pipe says when.

No queue, no check, no second body on its way to a worker: it is what a hand-made pair can do. The worker works on the
block itself, or with `--own-copy` on a copy that nobody can change under its eyes.

One JSON line: per_s, and p50_ms of bodies that go one at a time, each to the next worker. Every answer is compared with
what it should be.
"""
import argparse
import json
import multiprocessing
import multiprocessing.connection
import os
import statistics
import time
from multiprocessing import shared_memory

SIZE = 640 * 640 * 3
REPLY = 1024


def reply(body):
    return memoryview(body)[:: SIZE // REPLY][:REPLY].tobytes()


def worker(name, pipe, own_copy):
    block = shared_memory.SharedMemory(name=name)
    body = shared = block.buf[:SIZE]
    if own_copy:
        body = memoryview(bytearray(SIZE))
    while True:
        try:
            number = pipe.recv_bytes()
        except EOFError:
            return
        if own_copy:
            body[:] = shared
        pipe.send_bytes(number + reply(body))


def measure(workers, seconds, own_copy):
    spawn = multiprocessing.get_context("spawn")
    blocks = [shared_memory.SharedMemory(create=True, size=SIZE) for _ in range(workers)]
    pipes = [spawn.Pipe() for _ in blocks]
    ends = [end for end, _ in pipes]
    children = [
        spawn.Process(target=worker, args=(block.name, end, own_copy), daemon=True)
        for block, (_, end) in zip(blocks, pipes)
    ]
    for child, (_, end) in zip(children, pipes):
        child.start()
        # A child that dies ends its pipe then.
        end.close()
    try:
        bodies = [os.urandom(SIZE) for _ in range(8)]
        expected = [reply(body) for body in bodies]

        def send(at, number):
            blocks[at].buf[:SIZE] = bodies[number % 8]
            ends[at].send_bytes(number.to_bytes(8, "little"))

        def receive(at):
            answer = ends[at].recv_bytes()
            number = int.from_bytes(answer[:8], "little")
            if answer[8:] != expected[number % 8]:
                raise AssertionError(f"a wrong answer to {number}")

        for at in range(workers):
            send(at, at)
        for at in range(workers):
            receive(at)
        begin, sent, done = time.perf_counter(), 0, 0
        free = list(range(workers))
        while True:
            while free and time.perf_counter() - begin < seconds:
                send(free.pop(), sent)
                sent += 1
            if sent == done:
                break
            ready = multiprocessing.connection.wait(ends, 30)
            if not ready:
                raise TimeoutError("no answer within 30 s")
            for end in ready:
                receive(ends.index(end))
                free.append(ends.index(end))
                done += 1
        per_s = done / (time.perf_counter() - begin)
        begin, trips = time.perf_counter(), []
        while time.perf_counter() - begin < seconds:
            sent = time.perf_counter()
            send(len(trips) % workers, len(trips))
            receive(len(trips) % workers)
            trips.append(time.perf_counter() - sent)
        return {"per_s": per_s, "p50_ms": 1e3 * statistics.median(trips)}
    finally:
        for child in children:
            child.terminate()
            child.join(5)
        for block in blocks:
            block.close()
            block.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--own-copy", action="store_true")
    args = parser.parse_args()
    print(json.dumps(measure(args.workers, args.seconds, args.own_copy)))


if __name__ == "__main__":
    main()
