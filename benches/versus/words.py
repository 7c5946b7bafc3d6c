"""A rival counts words: `words.py NAME`, then a line a measurement on standard input, until it is closed.

    rate SECONDS         prints tasks a second
    trips SECONDS RATE   prints the median time there and back at so many a second, in microseconds
"""
import importlib
import random
import statistics
import sys
import time

WORDS = ("banana", "apple", "orange", "grape", "kiwi", "cherry")


# By module, since each imports what the others do without.
NAMES = {
    "celery_words": ("celery-prefork", "celery-solo", "celery-amqp"),
    "dramatiq_words": ("dramatiq",),
    "redis_words": ("redis-batch", "redis-echo"),
}


def rate(rival, seconds):
    begin, sent = time.perf_counter(), [0]

    def word():
        sent[0] += 1
        return random.choice(WORDS)

    total = sum(rival.rate(seconds, word).values())
    if total != sent[0]:
        raise SystemExit(f"{sent[0]} words went, {total} were counted")
    return total / (time.perf_counter() - begin)


def trips(rival, seconds, rate):
    begin, times = time.perf_counter(), []
    for n in range(int(seconds * rate)):
        wait = begin + n / rate - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        sent = time.perf_counter()
        rival.trip("kiwi")
        times.append(time.perf_counter() - sent)
        if time.perf_counter() - begin > 2 * seconds:
            break
    return statistics.median(times) * 1e6


def main():
    name = sys.argv[1]
    module = next(module for module, names in NAMES.items() if name in names)
    setup = importlib.import_module(module).SETUPS[name]()
    rival = next(setup)
    print("ready", flush=True)
    for line in sys.stdin:
        question, *numbers = line.split()
        numbers = [float(number) for number in numbers]
        print({"rate": rate, "trips": trips}[question](rival, *numbers), flush=True)
    next(setup, None)


if __name__ == "__main__":
    main()
