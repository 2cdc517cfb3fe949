"""Runs a trait in a separate process that waits in the middle of its responses.

Arguments: the project's folder, and `command` (as `traitvec run` does) or `ui` (as the UI does).
Prints `waiting`, goes on when its input ends, then prints what came out.
"""

import sys
from pathlib import Path

from tests.projects import SmallProject, draw_nothing
from traitvec_dagster.graph.resources import set_progress_sink


class Waiting:
    """A sink of progress that waits once a response is there."""

    def __init__(self) -> None:
        self._has_waited = False

    def __call__(self, stage: str, done: int, total: int, note: str = "", **_: object) -> None:
        if stage == "responses" and done and not self._has_waited:
            self._has_waited = True
            print("waiting", flush=True)
            sys.stdin.read()

    def say(self, text: str) -> None:
        """Not waited for."""


def main() -> None:
    import pytest

    draw_nothing(pytest.MonkeyPatch())
    set_progress_sink(Waiting())
    with SmallProject(Path(sys.argv[1])) as project:
        if sys.argv[2] == "command":
            is_good = project.run("refusal").is_good
        else:
            project.instance.add_dynamic_partitions("traits/demo", ["refusal"])
            is_good = project.run_job("demo_traits", "refusal").success
    print("good" if is_good else "failed", flush=True)


if __name__ == "__main__":
    main()
