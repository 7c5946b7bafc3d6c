"""Serve tasks from Python, and push them: a worker and a client for Framelane's ordered task queue.

    import framelane

    @framelane.task("wordcount")
    def count(text: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        for word in text.split():
            counts[word] = counts.get(word, 0) + 1
        return counts

    framelane.serve(server="127.0.0.1:4433", token="fl1_...")
"""

# First of all: it notes how this program was started, and whether as one of several processes.
from framelane import _child  # noqa: F401  (isort: skip)
from framelane._client import Client, Unanswered
from framelane._framelane import Answer, Bad, Body, Error, NotAdmitted
from framelane._serve import serve
from framelane._task import Beside, task

__all__ = ["Answer", "Bad", "Beside", "Body", "Client", "Error", "NotAdmitted", "Unanswered", "serve", "task"]
