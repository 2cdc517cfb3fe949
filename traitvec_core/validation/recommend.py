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

    `why` gives its figures corrected for having won, where it is the winner of all vectors.

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
    winner = separation.winner
    is_winner = winner is not None and (winner.method, winner.layer) == (best.method, best.layer)
    shown = winner if winner is not None and is_winner else best
    corrected = ", corrected for being the best of many" if is_winner else ""
    return Recommendation(
        method=best.method,
        layer=best.layer,
        why=(
            f"{best.method} at layer {best.layer} separates best on {separation.held_out_by}"
            f" (effect size {shown.effect_size.format('.2f')}, AUROC"
            f" {shown.auroc.value or math.nan:.3f}{corrected}); chosen by separation alone, which"
            " does not show that the vector steers"
        ),
    )
