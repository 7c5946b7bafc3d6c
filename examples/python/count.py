"""Counts words for whoever FRAMELANE_SERVER and FRAMELANE_TOKEN name: the worker of docs/python.md, in two processes."""
import framelane


@framelane.task("wordcount")
def count(text: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return counts


framelane.serve(processes=2)
