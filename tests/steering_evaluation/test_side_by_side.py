"""Conditions side by side are conditions one at a time; a kill in their middle loses nothing."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.steering_evaluation.tiny import QUESTIONS, TINY, CountingJudge, evaluate, tiny
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts
from traitvec_core.judging import JudgementStore
from traitvec_core.models.interventions import Ablation, Addition, Cap
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.models.steering import steer
from traitvec_core.steering_evaluation.trials import (
    Condition,
    Round,
    TrialLog,
    Trials,
    TrialSetup,
)
from traitvec_core.storage.journal import Journal

pytestmark = pytest.mark.slow

ASKED = [*QUESTIONS, "Why is the sky blue at noon?"]
DRAWN = Sampling(max_new_tokens=20, seed=3)


def rounds_of(model: LanguageModel) -> list[Round]:
    a, b = (
        3 * torch.randn(model.hidden_dim, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 2)
    )
    top = model.n_layers - 1
    first = [
        Condition("unsteered"),
        Condition("added", (Addition(2, a, 0.5),)),
        Condition("against", (Addition(top, b, -1.0, positions="response"),)),
    ]
    second = [
        Condition("two", (Addition(2, a, 0.5), Cap(top, b, high=0.0))),
        Condition("ablated", tuple(Ablation(layer, a) for layer in range(model.n_layers))),
        Condition("prompted", instructions=("Sing.", "Dance.")),
    ]
    return [Round(first, range(5), 7), Round(second, range(3, 8), 5, {"other": TINY})]


def one_at_a_time(model: LanguageModel, sampling: Sampling) -> dict[str, str]:
    """Each condition in calls of its own, row by row."""
    texts = {}
    for asked in rounds_of(model):
        for condition in asked.conditions:
            for k in range(asked.n):
                number, sample = asked.numbers[k % len(asked.numbers)], k // len(asked.numbers)
                how = condition.instructions
                instruction = how[(number + sample) % len(how)] if how else None
                prompt = model.prompt(ASKED[number], instruction)
                stream = f"{number}_{sample}"
                with steer(model, *condition.interventions):
                    one = generate_texts(model, [stream], [prompt], sampling)
                texts[f"{condition.name}|{stream}"] = one[stream]
    return texts


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("name", ["tiny", "embedded"])
def test_every_response_is_that_of_one_condition_at_a_time(name: str, temperature: float) -> None:
    model = tiny() if name == "tiny" else load_language_model("embedded")
    sampling = DRAWN.model_copy(update={"temperature": temperature})
    trials = Trials(TrialSetup(model, CountingJudge(), TINY, sampling, batch_size=9), ASKED)
    tables = trials.run(*rounds_of(model))
    table = pd.concat(trials.tables)
    responses = dict(zip(table["question_id"], table["response"], strict=True))
    assert responses == one_at_a_time(model, sampling)
    assert list(tables) == ["unsteered", "added", "against", "two", "ablated", "prompted"]
    # Each round is judged by its rubrics.
    assert ["other_score" in each for each in trials.tables] == [False, True]


def test_conditions_share_their_decode_steps() -> None:
    model = tiny()
    n_passes = 0

    def count(*_: object) -> None:
        nonlocal n_passes
        n_passes += 1

    handle = model.model.register_forward_pre_hook(count)
    try:
        one_by_one = Trials(TrialSetup(model, CountingJudge(), TINY, DRAWN), ASKED)
        asked = rounds_of(model)[0]
        for condition in asked.conditions:
            one_by_one.run(Round([condition], asked.numbers, asked.n))
        before, n_passes = n_passes, 0
        Trials(TrialSetup(model, CountingJudge(), TINY, DRAWN), ASKED).run(asked)
    finally:
        handle.remove()
    assert n_passes <= 0.5 * before


# Journals a whole evaluation, and is killed after a number of rows; then again, for each number.
# The processes begin as copies of one that has imported everything.
_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.steering_evaluation.tiny import evaluate
from traitvec_core.judging import JudgementStore
from traitvec_core.steering_evaluation.trials import TrialLog
from traitvec_core.storage.journal import Journal

folder = Path(sys.argv[1])

def run_until(limit):
    journal, n = Journal(folder, "rows.jsonl"), 0

    def append(rows):
        nonlocal n
        journal.append(rows)
        n += len(rows)
        if n > limit:
            os.kill(os.getpid(), signal.SIGKILL)

    with JudgementStore(folder / "judgements.sqlite") as store:
        evaluate(store=store, batch_size=5, log=TrialLog(journal.rows(), append))

for limit in sys.argv[2:]:
    process = os.fork()
    if not process:
        run_until(int(limit))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL
"""


def test_a_run_that_is_killed_in_the_middle_of_a_round_goes_on(tmp_path: Path) -> None:
    whole = evaluate(batch_size=5)
    # In the first round of the search (16 rows), then in the held-out one, where most rows are.
    limits = [str(limit) for limit in (6, whole.n_generated // 2)]
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path), *limits], check=True, timeout=600)
    journal = Journal(tmp_path, "rows.jsonl")
    before = journal.rows()
    assert len({row["id"] for row in before}) == len(before) < whole.n_generated
    new: list[str] = []
    with JudgementStore(tmp_path / "judgements.sqlite") as store:
        again = evaluate(
            store=store, batch_size=5,
            log=TrialLog(before, lambda rows: new.extend(row["id"] for row in rows)),
        )  # fmt: skip
    assert len(before) + len(set(new)) == len(before) + len(new) == whole.n_generated
    assert again.model_dump(exclude={"paid"}) == whole.model_dump(exclude={"paid"})
    pd.testing.assert_frame_equal(again.responses, whole.responses)
