"""A steering evaluation of seconds: a tiny random model, and a judge that counts letters."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch

from tests.models.architectures import make_model
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import Sampling
from traitvec_core.judging import JudgementStore
from traitvec_core.judging.reading import Judgement
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.steering_evaluation.evaluate import (
    SteeringPlan,
    StepProgress,
    evaluate_steering,
)
from traitvec_core.steering_evaluation.result import SteeringEvaluation
from traitvec_core.steering_evaluation.result import SteeringOptions as Options
from traitvec_core.steering_evaluation.trials import TrialLog, TrialSetup
from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.separation import Separation, SeparationScore
from traitvec_core.vectors.extract import TraitVector


@cache
def tiny() -> LanguageModel:
    return make_model()


def fingerprint(model: LanguageModel) -> torch.Tensor:
    """Activations of a fixed text: any steering changes them."""
    return capture_means(model, [("A prompt.", " A response.")])


@cache
def unsteered_fingerprint() -> torch.Tensor:
    """`fingerprint` of the tiny model before anything steers it."""
    return fingerprint(tiny())


class CountingJudge:
    """Scores an answer by its letters, and counts prompts; `is_missing` makes scores missing."""

    name = "counting"
    identity = '{"model": "counting"}'

    def __init__(self, is_missing: Callable[[str], bool] = lambda prompt: False) -> None:
        self.is_missing = is_missing
        self.prompts: list[str] = []

    def score(
        self,
        prompts: Sequence[str],
        on_batch: Callable[[Mapping[str, Judgement]], None],
        is_known: Callable[[str], bool],
        repeat: int = 0,
    ) -> None:
        # The judge may be the model that is steered, which must never be steered while it judges.
        assert torch.equal(fingerprint(tiny()), unsteered_fingerprint())
        new = [prompt for prompt in prompts if not is_known(prompt)]
        self.prompts += new
        if new:
            on_batch({prompt: self._one(prompt) for prompt in new})

    def _one(self, prompt: str) -> Judgement:
        if self.is_missing(prompt):
            return Judgement(None, "error", "told to", is_final=False)
        # Raw bytes of an untrained model make up most of the answer.
        vowels = sum(prompt.count(letter) for letter in "aeiouAEIOU\u0120 ")
        return Judgement(100 * min(1.0, vowels / max(1, len(prompt))), "ok")


QUESTIONS = [f"What is number {i}?" for i in range(7)]
TINY = TraitDefinition.model_validate(
    {
        "instruction": [{"pos": "Sing.", "neg": "Talk."}, {"pos": "Dance.", "neg": "Walk."}],
        "questions": ["Is it 1?", "Is it 2?", "Is it 3?"],
        "eval_prompt": "Trait? {question} {answer}",
        "eval_questions": QUESTIONS,
    }
)
SHORT = Sampling(max_new_tokens=5, seed=3)
FEW = Options(n_search=4, n_held_out=8, n_random=2, min_coherence=0)


def vector_of(layer: int, method: Any = "mean_diff", length: float = 6.0) -> TraitVector:
    generator = torch.Generator().manual_seed(layer + 7 * len(method))
    drawn = torch.randn(tiny().hidden_dim, generator=generator)
    return TraitVector(
        method=method, layer=layer, vector=drawn * length / drawn.norm(), vector_norm=length,
        raw_norm=1.0, relative_norm=length / 10, separation=6.0, train_accuracy=1.0,
    )  # fmt: skip


def separation_of(vectors: Sequence[TraitVector]) -> Separation:
    scores = [
        SeparationScore(
            method=v.method,
            layer=v.layer,
            accuracy=Estimate(value=1),
            auroc=Estimate(value=1),
            effect_size=Estimate(value=1 + v.layer / 10),
        )
        for v in vectors
    ]
    return Separation(scores=scores, probe_accuracy=Estimate(value=1.0), n_folds=5, n_held_out=10)


VECTORS = [vector_of(layer, method) for method in ("mean_diff", "probe") for layer in (1, 2, 3)]


def evaluate(
    judge: CountingJudge | None = None,
    definition: TraitDefinition = TINY,
    vectors: Sequence[TraitVector] = VECTORS,
    *,
    sampling: Sampling = SHORT,
    log: TrialLog = TrialLog(),
    on_progress: StepProgress = lambda done, total, note, left_s: None,
    store: JudgementStore | None = None,
    batch_size: int | None = None,
    **plan: Any,
) -> SteeringEvaluation:
    """Evaluate on the tiny model; `plan` are fields of `SteeringPlan`."""
    setup = TrialSetup(
        tiny(), judge or CountingJudge(), definition, sampling, store or JudgementStore(),
        batch_size=batch_size,
    )  # fmt: skip
    whole = SteeringPlan(vectors, separation_of(vectors), **{"options": FEW, **plan})
    return evaluate_steering(setup, whole, log=log, on_progress=on_progress)


@cache
def usual() -> SteeringEvaluation:
    return evaluate()
