"""`kill -9` while responses are judged, ten times over, and two runs at once: what is paid for."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from tests.graph.conftest import SETTINGS, Serve
from tests.projects import REPOSITORY, SmallProject, put_responses, results, write_experiment
from traitvec_core.judging import JudgementStore
from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE

pytestmark = pytest.mark.slow

BOUND = 20
KILLS = 10
# 2 × 125 responses, two judgements each.
N_EXAMPLES = 125
MANY = {**SETTINGS, "n_examples": N_EXAMPLES, "max_concurrent_judges": BOUND}


class Driver:
    """The process that judges and is killed; see `judge_driver.py`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.graph.judge_driver"],
            cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def judge(self, *runs: dict[str, str], kill_after: int | None = None) -> list[int]:
        task = {"runs": runs, "kill_after": kill_after}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        statuses: list[int] = json.loads(self._process.stdout.readline())
        return statuses

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=300)


@pytest.fixture
def driver(own_environment: None) -> Iterator[Callable[[], Driver]]:
    """Start drivers; each takes the addresses that are set at that moment."""
    with ExitStack() as stack:

        def start() -> Driver:
            started = Driver()
            stack.callback(started.close)
            return started

        yield start


def _project(folder: Path, new_instance: Path, *experiments: str) -> None:
    """Experiments with the same responses, as if they had been generated."""
    shutil.copytree(new_instance, folder / ".dagster")
    for name in experiments:
        write_experiment(folder, name, ["refusal"], MANY)
    with SmallProject(folder) as project:
        for name in experiments:
            put_responses(
                project.trait("refusal", name),
                project.settings(name),
                lambda number: f"Response {number}: one like no other.",
            )


def _run(folder: Path, experiment: str = "demo", home: str = ".dagster") -> dict[str, str]:
    return {"folder": str(folder), "home": str(folder / home), "experiment": experiment}


def _tables(folder: Path, experiment: str = "demo") -> dict[str, bytes]:
    return results(folder / "experiments" / experiment)


@pytest.mark.services
def test_ten_kills_cost_no_more_than_what_was_in_flight(
    serve: Serve, driver: Callable[[], Driver], tmp_path: Path, new_instance: Path
) -> None:
    server = serve(latency_s=0.04, keeps_calls=False)
    folder, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    for path in (folder, undisturbed):
        _project(path, new_instance, "demo")
    judges = driver()
    moments = random.Random(3)
    n = 4 * N_EXAMPLES
    kept = []
    for _ in range(KILLS):
        # Early enough for ten kills to happen while it judges.
        assert judges.judge(_run(folder), kill_after=moments.randint(1, n // 20)) == [-9]
        with JudgementStore(folder / "experiments" / JUDGEMENTS_FILE) as store:
            kept.append(sum(row["judgements"] for row in store.summary()))
    assert kept[-1] < n
    # Each goes on from where the last one was killed, and none loses a judgement.
    assert all(before < after for before, after in pairwise([0, *kept]))
    assert judges.judge(_run(folder)) == [0]
    answers = server.log.answers
    assert len(answers) == n
    assert sum(answers.values()) - n <= KILLS * BOUND
    # What was on disk was never asked again.
    assert max(answers.values()) <= 1 + KILLS
    assert server.log.max_in_flight <= 2 * BOUND  # those of a dead run end with its connections
    with SmallProject(folder) as project:
        made = project.trait("refusal").metadata("judged_responses")
        assert made["asked_now"] == n - kept[-1]
        assert project.states("refusal")["judged_responses"] == "fresh"
    # Another server, so that it is asked for everything.
    serve(latency_s=0.0, keeps_calls=False)
    assert driver().judge(_run(undisturbed)) == [0]
    tables = _tables(undisturbed)
    assert _tables(folder) == tables
    assert len([name for name in tables if name.endswith("/pos.csv")]) == 1
    assert sum(data.count(b'"ok"') for data in tables.values()) == n


def test_two_runs_at_once_do_not_pay_twice_for_what_is_finished(
    serve: Serve, driver: Callable[[], Driver], tmp_path: Path, new_instance: Path
) -> None:
    server = serve(latency_s=0.04, keeps_calls=False)
    folder = tmp_path / "project"
    _project(folder, new_instance, "demo", "other")
    # One instance each: a shared one would let only one of them into the pool at a time.
    shutil.copytree(new_instance, folder / ".dagster2")
    assert driver().judge(_run(folder), _run(folder, "other", ".dagster2")) == [0, 0]
    n = 4 * N_EXAMPLES
    answers = server.log.answers
    assert len(answers) == n
    # What was asked twice was in flight in both runs at the same time.
    assert max(answers.values()) <= 2
    for name in ("demo", "other"):
        with SmallProject(folder) as project:
            judged = project.trait("refusal", name).read_responses()
        assert judged["trait_score"].notna().all()
    mine, others = (_tables(folder, name) for name in ("demo", "other"))
    assert mine == others
    # Each run has its own order, so it finds most of what comes up judged by the other; in the same
    # order, both would ask for all n.
    assert sum(answers.values()) < 1.5 * n
