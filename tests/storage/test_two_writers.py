"""Two processes that make the same trait at once, with other settings, leave one result."""

import errno
import fcntl
import multiprocessing
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.projects import FEW_VECTORS, results, write_experiment
from tests.storage.conftest import Bucket
from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages import SPECS
from traitvec_core.stages.context import Workbench
from traitvec_core.stages.lock import stage_lock
from traitvec_core.stages.make import make, stage_states
from traitvec_core.stages.provenance import stage_key
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder, refresh

# Forked, so that torch and the model are loaded once.
fork = multiprocessing.get_context("fork")
MADE: tuple[Stage, ...] = ("responses", "judged_responses", "activations", "vectors")
ONE = {**FEW_VECTORS, "n_examples": 4, "sampling": {"max_new_tokens": 8}, "min_coherence": 0}
OTHER = {**ONE, "n_examples": 6}


@pytest.fixture(scope="module")
def bench() -> Workbench:
    """One model, loaded before the processes part."""
    import sklearn.linear_model  # noqa: F401

    from traitvec_core.models.language_model import load_language_model

    model = load_language_model("embedded", device="cpu")
    return Workbench(load_model=lambda name, options: model)


def trait(root: Path) -> TraitFolder:
    return ExperimentFolder(root, "demo").trait("refusal")


def written(folder: Path, settings: dict[str, Any]) -> Path:
    write_experiment(folder, "demo", ["refusal"], settings)
    return folder / "experiments"


def run(root: Path, bench: Workbench, settings: dict[str, Any]) -> str:
    """Make the stages one after the other, as a run does; returns what stopped it, if anything."""
    chosen = ExperimentFolder(root, "demo").settings(settings)
    try:
        for stage in MADE:
            make(stage, trait(root), chosen, bench)
    except TraitvecError as error:
        return str(error)
    return ""


def at_once(*jobs: Callable[[], str]) -> list[str]:
    """Do all jobs at the same time, each in a separate process."""
    barrier = fork.Barrier(len(jobs))

    def work(job: Callable[[], str], answer: Connection) -> None:
        barrier.wait(60)
        answer.send(job())

    pipes = [fork.Pipe(duplex=False) for _ in jobs]
    processes = [
        fork.Process(target=work, args=(job, pipe[1]))
        for job, pipe in zip(jobs, pipes, strict=True)
    ]
    for process in processes:
        process.start()
    answers = [pipe[0].recv() if pipe[0].poll(120) else "no answer" for pipe in pipes]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(jobs)
    return answers


def assert_consistent(folder: TraitFolder) -> None:
    """Every stage's metadata names the files that are there, and what they were made from."""
    for stage in MADE:
        found = folder.provenance(stage)
        if found is None:
            continue
        folder.fetch(stage)
        assert folder.is_here(found), stage
        assert found.key == stage_key(stage, found.inputs, found.settings)


@pytest.mark.usefixtures("own_environment")
def test_two_runs_with_other_settings_leave_one_result(tmp_path: Path, bench: Workbench) -> None:
    root = written(tmp_path / "raced", ONE)
    told = at_once(lambda: run(root, bench, ONE), lambda: run(root, bench, OTHER))
    assert all("\n" not in line for line in told)
    assert_consistent(trait(root))

    assert not run(root, bench, ONE), "a later run alone goes through"
    states = stage_states(trait(root), ExperimentFolder(root, "demo").settings())
    assert [states[stage] for stage in MADE] == ["fresh"] * len(MADE)
    alone = written(tmp_path / "alone", ONE)
    assert not run(alone, bench, ONE)
    assert results(trait(root).path) == results(trait(alone).path)


@pytest.mark.usefixtures("own_environment")
def test_the_same_run_twice_at_once_is_made_once(tmp_path: Path, bench: Workbench) -> None:
    root = written(tmp_path, ONE)
    told = at_once(*[lambda: run(root, bench, ONE)] * 2)
    refused = [line for line in told if line]
    assert len(refused) <= 1
    assert all("cannot be made now" in line for line in refused)
    assert_consistent(trait(root))
    states = stage_states(trait(root), ExperimentFolder(root, "demo").settings())
    assert [states[stage] for stage in MADE] == ["fresh"] * len(MADE)


