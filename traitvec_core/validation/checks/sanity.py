"""`sanity`: are the captured activations finite, of both poles, and of the model's shape?"""

from typing import TYPE_CHECKING

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import ActivationsManifest
from traitvec_core.validation.checks.result import CheckResult

if TYPE_CHECKING:
    import torch

__all__ = ["check_activations", "evaluate"]


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    return check_activations(folder.read_activations(), folder.manifest(ActivationsManifest))


def check_activations(activations: "torch.Tensor", manifest: ActivationsManifest) -> CheckResult:
    """Check the values and shape of captured activations.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`, positives first.
        manifest: What the stage recorded about them.
    """
    import torch

    problems = []
    expected = [manifest.n_examples, manifest.n_layers, manifest.hidden_dim]
    if list(activations.shape) != expected:
        problems.append(f"shape {list(activations.shape)} is not {expected}")
    not_finite, zero_layers = 0, []
    if activations.numel():
        not_finite = int((~torch.isfinite(activations)).any(dim=-1).any(dim=-1).sum())
        zero_layers = [k for k in range(activations.shape[1]) if not activations[:, k].any()]
    if not_finite:
        problems.append(f"{not_finite} examples contain NaN or infinity")
    if not manifest.n_positive or not manifest.n_negative:
        problems.append("a pole has no example")
    if zero_layers:
        problems.append(f"layers {zero_layers} are all zero")
    return CheckResult(
        name="sanity",
        verdict="fail" if problems else "pass",
        summary="; ".join(problems)
        or f"{expected[0]} examples × {expected[1]} layers × {expected[2]} dimensions, all finite",
        advice="Materialize `activations` again; if the problem stays, try dtype: float32."
        if problems
        else "",
        figures={
            "n_positive": manifest.n_positive,
            "n_negative": manifest.n_negative,
            "not_finite": not_finite,
        },
    )
