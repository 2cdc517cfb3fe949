"""Writers with real SDKs, against servers on this machine."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.projects import write_experiment
from tests.providers.drafts import good_draft
from tests.providers.replies import Responder
from tests.providers.server import FakeProvider
from traitvec_core.remote import calls
from traitvec_core.storage.folders import ExperimentFolder

SENTENCE = "flatters the user and agrees with whatever they claim"
SECRET = "sk-test-SECRET-9f8e7d6c5b4a39281706"
Serve = Callable[..., FakeProvider]


@pytest.fixture
def serve(own_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a server in this process, and point both providers' addresses and keys to it."""
    # Storms in seconds: what the waits are is tested where they are computed.
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 0.1)
    with ExitStack() as stack:

        def start(responder: Responder = good_draft) -> FakeProvider:
            server = stack.enter_context(FakeProvider(responder))
            os.environ["OPENAI_BASE_URL"] = server.base_url_openai
            os.environ["ANTHROPIC_BASE_URL"] = server.base_url_anthropic
            os.environ["OPENAI_API_KEY"] = os.environ["ANTHROPIC_API_KEY"] = SECRET
            return server

        yield start


@pytest.fixture
def experiment(tmp_path: Path) -> ExperimentFolder:
    """An experiment without a trait."""
    write_experiment(tmp_path, "mine", [], {"judge_model": "gpt-6.1-terra"})
    return ExperimentFolder(tmp_path / "experiments", "mine")


def files(experiment: ExperimentFolder) -> list[str]:
    """Every file of an experiment but its settings and locks."""
    return sorted(
        str(path.relative_to(experiment.path))
        for path in experiment.path.rglob("*")
        if path.is_file() and ".locks" not in path.parts and path.name != "experiment.yaml"
    )
