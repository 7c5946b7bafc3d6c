"""Celery counts words. The worker imports this file too, and finds its broker in the environment."""
import collections
import os
import re
import sys
import time

import celery

from servers import folder, program, rabbitmq_server, redis_server

SPLIT = re.compile(r"[,;|.]")
WINDOW = 200

app = celery.Celery("celery_words", broker=os.environ.get("CELERY_WORDS_BROKER"),
                    backend=os.environ.get("CELERY_WORDS_BACKEND"))
app.conf.update(task_serializer="json", result_serializer="json", accept_content=["json"],
                broker_connection_retry_on_startup=True, worker_disable_rate_limits=True,
                worker_send_task_events=False, worker_prefetch_multiplier=64, result_persistent=False)


@app.task(name="count_words")
def count_words(text):
    return collections.Counter(SPLIT.split(text))


class Rival:
    def rate(self, seconds, word):
        """Up to WINDOW under way, results taken in order."""
        total, flying = collections.Counter(), collections.deque()
        end = time.perf_counter() + seconds
        while True:
            while time.perf_counter() < end and len(flying) < WINDOW:
                flying.append(count_words.delay(word()))
            if not flying:
                return total
            total.update(flying.popleft().get(timeout=30))

    def trip(self, word):
        count_words.delay(word).get(timeout=30)


def started(server, urls, workers, pool):
    """The rival once its worker has answered; ends worker and server after it."""
    with folder() as state, server(state) as port:
        broker, backend = (url.format(port) for url in urls)
        app.conf.update(broker_url=broker, result_backend=backend)
        env = dict(os.environ, CELERY_WORDS_BROKER=broker, CELERY_WORDS_BACKEND=backend)
        command = [sys.executable, "-m", "celery", "-A", "celery_words", "worker", "-c", str(workers), "-P", pool,
                   "--loglevel=warning", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        with program(command, os.path.join(state, "worker.log"), env):
            rival = Rival()
            for _ in range(50):
                rival.trip("kiwi")
            yield rival


REDIS = ("redis://127.0.0.1:{}/0", "redis://127.0.0.1:{}/1")
AMQP = ("amqp://guest:guest@127.0.0.1:{}//", "rpc://")
SETUPS = {
    "celery-prefork": lambda: started(redis_server, REDIS, 2, "prefork"),
    "celery-solo": lambda: started(redis_server, REDIS, 1, "solo"),
    "celery-amqp": lambda: started(rabbitmq_server, AMQP, 2, "prefork"),
}
