"""Runs a trait in a separate process and kills it, as `kill -9` would, at a chosen place.

Reads lines of JSON: {"folder": …, "select": …, "at": …, "redo": […]}. The modules and the model are
loaded once; each run is a fork, so that ten runs do not load torch ten times. Answers each line
with the exit status.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.projects import SmallProject
from traitvec_core.models.language_model import load_language_model
from traitvec_dagster.graph.resources import set_progress_sink


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Killer:
    """A sink of progress that kills when a stage is that far."""

    def __init__(self, stage: str, done: int) -> None:
        self._at = stage, done

    def __call__(self, stage: str, done: int, total: int, note: str = "", **_: object) -> None:
        if stage == self._at[0] and done >= self._at[1]:
            die()

    def say(self, text: str) -> None:
        """Not waited for."""


def _kill_at_write(at: dict[str, Any]) -> None:
    write, replace = Path.write_bytes, Path.replace

    def half(path: Path, data: bytes) -> int:
        name = at.get("writing", "no file")
        if str(path.parent / path.name.removeprefix(".")).partition(name)[1]:
            # What a kill inside the write leaves: half of it, under the temporary name.
            data, is_last = data[: len(data) // 2], True
        else:
            is_last = False
        n_written = write(path, data)
        if is_last:
            die()
        return n_written

    def renamed(path: Path, target: Path) -> Path:
        if str(target).endswith(at.get("renaming", "no file")):
            die()
        return replace(path, target)

    Path.write_bytes, Path.replace = half, renamed  # type: ignore[method-assign, assignment]


def run(folder: Path, task: dict[str, Any]) -> None:
    """Run the selected stages until the place of the kill.

    `at` is {"stage": …, "done": n}, {"writing": "a file's path"} or {"renaming": "a file's path"}.
    """
    at = task["at"]
    if "stage" in at:
        set_progress_sink(Killer(at["stage"], at["done"]))
    else:
        _kill_at_write(at)
    with SmallProject(folder) as project:
        project.run("refusal", select=task["select"], redo=task.get("redo", ()))


def main() -> None:
    import sklearn.linear_model  # noqa: F401

    import traitvec_core.report
    import traitvec_core.validation  # noqa: F401

    load_language_model("embedded")
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if child == 0:
            run(Path(task["folder"]), task)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
