"""The environment, the Hypothesis profile, and the finished project that many tests copy."""

import fcntl
import os
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

# Before torch is imported: a model of five blocks gains nothing from threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The tests own the experiments that they write; those about trust unset it.
os.environ["TRAITVEC_TRUST"] = "all"

from hypothesis import HealthCheck, settings

from tests.projects import SmallProject, draw_nothing, write_experiment
from traitvec_dagster.cli.terminal import restore_interrupts

# Neither the machine's speed nor a new random example may turn a run of the suite red. To look for
# new examples: `pytest --hypothesis-profile=default`.
settings.register_profile(
    "traitvec", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("traitvec")
# `make fuzz` looks for new examples, for minutes.
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=int(os.environ.get("TRAITVEC_FUZZ_EXAMPLES", "1000")),
    suppress_health_check=list(HealthCheck),
)

# Every client reads all certificates of the machine, for 20 ms or more; no server here needs one.
ssl.create_default_context = cache(ssl.create_default_context)

# A script that starts the tests in the background has Ctrl-C ignored.
restore_interrupts()

USER_VARIABLES = (
    "DAGSTER_HOME", "TRAITVEC_EXPERIMENTS", "TRAITVEC_EXECUTOR", "TRAITVEC_GPUS",
    "TRAITVEC_WEBHOOK_URL", "TRAITVEC_STORAGE", "TRAITVEC_GPU_NODES",
    "CUDA_VISIBLE_DEVICES", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS",
    "HF_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "JUDGE_API_KEY", "GENERATION_API_KEY",
    "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL",
)  # fmt: skip


@contextmanager
def clean_environment() -> Iterator[None]:
    """Remove the user's variables; afterwards restore the environment, whatever was set."""
    before = dict(os.environ)
    for name in USER_VARIABLES:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def own_environment() -> Iterator[None]:
    """An environment without the user's keys and folders, which no other test sees."""
    with clean_environment():
        yield


@pytest.fixture(scope="module")
def own_module_environment() -> Iterator[None]:
    """The same for all tests of a module."""
    with clean_environment():
        yield


MakeOnce = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Make a folder that all processes of the test run share; copy it, don't change it."""
    base = tmp_path_factory.getbasetemp()
    # With pytest-xdist, each process has its own folder in that of the run.
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder, is_whole = root / f"shared-{name}", root / f"shared-{name}.whole"
        with (root / f"shared-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_whole.exists():
                # A process that failed to fill it may have left a part.
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                with clean_environment():
                    fill(folder)
                is_whole.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def new_instance(make_once: MakeOnce) -> Path:
    """A Dagster instance without history: copying its tables is faster than creating them."""

    def fill(folder: Path) -> None:
        with SmallProject(folder) as project:
            project.instance.get_runs_count()
            project.instance.get_dynamic_partitions("traits/demo")

    return make_once("instance", fill) / ".dagster"


@pytest.fixture(scope="session")
def finished_folder(make_once: MakeOnce, new_instance: Path) -> Path:
    """A project with two traits that went through all stages; copy it, don't change it."""

    def fill(folder: Path) -> None:
        shutil.copytree(new_instance, folder / ".dagster")
        write_experiment(folder, "demo", ["refusal", "uncertainty"])
        with SmallProject(folder) as project:
            for trait in ("refusal", "uncertainty"):
                run = project.run(trait)
                assert run.is_success, run.problems

    return make_once("finished", fill)


@pytest.fixture
def one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant instead of every plot: drawing takes longer than all the rest of a small run.

    The plots of the finished project are real.
    """
    draw_nothing(monkeypatch)


@pytest.fixture
def finished(
    finished_folder: Path, tmp_path: Path, own_environment: None, one_picture: None
) -> Iterator[SmallProject]:
    """A copy of the finished project."""
    folder = tmp_path / "project"
    shutil.copytree(finished_folder, folder, dirs_exist_ok=True)
    with SmallProject(folder) as project:
        yield project


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