# -- the lock -------------------------------------------------------------------------------------


@contextmanager
def held_by_another(folder: Path, stage: Stage) -> Iterator[BaseProcess]:
    """A process that makes a stage, until the block ends."""
    began, done = fork.Event(), fork.Event()

    def work() -> None:
        with stage_lock(folder, stage):
            began.set()
            done.wait(60)

    process = fork.Process(target=work)
    process.start()
    assert began.wait(30)
    try:
        yield process
    finally:
        # One that was killed would never answer.
        if process.is_alive():
            done.set()
        process.join(30)


def test_the_second_sees_which_process_holds_the_stage(tmp_path: Path) -> None:
    with held_by_another(tmp_path, "vectors") as other:
        for stage in ("vectors", "responses", "activations", "validation_report"):
            with pytest.raises(TraitvecError) as told, stage_lock(tmp_path, stage):
                pass
            where = (
                f"vectors is being made by process {other.pid} on {socket.gethostname()}, since "
            )
            assert where in str(told.value)
            assert f"{stage} cannot be made now" in str(told.value)
    with stage_lock(tmp_path, "responses"):
        pass


def test_stages_that_are_not_made_from_each_other_are_made_at_once(tmp_path: Path) -> None:
    last = STAGES[-1]
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with held_by_another(tmp_path, "validation_report"), stage_lock(tmp_path, last):
        pass
    with held_by_another(tmp_path / "one", "vectors"), stage_lock(tmp_path / "other", "vectors"):
        pass


def test_a_process_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    with held_by_another(tmp_path, "vectors") as other:
        other.kill()
        other.join(30)
        with stage_lock(tmp_path, "vectors"):
            pass


def test_a_file_system_without_locks_is_worked_on_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with stage_lock(tmp_path, "vectors"):
        pass


@pytest.mark.usefixtures("own_environment")
def test_what_was_made_from_files_that_changed_meanwhile_is_not_kept(
    tmp_path: Path, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without locks, or with another machine at the same bucket."""
    from traitvec_core.stages import make as pipeline

    root = written(tmp_path, ONE)
    settings = ExperimentFolder(root, "demo").settings()
    make("responses", trait(root), settings, bench)
    spec = SPECS["judged_responses"]
    assert spec.make is not None
    judge = spec.make

    def overtaken(context: Any) -> Any:
        result = judge(context)
        other = ExperimentFolder(root, "demo").settings({"n_examples": 6})
        monkeypatch.setattr(pipeline, "stage_lock", lambda *_: contextmanager(lambda: (yield))())
        make("responses", trait(root), other, bench)
        return result

    monkeypatch.setitem(SPECS, "judged_responses", replace(spec, make=overtaken))
    with pytest.raises(TraitvecError, match="responses was made again while judged_responses"):
        make("judged_responses", trait(root), settings, bench)
    assert trait(root).provenance("judged_responses") is None


# -- two machines, one bucket ---------------------------------------------------------------------


@pytest.mark.services
def test_two_machines_with_other_settings_leave_one_result_in_the_bucket(
    bucket: Bucket, tmp_path: Path, bench: Workbench
) -> None:
    one = written(tmp_path / "one", ONE)
    refresh(one)
    other, third = tmp_path / "other/experiments", tmp_path / "third/experiments"
    refresh(other)
    told = at_once(lambda: run(one, bench, ONE), lambda: run(other, bench, OTHER))
    assert all("\n" not in line for line in told)
    assert not all(told), "the first to put a stage goes on"

    refresh(third)
    assert_consistent(trait(third))
    assert not run(third, bench, ONE), "a later run goes through, on any machine"
    refresh(one)
    states = stage_states(trait(one), ExperimentFolder(one, "demo").settings())
    assert [states[stage] for stage in MADE] == ["fresh"] * len(MADE)
    assert_consistent(trait(one))
