"""For tests of judges behind an API: a local server, and responses to be judged."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeOnce
from tests.projects import FEW_VECTORS, SmallProject, write_experiment
from tests.providers.models import by_model, stable_score
from tests.providers.replies import Responder
from tests.providers.server import FakeProvider

SECRET = "sk-test-SECRET-9f8e7d6c5b4a39281706"
# The preflight would add two calls to those that tests count.
SETTINGS: dict[str, Any] = {"judge_model": "gpt-5-mini", "judge_preflight": False, **FEW_VECTORS}
Serve = Callable[..., FakeProvider]


@pytest.fixture(autouse=True)
def nothing_drawn(one_picture: None) -> None:
    """No test here looks at a plot, and most runs would draw eleven of them."""


@pytest.fixture
def serve(own_environment: None) -> Iterator[Serve]:
    """Start a server in this process, and point both providers' addresses and keys to it."""
    with ExitStack() as stack:

        def start(responder: Responder = by_model, **options: Any) -> FakeProvider:
            server = stack.enter_context(FakeProvider(responder, **options))
            os.environ["OPENAI_BASE_URL"] = server.base_url_openai
            os.environ["ANTHROPIC_BASE_URL"] = server.base_url_anthropic
            os.environ["OPENAI_API_KEY"] = os.environ["ANTHROPIC_API_KEY"] = SECRET
            return server

        yield start


@pytest.fixture(scope="session")
def generated_folder(make_once: MakeOnce, new_instance: Path) -> Path:
    """A project with responses to be judged; copy it, don't change it."""

    def fill(folder: Path) -> None:
        shutil.copytree(new_instance, folder / ".dagster")
        write_experiment(folder, "demo", ["refusal", "uncertainty"], SETTINGS)
        with SmallProject(folder) as project:
            run = project.run("refusal", "definition or responses")
            assert run.is_success, run.problems

    return make_once("generated", fill)


@pytest.fixture
def generated(
    generated_folder: Path, tmp_path: Path, own_environment: None
) -> Iterator[SmallProject]:
    """A copy of that project."""
    folder = tmp_path / "project"
    shutil.copytree(generated_folder, folder, dirs_exist_ok=True)
    with SmallProject(folder) as project:
        yield project


def scores_that_separate(project: SmallProject, trait: str = "refusal") -> Callable[[str], int]:
    """A judge's scores: positive responses have at least 70, negative ones less than 30."""
    frame = project.trait(trait).read_responses("responses")
    positives = set(frame.loc[frame["pole"] == "pos", "response"])

    def score_of(prompt: str) -> int:
        is_positive = any(response in prompt for response in positives)
        return 70 * is_positive + stable_score(prompt) % 30

    return score_of
