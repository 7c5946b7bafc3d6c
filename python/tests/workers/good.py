"""Does what fails in tasks.py."""

import framelane


@framelane.task("fails")
def fails(job: str) -> str:
    return f"done {job}"


framelane.serve()
