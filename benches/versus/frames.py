"""A rival takes pictures of 1.2 MB and gives 1 kB back: `frames.py celery|zmq`, then a line a measurement on standard
input, until it is closed.

    rate SECONDS    prints pictures a second
"""
import importlib
import sys
import tempfile


class Zmq:
    def __init__(self, folder):
        self.measure = importlib.import_module("zmq_ipc").measure
        self.folder = folder

    def rate(self, seconds):
        return self.measure(2, 8, seconds, self.folder)


def zmq():
    with tempfile.TemporaryDirectory() as folder:
        yield Zmq(folder)


def celery():
    # It starts its own once more, by the same import.
    yield from importlib.import_module("celery_frames").started()


def main():
    setup = {"celery": celery, "zmq": zmq}[sys.argv[1]]()
    rival = next(setup)
    print("ready", flush=True)
    for line in sys.stdin:
        question, seconds = line.split()
        assert question == "rate", question
        print(rival.rate(float(seconds)), flush=True)
    next(setup, None)


if __name__ == "__main__":
    main()
