"""What tests of the graph and of the command stand on: one finished project, copied by each."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Before torch is imported: a model of five blocks gains nothing from threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from hypothesis import HealthCheck, settings

from tests.projects import SmallProject, write_experiment
from traitvec_dagster.cli.terminal import restore_interrupts

# Neither the machine's speed nor a new random example may turn a run of the suite red. To look for
# new examples: `pytest --hypothesis-profile=default`.
settings.register_profile(
    "traitvec", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("traitvec")

# The tests too may be started in the background of a script.
restore_interrupts()

OF_THE_USER = (
    "DAGSTER_HOME", "TRAITVEC_EXPERIMENTS", "TRAITVEC_EXECUTOR", "TRAITVEC_GPUS",
    "TRAITVEC_WEBHOOK_URL", "TRAITVEC_STORAGE", "TRAITVEC_GPU_NODES", "TRAITVEC_STORAGE",
    "CUDA_VISIBLE_DEVICES", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS",
    "HF_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "JUDGE_API_KEY", "GENERATION_API_KEY",
    "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL",
)  # fmt: skip


@contextmanager
def _own_environment() -> Iterator[None]:
    """A project sets the environment of its process; nothing of that may reach the next test."""
    before = dict(os.environ)
    for name in OF_THE_USER:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def own_environment() -> Iterator[None]:
    """Neither keys nor folders of whoever runs the tests, and none that a test has set."""
    with _own_environment():
        yield


@pytest.fixture(scope="module")
def own_module_environment() -> Iterator[None]:
    """The same for what a whole module shares."""
    with _own_environment():
        yield


@pytest.fixture(scope="session")
def finished_folder(tmp_path_factory: pytest.TempPathFactory, new_instance: Path) -> Path:
    """A project with two traits that went through all stages; copy it, don't touch it."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(new_instance, folder / ".dagster")
    with _own_environment():
        write_experiment(folder, "demo", ["refusal", "uncertainty"])
        with SmallProject(folder) as project:
            for trait in ("refusal", "uncertainty"):
                done = project.run(trait)
                assert done.is_success, done.problems
    return folder


@pytest.fixture
def one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same dot for every picture: drawing takes longer than all else that a small run does.

    The pictures of the finished project are real.
    """
    monkeypatch.setattr("traitvec_core.report.plots._picture", lambda draw: b"\x89PNG")


@pytest.fixture
def finished(
    finished_folder: Path, tmp_path: Path, own_environment: None, one_picture: None
) -> Iterator[SmallProject]:
    """A copy of the finished project."""
    folder = tmp_path / "project"
    shutil.copytree(finished_folder, folder, dirs_exist_ok=True)
    with SmallProject(folder) as project:
        yield project


@pytest.fixture(scope="session")
def new_instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dagster instance without history; making its tables takes longer than copying them."""
    folder = tmp_path_factory.mktemp("new")
    with _own_environment(), SmallProject(folder) as project:
        project.instance.get_runs_count()
        project.instance.get_dynamic_partitions("traits/demo")
    return folder / ".dagster"


@pytest.fixture
def empty(
    tmp_path: Path, new_instance: Path, own_environment: None, one_picture: None
) -> Iterator[SmallProject]:
    """A project with the same experiment, in which nothing has run."""
    folder = tmp_path / "project"
    shutil.copytree(new_instance, folder / ".dagster")
    write_experiment(folder, "demo", ["refusal", "uncertainty"])
    with SmallProject(folder) as project:
        yield project
