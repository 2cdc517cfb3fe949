"""Judges with real SDKs, against servers on this machine."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.providers.server import FakeProvider
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.api import ApiJudge
from traitvec_core.judging.batch import Batches
from traitvec_core.judging.judge import score_prompts
from traitvec_core.judging.judgement_store import JudgementStore, Origin
from traitvec_core.judging.load import load_judge
from traitvec_core.judging.reading import Judgement
from traitvec_core.remote import calls
from traitvec_core.storage.provenance import Cost

OPENAI_KEY = "sk-proj-0123456789abcdefSECRET"
ANTHROPIC_KEY = "sk-ant-api03-0123456789abcdefSECRET"
KEYS = {"OPENAI_API_KEY": OPENAI_KEY, "ANTHROPIC_API_KEY": ANTHROPIC_KEY}


@pytest.fixture(autouse=True)
def _keys_and_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "JUDGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    # Whole storms in seconds: what the waits are is tested where they are computed.
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 0.1)


@dataclass
class Asker:
    """Loads a judge against a server, as a run does, and scores prompts.

    Attributes:
        server: The server.
        store: Its judgements; a new `Asker` on the same one is a later run.
        name: The judge.
        said: What the judge had to say.
        poll_s: Pause between two looks at a batch.
    """

    server: FakeProvider
    store: JudgementStore
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    experiment: str = "demo"
    said: list[str] = field(default_factory=list)
    poll_s: float = 0.01

    def judge(self) -> ApiJudge:
        is_anthropic = self.name.startswith("claude")
        os.environ["OPENAI_BASE_URL"] = self.server.base_url_openai
        os.environ["ANTHROPIC_BASE_URL"] = self.server.base_url_anthropic
        settings = ExperimentSettings(
            model="x",
            judge_model=self.name,
            **{
                "judge_provider": "anthropic" if is_anthropic else "openai",
                # No machine is so busy that a call would be repeated.
                "judge_timeout_s": 300.0,
                # Tests of it ask for it; in others, calls are counted.
                "judge_preflight": False,
                **self.settings,
            },
        )
        judge = load_judge(
            settings,
            self.store,
            load_model=_no_model,
            experiment=self.experiment,
            say=self.said.append,
        )
        assert isinstance(judge, ApiJudge)
        if judge.batches is not None:
            judge.batches = Batches(self.said.append, poll_s=self.poll_s)
        return judge

    def ask(
        self, prompts: Sequence[str], judge: ApiJudge | None = None
    ) -> tuple[dict[str, Judgement], Cost, int]:
        """What was found, what was paid, how many were asked."""
        return score_prompts(
            judge or self.judge(),
            {prompt: ("trait", str(i)) for i, prompt in enumerate(prompts)},
            store=self.store,
            origin=Origin(self.experiment, "trait"),
        )

    def scores(self, prompts: Sequence[str]) -> dict[str, float | None]:
        return {prompt: j.score for prompt, j in self.ask(prompts)[0].items()}


def _no_model(name: str) -> Any:
    raise AssertionError(f"{name} was to be loaded")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JudgementStore]:
    with JudgementStore(tmp_path / "judgements.sqlite") as opened:
        yield opened


@pytest.fixture
def asker(store: JudgementStore, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Asker]:
    """Makes an `Asker` of a server and a model's name; settings of the experiment by name."""
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        # Set by the asker, taken back here.
        monkeypatch.setenv(name, "")

    def make(server: FakeProvider, name: str, **settings: Any) -> Asker:
        return Asker(server, store, name, settings)

    return make


def rated(n: int, start: int = 0) -> list[str]:
    """Distinct prompts."""
    return [f"Rate answer {i} from 0 to 100." for i in range(start, start + n)]
