"""Runs a trait in a separate process and kills it, as `kill -9` would, at a chosen place.

Reads lines of JSON: {"folder": …, "select": …, "at": …}. The modules and the model are loaded once;
each run is a fork, so that ten runs do not load torch ten times. Answers each line with the exit
status.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.projects import SmallProject
from traitvec_core.models.language_model import load_language_model
from traitvec_core.storage import trait_folder as store
from traitvec_dagster.graph.resources import set_progress_sink


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Killer:
    """A sink of progress that kills when a stage is that far."""

    def __init__(self, stage: str, done: int) -> None:
        self._at = stage, done

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        if stage == self._at[0] and done >= self._at[1]:
            die()

    def say(self, text: str) -> None:
        """Not waited for."""


def run(folder: Path, select: str, at: dict[str, Any]) -> None:
    """Run the selected stages; `at` is {"stage": …, "done": n} or {"writing": "a file's path"}."""
    if "stage" in at:
        set_progress_sink(Killer(at["stage"], at["done"]))
    else:
        write = store.write_atomically

        def half(path: Path, data: bytes) -> None:
            if str(path).endswith(at["writing"]):
                # What a kill inside the write leaves: half of it, under the temporary name.
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_name(f".{path.name}.dead.tmp").write_bytes(data[: len(data) // 2])
                die()
            write(path, data)

        store.write_atomically = half
    with SmallProject(folder) as project:
        project.run("refusal", select=select)


def main() -> None:
    import sklearn.linear_model  # noqa: F401

    import traitvec_core.report
    import traitvec_core.validation  # noqa: F401

    load_language_model("embedded")
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if child == 0:
            run(Path(task["folder"]), task["select"], task["at"])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
