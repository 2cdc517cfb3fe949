"""A report of made-up figures, of any size and with any text, without a model."""

import math

import pandas as pd

from traitvec_core.estimate import Estimate
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.report.page import Report, ReportSources, build_report
from traitvec_core.steering_evaluation.result import (
    Answer,
    Damage,
    Scores,
    SteeringEvaluation,
    SteeringOptions,
)
from traitvec_core.storage.manifests import (
    ActivationsManifest,
    JudgedResponsesManifest,
    Recommendation,
)
from traitvec_core.storage.provenance import Cost
from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.chance import (
    Chance,
    ChanceScore,
    RandomScore,
    RandomTest,
    SwapTest,
)
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.evidence import HeldOutProjections, VectorEvidence
from traitvec_core.validation.explanations import (
    Baseline,
    Explanations,
    LargestDimensions,
    ShareOfVector,
)
from traitvec_core.validation.forecast import Forecast
from traitvec_core.validation.manifests import VectorRow, VectorsManifest
from traitvec_core.validation.recommended_vector import RecommendedVector
from traitvec_core.validation.separation import Separation, SeparationScore, VectorCosine
from traitvec_core.validation.stability import ResampledCosine, Stability
from traitvec_core.validation.steering import SteeringTest

METHODS = ("mean_diff", "probe", "ica", "gradient")
N_QUESTIONS, N_PAIRS = 20, 5


def make_report(
    text: str = "An answer.",
    n_layers: int = 4,
    steering: SteeringEvaluation | None = None,
    checks: list[CheckResult] | None = None,
    extracted: VectorsManifest | None = None,
    steering_skipped: str | None = None,
    root: str = "experiments",
) -> tuple[str, Report]:
    """Build a report with `text` wherever a person or a model may have written."""
    judged = judged_responses(text)
    ids = judged["question_id"].tolist()
    pair = {"pos": f"Be so. {text}", "neg": f"Be otherwise. {text}"}
    definition = TraitDefinition.model_validate(
        {
            "description": text, "positive_label": text, "instruction": [pair],
            "questions": [f"{text} {number}?" for number in range(2)],
            "eval_prompt": f"{text} {{question}} {{answer}}",
        }
    )  # fmt: skip
    verdicts = checks or [CheckResult(name="contrast", verdict="warn", summary=text, advice=text)]
    vectors = extracted or manifest(n_layers, ids)
    return build_report(
        ReportSources(
            experiment="demo", trait="trait", definition=definition,
            settings=ExperimentSettings(model="m"), judged=judged,
            judging=judging_manifest({"trait": {text: 1}, "coherence": {}}),
            captured=activations_manifest(n_layers, ids),
            extracted=vectors, chosen=chosen_vector(vectors, steering), checks=verdicts,
            steering=steering, steering_skipped=steering_skipped, root=root,
        )
    )  # fmt: skip


def chosen_vector(
    extracted: VectorsManifest, steering: SteeringEvaluation | None = None
) -> RecommendedVector | None:
    """The recommended vector: of steering where it chose one, else of separation."""
    recommended = (steering.recommendation if steering else None) or extracted.recommended
    if recommended is None:
        return None
    return RecommendedVector(recommended, extracted.row(*recommended.place), extracted.evidence)


def judging_manifest(reasons: dict[str, dict[str, int]] | None = None) -> JudgedResponsesManifest:
    """The record of judging without a second judge."""
    return JudgedResponsesManifest(
        judge_model="m", judge={}, judge_mode="live", trait_status={}, coherence_status={},
        missing_reasons=reasons or {"trait": {}, "coherence": {}}, also_judged=[], asked_now=0,
        paid_now=Cost(), unfinished={}, experiment_spent_usd=0.0, compared=[],
    )  # fmt: skip


def activations_manifest(n_layers: int, ids: list[str]) -> ActivationsManifest:
    """The record of captured activations, the first half of them positive."""
    return ActivationsManifest(
        model="m", n_examples=len(ids), n_layers=n_layers, hidden_dim=8, threshold=50.0,
        extraction_date="2026-01-01", dtype="float32", position="response_mean",
        min_coherence=50.0, n_positive=len(ids) // 2, n_negative=len(ids) // 2,
        mean_norm_by_layer=[1.0 + layer for layer in range(n_layers)], question_ids=ids,
    )  # fmt: skip


