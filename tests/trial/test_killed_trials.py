"""`kill -9` in the middle of `traitvec try --revise`: the same command goes on, nothing is twice.

Everything that a trial pays for is asked over the wire here: responses of a server of completions,
judgements and new texts of a provider.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.generation.completions import CompletionsServer, serving
from tests.projects import REPOSITORY, demo_definition, write_experiment
from tests.providers.drafts import answer
from tests.providers.models import gpt_4_1_mini
from tests.providers.replies import Call, Reply
from tests.trial.traits import IDLE_PAIR
from tests.writing.conftest import Serve
from traitvec_core import load_language_model

TRAIT = "refusal"
# A tenth pair of the demo's, in the place of the idle one.
NEW_PAIR = demo_definition(TRAIT)["instruction"][3]
AT_ONCE = 4
Step = Literal["generating", "judging", "rewording"]
STEPS: tuple[Step, ...] = ("generating", "judging", "rewording")


class World:
    """The servers of a trial; one of them stops answering in the middle of a step, once."""

    def __init__(self, killed_at: Step) -> None:
        self.killed_at = killed_at
        self.hangs = True
        self.hung = threading.Semaphore(0)
        self.judged: Counter[str] = Counter()
        self.reworded = 0
        self.generated: Counter[tuple[str, int]] = Counter()
        self.n_answered = 0
        self.lock = threading.Lock()
        self.completions = CompletionsServer(
            load_language_model("embedded"), counts=True, spoiler=self._complete
        )

    def hang(self, step: Step, n_before: int) -> bool:
        """Whether a request of this step is the one at which the process is killed."""
        is_hanging = (
            self.hangs and self.killed_at == step and n_before >= (step != "rewording") * 12
        )
        if is_hanging:
            self.hung.release()
        return is_hanging

    def provide(self, call: Call) -> Reply:
        if "<weak>" in call.prompt:
            reply = answer(call, {"pairs": [NEW_PAIR]})
            is_hanging = self.hang("rewording", 0)
            self.reworded += 1
        else:
            reply = gpt_4_1_mini(call, score_of=_score)
            is_hanging = self.hang("judging", sum(self.judged.values()))
            self.judged[call.prompt] += not is_hanging
        return Reply(reply.status, reply.body, action="hang", hang_s=600) if is_hanging else reply

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
    arguments = ["try", "--experiment", "mine", "--trait", TRAIT, "--revise", "--yes", "--json"]
    return subprocess.Popen(
        [
            sys.executable, "-W", "ignore", "-c",
            "from traitvec_dagster.cli.main import main; main()",
            *arguments, "--writer-model", "gpt-6.1-terra", "--experiments-dir", str(experiments),
        ],
        cwd=experiments, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


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
                "max_concurrent_judges": AT_ONCE, "n_examples": 100, "thresholds": {},
            },
        )  # fmt: skip
        definition = demo_definition(TRAIT)
        definition["instruction"][3] = dict(IDLE_PAIR)
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
    print(
        killed_at,
        printed["ending"],
        len(world.completions.requests),
        sum(world.judged.values()),
        len(world.judged),
        world.reworded,
    )
    print(
        Counter(Counter(json.dumps(r, sort_keys=True) for r in world.completions.requests).values())
    )
    print(Counter(provider.log.answers.values()))
    print(err)
