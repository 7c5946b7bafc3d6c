"""1.2 MB bodies to worker processes through pyzmq over Unix sockets, 1 kB back: PUSH out, PULL in.

One JSON line: per_s. Every answer is compared with what it should be.
"""
import argparse
import json
import multiprocessing
import os
import tempfile
import time

import zmq

SIZE = 640 * 640 * 3
REPLY = 1024


def reply(body):
    return memoryview(body)[:: SIZE // REPLY][:REPLY].tobytes()


def worker(tasks, answers):
    context = zmq.Context()
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    pull.setsockopt(zmq.RCVHWM, 4)
    pull.connect(tasks)
    push.connect(answers)
    push.send_multipart([b"ready", b""])
    while True:
        number, body = pull.recv_multipart(copy=False)
        push.send_multipart([number.bytes, reply(body.buffer)])


def measure(workers, window, seconds, folder):
    tasks, answers = f"ipc://{folder}/tasks", f"ipc://{folder}/answers"
    context = zmq.Context()
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    push.setsockopt(zmq.SNDHWM, 4)
    push.bind(tasks)
    pull.bind(answers)
    pull.setsockopt(zmq.RCVTIMEO, 30_000)
    spawn = multiprocessing.get_context("spawn")
    children = [spawn.Process(target=worker, args=(tasks, answers), daemon=True) for _ in range(workers)]
    for child in children:
        child.start()
    try:
        for _ in children:
            pull.recv_multipart()
        bodies = [os.urandom(SIZE) for _ in range(8)]
        expected = [reply(body) for body in bodies]
        begin, sent, done = time.perf_counter(), 0, 0
        while True:
            while time.perf_counter() - begin < seconds and sent - done < window:
                push.send_multipart([str(sent).encode(), bodies[sent % 8]], copy=False)
                sent += 1
            if sent == done:
                return done / (time.perf_counter() - begin)
            number, answer = pull.recv_multipart()
            if answer != expected[int(number) % 8]:
                raise AssertionError(f"a wrong answer to {int(number)}")
            done += 1
    finally:
        for child in children:
            child.terminate()
            child.join(5)
        context.destroy(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--window", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"per_s": measure(args.workers, args.window, args.seconds, folder)}))


if __name__ == "__main__":
    main()
