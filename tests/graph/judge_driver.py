"""Judges in separate processes, several at once, and kills them as `kill -9` would.

Reads lines of JSON: {"runs": [{"folder": …, "home": …, "experiment": …}, …], "kill_after": …}:
how many judgements each run keeps before it is killed, or null to let them end. The modules are
loaded once; each run is a fork. Answers each line with the exit statuses.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.projects import SmallProject, draw_nothing
from traitvec_core.judging import JudgementStore
from traitvec_dagster.runs.ownership import close_dead_runs


def judge(run: dict[str, str], kept: int) -> bool:
    """Judge one trait as `traitvec run` does; writes a byte for each judgement it keeps."""
    keep = JudgementStore.keep

    def counted(self: JudgementStore, rows: Any, *arguments: Any) -> None:
        rows = list(rows)
        keep(self, rows, *arguments)
        os.write(kept, b"." * len(rows))

    JudgementStore.keep = counted  # type: ignore[method-assign]
    draw_nothing(pytest.MonkeyPatch())
    os.environ["DAGSTER_HOME"] = run["home"]
    with SmallProject(Path(run["folder"])) as project:
        close_dead_runs(project.instance)
        done = project.run("refusal", "judged_responses", run["experiment"])
    if not done.is_success:
        print(done.problems, file=sys.stderr)
    return done.is_success


def start(run: dict[str, str]) -> tuple[int, int]:
    """Fork a run; returns its process and the pipe to which it writes."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os._exit(not judge(run, writer))
    os.close(writer)
    return child, reader


def read_until(reader: int, n_bytes: int | None) -> None:
    """Read so many bytes, or up to the end."""
    n_read = 0
    while (n_bytes is None or n_read < n_bytes) and (data := os.read(reader, 65536)):
        n_read += len(data)


def main() -> None:
    import anthropic  # noqa: F401
    import genai_prices.data_snapshot  # noqa: F401
    import openai  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch  # noqa: F401

    import traitvec_core.judging.providers.openai
    import traitvec_core.stages.make
    import traitvec_core.validation.checks.agreement  # noqa: F401
    import traitvec_dagster.definitions  # noqa: F401

    for line in sys.stdin:
        task = json.loads(line)
        children = [start(run) for run in task["runs"]]
        for child, reader in children:
            read_until(reader, task["kill_after"])
            if task["kill_after"] is not None:
                os.kill(child, signal.SIGKILL)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child, _ in children]
        for _, reader in children:
            os.close(reader)
        print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    main()
