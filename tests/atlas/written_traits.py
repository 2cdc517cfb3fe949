"""Finished traits written straight to disk: planted directions, no model, milliseconds each."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from traitvec_core.stage_names import Stage
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.formats import dump_tensor
from traitvec_core.storage.provenance import Cost, Provenance

DEFINITION = {
    "instruction": [{"pos": "Be so.", "neg": "Be otherwise."}],
    "questions": ["What is rain?", "What is snow?"],
    "eval_prompt": "How much of it? {question} {answer}",
}
METHODS = ("mean_diff", "probe")


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
    methods: tuple[str, ...] = METHODS,
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
    _commit(folder, "activations", {"activations/all_layers.pt": dump_tensor(activations)}, {
        "model": model, "model_revision": None, "n_layers": n_layers, "hidden_dim": len(unit),
        "position": "response_mean", "n_positive": n_per_pole, "n_negative": n_per_pole,
        "question_ids": ids,
    })  # fmt: skip
    files, rows, scores = {}, [], []
    for layer in range(n_layers):
        size = strength / (1 + abs(layer - best_layer))
        means = activations[:n_per_pole, layer].mean(0) - activations[n_per_pole:, layer].mean(0)
        for number, method in enumerate(methods):
            scores.append(_score(method, layer, size - 0.1 * number))
            if layer:
                files[f"vectors/{method}_layer{layer}.pt"] = dump_tensor(means)
                rows.append({"method": method, "layer": layer, "relative_norm": 0.5,
                             "vector_norm": float(means.norm())})  # fmt: skip
        scores.append(_score("random", layer, 0.3))
    best = {"method": methods[0], "layer": best_layer, "coefficient": 1.0,
            "chosen_by": "held-out separation", "why": "planted"}  # fmt: skip
    _commit(folder, "vectors", files, {
        "trait": name, "model": model, "recommended": best, "vectors": rows,
        "separation": {"scores": scores, "probe_accuracy": 1.0, "n_folds": 5, "n_held_out": 40},
        "chance": {"random": [{"layer": layer, "effect_size_median": 0.3, "effect_size_high": 0.8}
                              for layer in layers]},
        "stability": [{"method": methods[0], "layer": best_layer, "mean": 0.97}],
    }, usd)  # fmt: skip
    _commit(folder, "steering_evaluation", {}, {"is_evaluated": False})
    verdict = "pass" if contrast is not None and contrast > 40 else "fail"
    _commit(folder, "validation_report", {"validation/report.html": b"<p>report</p>"}, {
        "recommended": best,
        "checks": [{"name": "contrast", "verdict": verdict, "summary": "", "advice": "",
                    "figures": {}}],
        "elicitation": {"contrast": contrast,
                        "contrast_interval": None if contrast is None
                        else [contrast - 5, contrast + 5]},
    })  # fmt: skip
    return folder


def directions(n: int, hidden_dim: int = 64, seed: int = 1) -> torch.Tensor:
    """`[n, hidden_dim]`, as unrelated as random directions are."""
    return torch.randn(n, hidden_dim, generator=torch.Generator().manual_seed(seed))


def _score(method: str, layer: int, effect_size: float) -> dict[str, Any]:
    auroc = float(np.clip(0.5 + effect_size / 6, 0, 1))
    ends = {"effect_size": [effect_size - 0.3, effect_size + 0.3], "auroc": [auroc - 0.02, auroc]}
    return {"method": method, "layer": layer, "effect_size": effect_size, "auroc": auroc,
            "accuracy": auroc, "separation": effect_size, "intervals": ends}  # fmt: skip


def _commit(
    folder: TraitFolder,
    stage: Stage,
    files: dict[str, bytes],
    metadata: dict[str, Any],
    usd: float | None = 0.0,
) -> None:
    made = {"steering_evaluation": "vectors", "validation_report": "vectors"}.get(stage)
    before = folder.provenance("vectors") if made else None
    inputs = {"vectors": before.content} if before else {}
    provenance = Provenance(
        stage=stage, key=f"{stage}-{folder.name}", inputs=inputs, settings={},
        cost=Cost(seconds=1.0, tokens_in=10, tokens_out=5, usd=usd),
    )  # fmt: skip
    folder.commit(stage, files, metadata, provenance)
