"""Celery takes pictures, pickled both ways. The worker imports this file too, and finds its broker in the environment."""
import collections
import os
import sys
import time

import celery
import numpy

from servers import folder, program, redis_server

SHAPE = (640, 640, 3)
REPLY = 1024
WINDOW = 8

app = celery.Celery("celery_frames", broker=os.environ.get("CELERY_FRAMES_BROKER"),
                    backend=os.environ.get("CELERY_FRAMES_BACKEND"))
app.conf.update(task_serializer="pickle", result_serializer="pickle", accept_content=["pickle"],
                result_accept_content=["pickle"], broker_connection_retry_on_startup=True,
                worker_disable_rate_limits=True, worker_send_task_events=False, worker_prefetch_multiplier=4,
                result_persistent=False)


def reply(picture):
    flat = picture.reshape(-1)
    return flat[:: flat.size // REPLY][:REPLY].tobytes()


@app.task(name="frame")
def frame(picture):
    return reply(picture)


class Rival:
    def __init__(self):
        random = numpy.random.default_rng(7)
        self.frames = [random.integers(0, 256, SHAPE, dtype=numpy.uint8) for _ in range(8)]
        self.expected = [reply(picture) for picture in self.frames]

    def rate(self, seconds):
        """Pictures a second, up to WINDOW under way, each answer compared with what it should be."""
        flying, begin, sent, done = collections.deque(), time.perf_counter(), 0, 0
        while True:
            while time.perf_counter() - begin < seconds and len(flying) < WINDOW:
                flying.append(frame.delay(self.frames[sent % 8]))
                sent += 1
            if not flying:
                return done / (time.perf_counter() - begin)
            if flying.popleft().get(timeout=30) != self.expected[done % 8]:
                raise SystemExit(f"a wrong answer to {done}")
            done += 1


def started():
    """The rival once its workers have answered; ends workers and server after it."""
    with folder() as state, redis_server(state) as port:
        broker, backend = (f"redis://127.0.0.1:{port}/{n}" for n in (0, 1))
        app.conf.update(broker_url=broker, result_backend=backend)
        # Celery refuses pickle to root otherwise.
        env = dict(os.environ, CELERY_FRAMES_BROKER=broker, CELERY_FRAMES_BACKEND=backend, C_FORCE_ROOT="1")
        command = [sys.executable, "-m", "celery", "-A", "celery_frames", "worker", "-c", "2", "-P", "prefork",
                   "--loglevel=warning", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        with program(command, os.path.join(state, "worker.log"), env):
            rival = Rival()
            rival.rate(0.5)
            yield rival
