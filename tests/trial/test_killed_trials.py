"""`kill -9` in the middle of `traitvec try --revise`: the same command goes on, nothing is twice.

Everything that a trial pays for is asked over the wire here: responses of a server of completions,
judgements and new texts of a provider.
"""

import json
import re
import signal
import subprocess
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.generation.completions import CompletionsServer, serving
from tests.projects import demo_definition, start_traitvec, write_experiment
from tests.providers.drafts import answer
from tests.providers.models import gpt_4_1_mini
from tests.providers.replies import Call, Reply
from tests.writing.conftest import Serve
from traitvec_core import load_language_model

pytestmark = pytest.mark.services

TRAIT = "refusal"
AT_ONCE = 4
N_BEFORE = 8
Step = Literal["generating", "judging", "rewording"]
STEPS: tuple[Step, ...] = ("generating", "judging", "rewording")


class World:
    """The servers of a trial; one of them stops answering in the middle of a step, once."""

    def __init__(self, killed_at: Step) -> None:
        self.killed_at = killed_at
        self.hangs = True
        self.hung = threading.Semaphore(0)
        self.judged: Counter[str] = Counter()
        self.reworded: Counter[str] = Counter()
        self.n_answered = 0
        self.lock = threading.Lock()
        self.completions = CompletionsServer(
            load_language_model("embedded"), counts=True, spoiler=self._complete
        )

    def hang(self, step: Step, n_before: int) -> bool:
        """Whether a request of this step is the one at which the process is killed."""
        is_hanging = (
            self.hangs and self.killed_at == step and n_before >= N_BEFORE * (step != "rewording")
        )
        if is_hanging:
            self.hung.release()
        return is_hanging

    def provide(self, call: Call) -> Reply:
        if "<weak>" in call.prompt:
            reply = answer(call, {"pairs": self._new_pairs(call.prompt)})
            is_hanging = self.hang("rewording", 0)
            self.reworded[call.prompt] += 1
        else:
            reply = gpt_4_1_mini(call, score_of=_score)
            is_hanging = self.hang("judging", sum(self.judged.values()))
            self.judged[call.prompt] += not is_hanging
        return Reply(reply.status, reply.body, action="hang", hang_s=600) if is_hanging else reply

    def _new_pairs(self, prompt: str) -> list[dict[str, str]]:
        """As good as those before, in words that were not there."""
        match = re.search(r"Write (\d+) new pairs", prompt)
        assert match is not None
        pairs = demo_definition(TRAIT)["instruction"]
        day = len(self.reworded)
        return [
            {pole: f"{pairs[number][pole]} Do so on day {day}." for pole in ("pos", "neg")}
            for number in range(int(match[1]))
        ]

    def _complete(self, handler: BaseHTTPRequestHandler, reply: dict[str, Any]) -> None:
        with self.lock:
            is_hanging = self.hang("generating", self.n_answered)
            self.n_answered += not is_hanging
        if is_hanging:
            # Until the process behind the connection is gone.
            handler.rfile.read(1)
            return
        handler.reply(200, reply)  # type: ignore[attr-defined]


def _score(prompt: str) -> int:
    """High where the judged answer refuses; the embedded model's refusals are easy to tell."""
    judged = prompt.rpartition("[ANSWER START]")[2].partition("[ANSWER END]")[0] or prompt
    return 90 if any(word in judged for word in ("cannot", "can't", "decline", "unable")) else 5


def _try(experiments: Path) -> subprocess.Popen[str]:
    arguments = ["try", "--experiment", "mine", "--trait", TRAIT, "--questions", "3", "--revise"]
    arguments += ["--yes", "--json"]
    return start_traitvec(experiments, *arguments, "--writer-model", "gpt-6.1-terra")


@pytest.mark.parametrize("killed_at", STEPS)
def test_a_killed_trial_goes_on(serve: Serve, tmp_path: Path, killed_at: Step) -> None:
    world = World(killed_at)
    provider = serve(world.provide)
    with serving(world.completions):
        write_experiment(
            tmp_path, "mine", [TRAIT],
            {
                "engine": "server", "engine_url": world.completions.url, "batch_size": AT_ONCE,
                "judge_model": "gpt-4.1-mini", "judge_preflight": False,
                "max_concurrent_judges": AT_ONCE, "n_examples": 24,
                "sampling": {"max_new_tokens": 8},
                # Never reached, so that all pairs are reworded.
                "thresholds": {"contrast": 99},
            },
        )  # fmt: skip
        definition = demo_definition(TRAIT)
        del definition["instruction"][4:]
        path = tmp_path / f"experiments/mine/{TRAIT}/trait_definition.json"
        path.write_text(json.dumps(definition))
        first = _try(tmp_path / "experiments")
        try:
            assert world.hung.acquire(timeout=300)
        finally:
            first.send_signal(signal.SIGKILL)
            first.communicate()
        world.hangs = False
        assert json.loads(path.read_text()) == definition

        second = _try(tmp_path / "experiments")
        out, err = second.communicate(timeout=300)
        assert second.returncode == 0, err
    printed = json.loads(out)
    assert printed["revisions"]
    assert printed["ending"] in {"did not move", "rounds"}
    # Again is asked only what was in flight when the process was killed.
    requests = Counter(json.dumps(r, sort_keys=True) for r in world.completions.requests)
    answers = provider.log.answers
    twice = {
        "generating": sum(n - 1 for n in requests.values()),
        "judging": sum(n - 1 for prompt, n in answers.items() if "<weak>" not in prompt),
        "rewording": sum(n - 1 for n in world.reworded.values()),
    }
    assert {step for step, n in twice.items() if n} <= {killed_at}
    assert twice[killed_at] <= AT_ONCE
    # What was answered before is there: the second command says so before it starts.
    there = re.search(r"\((\d+) are there already\)", err)
    assert there is not None
    assert int(there[1]) >= (N_BEFORE - AT_ONCE if killed_at == "generating" else 24)
    assert world.reworded.total() == len(world.reworded) + (killed_at == "rewording")
