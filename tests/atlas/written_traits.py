"""Finished traits written straight to disk: planted directions, no model, milliseconds each."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from traitvec_core.estimate import Estimate
from traitvec_core.experiment import VectorMethod
from traitvec_core.settings.response_filter import ResponseFilter
from traitvec_core.stage_names import Stage
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.formats import dump_tensor
from traitvec_core.storage.manifests import ActivationsManifest, Recommendation, VectorVerdict
from traitvec_core.storage.provenance import Cost, Provenance
from traitvec_core.validation.chance import Chance, RandomScore, RandomTest
from traitvec_core.validation.elicitation import Elicitation, summarise_responses
from traitvec_core.validation.evidence import HeldOutProjections, VectorEvidence
from traitvec_core.validation.forecast import Forecast
from traitvec_core.validation.manifests import VectorRow, VectorsManifest
from traitvec_core.validation.separation import Separation, SeparationScore
from traitvec_core.validation.stability import ResampledCosine, Stability

DEFINITION = {
    "instruction": [{"pos": "Be so.", "neg": "Be otherwise."}],
    "questions": ["What is rain?", "What is snow?"],
    "eval_prompt": "How much of it? {question} {answer}",
}
_MADE_FROM: dict[Stage, tuple[Stage, ...]] = {
    "vectors": ("activations",),
    "steering_evaluation": ("vectors",),
    "validation_report": ("vectors", "steering_evaluation"),
}
METHODS: tuple[VectorMethod, ...] = ("mean_diff", "probe")


def write_settings(root: Path, experiment: str, **settings: Any) -> ExperimentFolder:
    """An experiment without traits."""
    folder = ExperimentFolder(root, experiment)
    folder.path.mkdir(parents=True)
    whole = {"model": "some/model", "judge_model": "embedded", **settings}
    folder.settings_path.write_text(yaml.safe_dump(whole))
    return folder


def write_trait(
    experiment: ExperimentFolder,
    name: str,
    direction: torch.Tensor,
    *,
    n_layers: int = 5,
    n_per_pole: int = 20,
    strength: float = 3.0,
    best_layer: int = 2,
    contrast: float | None = 60.0,
    model: str = "some/model",
    usd: float | None = 0.01,
    seed: int = 0,
    methods: tuple[VectorMethod, ...] = METHODS,
    verdict: VectorVerdict | None = None,
    reasons: Sequence[str] = (),
) -> TraitFolder:
    """A trait whose poles lie along `direction` [hidden_dim] in noise, strongest at one layer."""
    folder = experiment.trait(name)
    folder.path.mkdir(exist_ok=True)
    folder.definition_path.write_text(json.dumps(DEFINITION))
    rng = torch.Generator().manual_seed(seed)
    unit = direction / direction.norm()
    activations = torch.randn(2 * n_per_pole, n_layers, len(unit), generator=rng)
    sign = torch.cat([torch.ones(n_per_pole), -torch.ones(n_per_pole)])
    layers = range(1, n_layers)
    for layer in layers:
        gap = strength / (1 + abs(layer - best_layer))
        activations[:, layer] += sign[:, None] * unit * gap / 2
    ids = [f"{name}_{i % 10}_{'pos' if s > 0 else 'neg'}_{i % 2}_{i // 10}"
           for s, n in ((1, n_per_pole), (-1, n_per_pole)) for i in range(n)]  # fmt: skip
    _commit(folder, "responses", {}, {})
    _commit(folder, "judged_responses", {}, {})
    captured = ActivationsManifest(
        model=model, n_examples=len(ids), n_layers=n_layers, hidden_dim=len(unit), threshold=50.0,
        extraction_date="", dtype="float32", position="response_mean", min_coherence=50.0,
        n_positive=n_per_pole, n_negative=n_per_pole, mean_norm_by_layer=[1.0] * n_layers,
        question_ids=ids,
    )  # fmt: skip
    tensors = {"activations/all_layers.pt": dump_tensor(activations)}
    _commit(folder, "activations", tensors, captured.model_dump())
    files, rows, scores = {}, [], []
    for layer in range(n_layers):
        size = strength / (1 + abs(layer - best_layer))
        means = activations[:n_per_pole, layer].mean(0) - activations[n_per_pole:, layer].mean(0)
        for number, method in enumerate(methods):
            scores.append(_score(method, layer, size - 0.1 * number))
            if layer:
                files[f"vectors/{method}_layer{layer}.pt"] = dump_tensor(means)
                rows.append(
                    VectorRow(
                        trait=name, method=method, layer=layer, model=model,
                        vector_norm=float(means.norm()), train_accuracy=1.0, extraction_date="",
                        raw_norm=1.0, relative_norm=0.5, separation=size, scale="separation",
                        n_positive=n_per_pole, n_negative=n_per_pole,
                    )
                )  # fmt: skip
        scores.append(_score("random", layer, 0.3))
    best = Recommendation(method=methods[0], layer=best_layer, why="planted")
    extracted = VectorsManifest(
        trait=name,
        model=model,
        recommended=best,
        separation=Separation(
            scores=scores, probe_accuracy=Estimate(value=1.0), n_folds=5, n_held_out=40
        ),
        evidence=VectorEvidence(
            method=methods[0],
            layer=best_layer,
            projections=HeldOutProjections(method=methods[0], layer=best_layer, margins=[]),
            explanations=None,
            stability=Stability(
                method=methods[0],
                layer=best_layer,
                resampled=[
                    ResampledCosine(
                        of="questions", cosine=Estimate(value=0.97), noise=0.5, n_resamples=9
                    )
                ],
            ),
        ),
        chance=Chance(
            random=RandomTest(
                p_value=0.005,
                best_effect_size=strength,
                effect_size_high=0.8,
                n_draws=200,
                layers=[
                    RandomScore(layer=layer, effect_size_median=0.3, effect_size_high=0.8)
                    for layer in layers
                ],
            )
        ),
        forecast=Forecast(is_hopeless=False, reason="planted"),
        cosines=[],
        previous_cosines=[],
        vectors=rows,
    )
    _commit(folder, "vectors", files, extracted.model_dump(), usd)
    _commit(folder, "steering_evaluation", {}, {"is_evaluated": False})
    judged = best.model_copy(update={"verdict": verdict, "reasons": list(reasons)}).model_dump()
    _commit(
        folder,
        "validation_report",
        {
            "validation/report.html": b"<p>report</p>",
            "validation/recommended.json": json.dumps(judged).encode(),
        },
        {
            "answer": {"verdict": "pass", "headline": "To monitor.", "text": "It separates."},
            "recommended": judged,
            "checks": [
                {"name": "contrast", "summary": "",
                 "verdict": "pass" if contrast is not None and contrast > 40 else "fail"}
            ],
            "elicitation": _elicitation(ids, contrast).model_dump(),
        },
    )  # fmt: skip
    return folder


def _elicitation(ids: list[str], contrast: float | None) -> Elicitation:
    judged = pd.DataFrame(
        {
            "question_id": ids, "question": "?", "instruction": "", "response": "An answer.",
            "trait_score": 50.0, "coherence_score": 90.0, "finish_reason": "stop",
            "response_tokens": 3, "pole": [name.split("_")[-3] for name in ids],
        }
    )  # fmt: skip
    estimate = Estimate()
    if contrast is not None:
        estimate = Estimate(value=contrast, low=contrast - 5, high=contrast + 5)
    summary = summarise_responses(judged, ResponseFilter())
    return summary.model_copy(update={"contrast": estimate})


def directions(n: int, hidden_dim: int = 64, seed: int = 1) -> torch.Tensor:
    """`[n, hidden_dim]`, as unrelated as random directions are."""
    return torch.randn(n, hidden_dim, generator=torch.Generator().manual_seed(seed))


def _score(method: VectorMethod, layer: int, effect_size: float) -> SeparationScore:
    auroc = float(np.clip(0.5 + effect_size / 6, 0, 1))
    return SeparationScore(
        method=method,
        layer=layer,
        accuracy=Estimate(value=auroc),
        auroc=Estimate(value=auroc, low=auroc - 0.02, high=auroc),
        effect_size=Estimate(value=effect_size, low=effect_size - 0.3, high=effect_size + 0.3),
        separation=Estimate(value=effect_size),
    )


def _commit(
    folder: TraitFolder,
    stage: Stage,
    files: dict[str, bytes],
    metadata: dict[str, Any],
    usd: float | None = 0.0,
) -> None:
    inputs = {
        earlier: before.content
        for earlier in _MADE_FROM.get(stage, ())
        if (before := folder.provenance(earlier)) is not None
    }
    provenance = Provenance(
        stage=stage, key=f"{stage}-{folder.name}", inputs=inputs, settings={},
        cost=Cost(seconds=1.0, tokens_in=10, tokens_out=5, usd=usd),
    )  # fmt: skip
    folder.commit(stage, files, metadata, provenance)
