"""Judges in processes of their own, several at once, and kills them as `kill -9` would.

Reads lines of JSON: {"runs": [{"folder": …, "home": …, "experiment": …}, …], "kill_after_s": …};
the time counts from the moment in which the last of the runs has its first judgement, and null lets
them end. The modules are loaded once; each run is a fork. Answers each line with the exit statuses.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tests.projects import SmallProject, save_one_pixel
from traitvec_core.judging import JudgementStore
from traitvec_dagster.runs.ownership import close_dead_runs


def judge(run: dict[str, str], started: int) -> bool:
    """Judge one trait as `traitvec run` does; writes a byte before its first judgement."""
    keep, is_told = JudgementStore.keep, False

    def told(self: JudgementStore, *arguments: Any) -> None:
        nonlocal is_told
        if not is_told:
            os.write(started, b".")
            is_told = True
        keep(self, *arguments)

    JudgementStore.keep = told  # type: ignore[method-assign]
    Figure.savefig = save_one_pixel  # type: ignore[assignment]
    os.environ["DAGSTER_HOME"] = run["home"]
    with SmallProject(Path(run["folder"])) as project:
        close_dead_runs(project.instance)
        done = project.run("refusal", "judged_responses", run["experiment"])
    if not done.is_success:
        print(done.problems, file=sys.stderr)
    return done.is_success


def start(run: dict[str, str]) -> tuple[int, int]:
    """Fork a run; returns its process and the pipe on which it tells that it judges."""
    begun, started = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(begun)
        os._exit(not judge(run, started))
    os.close(started)
    return child, begun


def main() -> None:
    import anthropic  # noqa: F401
    import openai  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch  # noqa: F401

    import traitvec_core.judging.openai_model
    import traitvec_core.stages.make
    import traitvec_core.validation.verdicts  # noqa: F401
    import traitvec_dagster.definitions  # noqa: F401

    for line in sys.stdin:
        task = json.loads(line)
        children = [start(run) for run in task["runs"]]
        for _, begun in children:
            os.read(begun, 1)
        if task["kill_after_s"] is not None:
            time.sleep(task["kill_after_s"])
            for child, _ in children:
                os.kill(child, signal.SIGKILL)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child, _ in children]
        for _, begun in children:
            os.close(begun)
        print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    main()