def judged_responses(text: str = "An answer.") -> pd.DataFrame:
    """Every cell once for each pole, positives first."""
    return pd.DataFrame(
        {
            "question": f"{text} {question}?", "instruction": f"Be {pole}. {text}",
            "prompt": text, "response": f"{text} {question}-{pair}",
            "trait_score": score + pair, "coherence_score": 90.0,
            "question_id": f"trait_{question}_{pole}_{pair}_0", "judge_status": "ok",
            "judge_reason": "", "coherence_status": "ok", "finish_reason": "stop",
            "response_tokens": 5, "pole": pole,
        }
        for pole, score in (("pos", 90.0), ("neg", 5.0))
        for question in range(N_QUESTIONS)
        for pair in range(N_PAIRS)
    )  # fmt: skip


def empty_manifest() -> VectorsManifest:
    """The record of vectors where nothing could be held out."""
    return VectorsManifest(
        trait="trait", model="m", recommended=None,
        separation=Separation(scores=[], probe_accuracy=Estimate(), n_folds=0, n_held_out=0),
        evidence=None, chance=Chance(untested="one question only"),
        forecast=Forecast(is_hopeless=True, reason="nothing could be held out"),
        cosines=[], previous_cosines=[], vectors=[],
    )  # fmt: skip


def manifest(n_layers: int, ids: list[str]) -> VectorsManifest:
    """The record of four methods' vectors at every layer."""
    scores = [
        SeparationScore(
            method=method, layer=layer, accuracy=Estimate(value=0.95, low=0.9, high=1.0),
            auroc=Estimate(value=0.97, low=0.9, high=1.0),
            effect_size=Estimate(value=2.0 + layer / 10, low=1.5, high=2.5 + layer / 10),
            separation=Estimate(value=3.0), train_accuracy=1.0,
        )
        for method in (*METHODS, "random")
        for layer in range(n_layers)
    ]  # fmt: skip
    separation = Separation(
        scores=scores, probe_accuracy=Estimate(value=0.95, low=0.9, high=1.0), n_folds=5,
        n_held_out=len(ids), n_questions=N_QUESTIONS, n_pairs=N_PAIRS,
        winner=next(s for s in scores if (s.method, s.layer) == ("probe", 1)),
    )  # fmt: skip
    figure = Estimate(value=0.6, low=0.5, high=0.7)
    explanations = Explanations(
        method="probe", layer=1, probe_accuracy=figure,
        baselines=[
            Baseline(name=name, accuracy=figure, auroc=figure)
            for name in ("length", "refusal", "words", "embeddings")
        ],
        shares=[
            ShareOfVector(name=name, correlation=figure, share_of_separation=figure)
            for name in ("length", "instruction")
        ],
        largest=LargestDimensions(
            dimensions=[3, 1], times_median=9.0, share_of_activations=0.5, share_of_vector=0.1,
            without=scores[1],
        ),
    )  # fmt: skip
    chance = Chance(
        by_pair=_swaps("instruction pairs", N_PAIRS, 16),
        by_question=_swaps("questions", N_QUESTIONS, 128),
        random=RandomTest(
            p_value=0.01, best_effect_size=2.3, effect_size_high=1.1, n_draws=200,
            layers=[
                RandomScore(layer=layer, effect_size_median=0.5, effect_size_high=1.0)
                for layer in range(1, n_layers)
            ],
        ),
        scores=[ChanceScore(method="probe", layer=1, auroc=0.97, corrected_p_value=1 / 16)],
    )  # fmt: skip
    margins = [math.sin(n) + (1 if n < len(ids) / 2 else -1) for n in range(1, len(ids))]
    return VectorsManifest(
        trait="trait",
        model="m",
        recommended=Recommendation(method="probe", layer=1, why="it is best"),
        separation=separation,
        evidence=VectorEvidence(
            method="probe", layer=1,
            projections=HeldOutProjections(method="probe", layer=1, margins=[None, *margins]),
            explanations=explanations,
            stability=Stability(
                method="probe", layer=1,
                resampled=[
                    ResampledCosine(
                        of=of, cosine=Estimate(value=0.9, low=0.8, high=1.0), noise=0.6,
                        n_resamples=100,
                    )
                    for of in ("questions", "instruction pairs")
                ],
            ),
        ),
        chance=chance,
        forecast=Forecast(is_hopeless=False, reason="the activations do not rule it out"),
        cosines=[VectorCosine(method="probe", layer=1, other="ica", cosine=0.5)],
        previous_cosines=[],
        vectors=[
            VectorRow(
                trait="trait", method=score.method, layer=score.layer, model="m", vector_norm=2.0,
                train_accuracy=1.0, extraction_date="2026-01-01", raw_norm=1.0, relative_norm=0.5,
                separation=3.0, scale="separation", n_positive=5, n_negative=5, chance_norm=0.5,
            ).with_score(score)
            for score in scores
            if score.layer and score.method != "random"
        ],
    )  # fmt: skip


