"""Which vector to start with, and why."""

from collections.abc import Iterable

from pydantic import BaseModel

from traitvec_core.experiment import VectorMethod
from traitvec_core.validation.separation import Separation

__all__ = ["Recommendation", "recommend"]


class Recommendation(BaseModel):
    """The vector to start with.

    Attributes:
        method: Vector method.
        layer: Row of the activation tensor.
        coefficient: Units of the vector to add; 1 is the classes' own distance when the scale is
            `separation`.
        chosen_by: What the choice rests on.
        why: The same in a sentence.
    """

    method: VectorMethod
    layer: int
    coefficient: float = 1.0
    chosen_by: str = "held-out separation"
    why: str


def recommend(
    separation: Separation, candidates: Iterable[tuple[VectorMethod, int]]
) -> Recommendation | None:
    """Choose the candidate with the largest held-out effect size.

    Accuracy and AUROC saturate at 1 for many layers at once; the effect size still tells them
    apart. Separation does not prove that a vector steers, and the sentence says so.

    Args:
        separation: Held-out figures.
        candidates: (method, layer) of the vectors that exist; controls are passed over.

    Returns:
        The choice, or None when nothing was held out.
    """
    best = None
    for method, layer in candidates:
        score = separation.of(method, layer)
        # row 0 is the embeddings: what separates there is words, not a trait
        if (
            score is None
            or method == "random"
            or layer == 0
            or score.effect_size != score.effect_size
        ):
            continue
        if best is None or score.effect_size > best.effect_size:
            best = score
    if best is None:
        return None
    return Recommendation(
        method=best.method,
        layer=best.layer,
        why=(
            f"{best.method} at layer {best.layer} separates held-out questions best (effect size"
            f" {best.effect_size:.2f}, AUROC {best.auroc:.3f}); chosen by separation alone, which"
            " does not show that the vector steers"
        ),
    )
