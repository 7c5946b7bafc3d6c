"""The floor of every queue on Redis: lists, pushed to and popped from, with nothing around them."""
import collections
import multiprocessing
import re
import time

import redis

from servers import folder, redis_server

SPLIT = re.compile(rb"[,;|.]")
WINDOW = 200
AT_ONCE = 64


def work(port, batch):
    """Counts until it is told to stop, however long that is."""
    server = redis.Redis(port=port, socket_timeout=None)
    while True:
        _, task = server.brpop("q")
        tasks = [task] + ((server.rpop("q", AT_ONCE) or []) if batch else [])
        replies = []
        for task in tasks:
            if task == b"STOP":
                return
            number, text = task.split(b" ", 1)
            counts = collections.Counter(SPLIT.split(text))
            replies.append(number + b" " + b",".join(b"%s=%d" % pair for pair in counts.items()))
        server.lpush("r", *replies)


class Rival:
    def __init__(self, port, batch):
        self.server, self.batch = redis.Redis(port=port, socket_timeout=None), batch

    def rate(self, seconds, word):
        total, sent, done = collections.Counter(), 0, 0
        end = time.perf_counter() + seconds
        while True:
            room = WINDOW - (sent - done) if time.perf_counter() < end else 0
            tasks = [b"%d %s" % (sent + n, word().encode()) for n in range(room)]
            sent += len(tasks)
            if tasks and self.batch:
                self.server.lpush("q", *tasks)
            elif tasks:
                for task in tasks:
                    self.server.lpush("q", task)
            if sent == done:
                return total
            replies = [self.server.brpop("r", timeout=30)[1]]
            replies += (self.server.rpop("r", AT_ONCE) or []) if self.batch else []
            for reply in replies:
                for pair in reply.split(b" ", 1)[1].split(b","):
                    name, n = pair.split(b"=")
                    total[name] += int(n)
            done += len(replies)

    def trip(self, word):
        self.server.lpush("q", b"0 " + word.encode())
        self.server.brpop("r", timeout=30)


def started(workers, batch):
    context = multiprocessing.get_context("spawn")
    with folder() as state, redis_server(state) as port:
        processes = [context.Process(target=work, args=(port, batch), daemon=True) for _ in range(workers)]
        for process in processes:
            process.start()
        rival = Rival(port, batch)
        for _ in range(20):
            rival.trip("kiwi")
        yield rival
        for _ in processes:
            rival.server.lpush("q", b"STOP")
        for process in processes:
            process.join(10)


SETUPS = {
    "redis-batch": lambda: started(2, True),
    "redis-echo": lambda: started(1, False),
}