def _swaps(of: str, n_groups: int, n_labelings: int) -> SwapTest:
    return SwapTest(
        of=of, n_groups=n_groups, n_labelings=n_labelings, p_value=1 / n_labelings,
        is_exhaustive=n_labelings == 2 ** (n_groups - 1),
    )  # fmt: skip


def steering_evaluation(
    text: str = "An answer.", moved: tuple[float, float, float] | None = (40.0, 30.0, 50.0)
) -> SteeringEvaluation:
    """A dose-response over five coefficients, of which 2 is chosen; None chooses nothing."""

    def scores(condition: str, method: str | None, coefficient: float) -> Scores:
        trait = 40.0 + 20 * coefficient
        is_chosen = coefficient == 2 and method != "random"
        change = moved if is_chosen and moved else (0.0, -5.0, 5.0)
        return Scores(
            condition=condition, method=method, layer=1 if method else None,
            coefficient=coefficient, n=10, n_trait=10, n_coherence=10,
            trait=_estimate(trait, trait - 5, trait + 5),
            coherence=_estimate(80.0, 75.0, 85.0), trait_moved=_estimate(*change),
            coherence_moved=_estimate(-5.0, -8.0, -2.0), mean_tokens=20.0, truncated=1,
            examples=[Answer(question=text, response=f"{text} at {coefficient}",
                             trait_score=None, coherence_score=80.0)],
        )  # fmt: skip

    unsteered = scores("unsteered", None, 0)
    doses = [
        scores(f"dose{dose}", "probe" if dose else None, dose) if dose else unsteered
        for dose in (-2, -1, 0, 1, 2)
    ]
    chosen = Recommendation(
        method="probe",
        layer=1,
        coefficient=2,
        chosen_by="steering",
        why="it steers",
        added_norm=0.6,
    )
    return SteeringEvaluation(
        tested=chosen if moved else None, recommendation=chosen if moved else None,
        notes=[text], questions_from="eval_questions",
        search_questions=[text], held_out_questions=[text], options=SteeringOptions(),
        search=[unsteered, scores("trial", "probe", 2)], unsteered=unsteered,
        dose_response=doses if moved else [], prompted=scores("prompted", None, 0),
        random=[scores("random0", "random", 2)], test=_test(moved),
        side_effects=[], damage=_DAMAGE if moved else None, n_generated=10, tokens_in=1,
        tokens_out=1, judging_cost=Cost(), paid=Cost(), unfinished={},
    )  # fmt: skip


def _test(moved: tuple[float, float, float] | None) -> SteeringTest:
    if moved is None:
        return SteeringTest(untested="no dose raised the trait score", n_trials=16)
    return SteeringTest(
        effect=_estimate(*moved), random_mean=1.0, random_sd=4.0, random_best=9.0, p_value=0.001,
        n_random=16, n_trials=16, wrong_way=0.1, n_questions=10, is_coherent=True,
    ).at(0.05)  # fmt: skip


_DAMAGE = Damage(
    kl_per_token=0.8, perplexity_unsteered=20.0, perplexity_steered=31.0, n_tokens=150,
    looping_unsteered=0.0, looping_steered=0.1, distinct_2_unsteered=0.97, distinct_2_steered=None,
    refusal_cosine=0.2,
)  # fmt: skip


def _estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high)
