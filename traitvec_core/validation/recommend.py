"""Which vector to start with, and why."""

import math
from collections.abc import Iterable

from traitvec_core.experiment import VectorMethod
from traitvec_core.storage.manifests import Recommendation
from traitvec_core.validation.separation import Separation

__all__ = ["Recommendation", "recommend"]


def recommend(
    separation: Separation, candidates: Iterable[tuple[VectorMethod, int]]
) -> Recommendation | None:
    """Choose the candidate with the largest held-out effect size.

    Accuracy and AUROC saturate at 1 for many layers at once; the effect size does not. Separation
    does not prove that a vector steers, and `why` says so.

    Args:
        separation: Held-out figures.
        candidates: (method, layer) of the vectors that exist; controls and row 0 are skipped.

    Returns:
        The choice, or None when nothing was held out.
    """
    best, effect_size = None, -math.inf
    for method, layer in candidates:
        score = separation.of(method, layer)
        # Row 0 is the embeddings: what separates there is words, not a trait.
        if score is None or method == "random" or layer == 0 or score.effect_size.value is None:
            continue
        if best is None or score.effect_size.value > effect_size:
            best, effect_size = score, score.effect_size.value
    if best is None:
        return None
    return Recommendation(
        method=best.method,
        layer=best.layer,
        why=(
            f"{best.method} at layer {best.layer} separates held-out questions best (effect size"
            f" {effect_size:.2f}, AUROC {best.auroc.value or math.nan:.3f}); chosen by separation"
            " alone, which does not show that the vector steers"
        ),
    )
