"""Judging: many calls to a server at once, and a judge in process on SmolLM2."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import Figure, figure, ratio
from benchmarks.smollm2 import DEFINITION, N_TEXTS, real_model, written
from benchmarks.timing import in_turn
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging import JudgementStore, load_judge
from traitvec_core.judging.judge import prompts_of, score_prompts
from traitvec_core.judging.providers.local import LocalJudge
from traitvec_core.models.language_model import LanguageModel, load_language_model

__all__ = ["behind_an_api", "in_process"]

_PROJECT = Path(__file__).parent.parent
REPEATS = 5
N_RESPONSES = 8
# Tokens of one bare forward pass, padding included; more are no faster on a CPU.
_TOKENS = 1_024


def behind_an_api() -> Iterator[Figure]:
    """Yield the time of 400 judgements of 100 ms, 50 at once, over the ideal of 8 × 100 ms.

    They go through OpenAI's SDK to a server in its own process, and are saved as they arrive.
    """
    with tempfile.TemporaryDirectory() as scratch:
        port_file, log = Path(scratch) / "port", Path(scratch) / "log"
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.providers.server", "--port-file", str(port_file),
             "--log", str(log), "--latency", "0.1", "--forgets-calls"],
            cwd=_PROJECT,
        )  # fmt: skip
        try:
            while not port_file.exists():
                time.sleep(0.05)
            os.environ["OPENAI_API_KEY"] = "sk-of-the-benchmark"
            os.environ["OPENAI_BASE_URL"] = f"http://127.0.0.1:{port_file.read_text().strip()}/v1"
            settings = ExperimentSettings(
                model="embedded", judge_model="gpt-5-mini", max_concurrent_judges=50,
                judge_preflight=False,
            )  # fmt: skip
            store = JudgementStore(Path(scratch) / "judgements.sqlite")
            judge = load_judge(settings, store, load_model=load_language_model)
            times = []
            for repeat in range(REPEATS + 1):
                prompts = {
                    f"{repeat}.{i} Rate this. " + "Water runs to the sea. " * 40: ("trait", str(i))
                    for i in range(400)
                }
                started = time.perf_counter()
                judgements, _, _ = score_prompts(judge, prompts, store=store)
                times.append(time.perf_counter() - started)
                assert all(judgement.status == "ok" for judgement in judgements.values())
            store.close()
        finally:
            server.terminate()
            server.wait()
    # The first round imports the SDK.
    measured = times[1:]
    name = "400 judgements of 0.1 s, 50 at once / ideal 0.8 s"
    yield ratio(name, measured, [0.8] * len(measured), at_most=1.3)


def in_process() -> Iterator[Figure]:
    """Yield the CPU time of judging on SmolLM2, over that of reading every prompt once.

    Its tokenizer writes numbers digit by digit, so a prompt is continued with every beginning of a
    number. Prompts share their rubric's beginning, which is read once.
    """
    model = real_model()
    questions = DEFINITION.questions
    judge = LocalJudge(model, weights="benchmark")
    prompts = [
        prompt
        for number, text in enumerate(written(N_TEXTS)[:N_RESPONSES])
        for _, prompt in prompts_of(
            judge, DEFINITION, questions[number % len(questions)], text.response, {}
        ).items()
    ]
    seconds = in_turn(2, lambda: _judge(judge, prompts), lambda: _read(model, prompts))
    n_prompts = len(set(prompts))
    name = "SmolLM2: judging / one forward pass over each prompt"
    yield ratio(name, *seconds, at_most=1.3, note="scores are read from the next token's logits")
    yield figure("SmolLM2: judging", n_prompts / min(seconds[0]), "judgements/CPU-second")


def _judge(judge: LocalJudge, prompts: list[str]) -> None:
    judge.score(sorted(set(prompts)), lambda batch: None)


def _read(model: LanguageModel, prompts: list[str]) -> None:
    """Read all prompts in batches of similar length, whole."""
    ids = [model.encode_prompt(model.prompt(prompt)) for prompt in set(prompts)]
    ids.sort(key=len)
    pad = model.pad_token_id
    network: Any = model.model
    while ids:
        count = 1
        while count < len(ids) and (count + 1) * len(ids[count]) <= _TOKENS:
            count += 1
        batch, ids = ids[:count], ids[count:]
        width = len(batch[-1])
        with torch.inference_mode():
            network(
                input_ids=torch.tensor([[pad] * (width - len(row)) + row for row in batch]),
                attention_mask=torch.tensor(
                    [[0] * (width - len(row)) + [1] * len(row) for row in batch]
                ),
                logits_to_keep=1,
            )
