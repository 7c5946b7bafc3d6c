"""Dramatiq counts words. Its worker imports this file too, and finds its Redis in the environment."""
import collections
import os
import re
import sys
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from servers import folder, program, redis_server

SPLIT = re.compile(r"[,;|.]")
WINDOW = 200
PROCESSES, THREADS = 4, 8


def actor(port):
    """The task on the Redis at this port."""
    backend = RedisBackend(host="127.0.0.1", port=port, db=1)
    broker = RedisBroker(host="127.0.0.1", port=port, db=0)
    broker.add_middleware(Results(backend=backend))
    dramatiq.set_broker(broker)

    @dramatiq.actor(store_results=True, actor_name="count_words")
    def count_words(text):
        return dict(collections.Counter(SPLIT.split(text)))

    return count_words, backend


if "DRAMATIQ_WORDS_PORT" in os.environ:
    count_words, _ = actor(int(os.environ["DRAMATIQ_WORDS_PORT"]))


class Rival:
    def __init__(self, port):
        self.task, self.backend = actor(port)

    def result(self, message):
        return message.get_result(backend=self.backend, block=True, timeout=30000)

    def rate(self, seconds, word):
        total, flying = collections.Counter(), collections.deque()
        end = time.perf_counter() + seconds
        while True:
            while time.perf_counter() < end and len(flying) < WINDOW:
                flying.append(self.task.send(word()))
            if not flying:
                return total
            total.update(self.result(flying.popleft()))

    def trip(self, word):
        self.result(self.task.send(word))


def started():
    with folder() as state, redis_server(state) as port:
        env = dict(os.environ, DRAMATIQ_WORDS_PORT=str(port))
        command = [sys.executable, "-m", "dramatiq", "dramatiq_words", "--processes", str(PROCESSES),
                   "--threads", str(THREADS)]
        with program(command, os.path.join(state, "worker.log"), env):
            rival = Rival(port)
            for _ in range(20):
                rival.trip("kiwi")
            yield rival


SETUPS = {"dramatiq": started}
