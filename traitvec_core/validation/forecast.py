"""Will steering work? A forecast from the activations, before anything is generated."""

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from traitvec_core.estimate import Estimate
from traitvec_core.validation.chance import Chance
from traitvec_core.validation.separation import Separation

__all__ = ["Forecast", "forecast_steering", "paired_cosine"]

# Below this held-out effect size the poles overlap almost entirely (accuracy 0.6).
_HOPELESS_EFFECT = 0.5
# Twice the usual significance level: skipping is worse than a wasted search.
_HOPELESS_P = 0.1


class Forecast(BaseModel):
    """Whether steering has a chance, by what the activations show.

    Vectors whose paired differences point the same way, and that separate the poles well, steer
    more reliably (Tan et al. 2024, arXiv:2407.12404; Braun et al. 2025, arXiv:2505.22637;
    arXiv:2602.17881).

    Attributes:
        is_hopeless: Whether the separation of new questions and pairs is that of chance.
        reason: Why, in one sentence.
        cosine: Mean cosine between differences (positive − negative) of other questions and other
            instruction pairs, at the recommended layer: 0 by chance, 1 if all point the same way.
        effect_size: Held-out separation of the best vector, corrected for having won.
    """

    is_hopeless: bool
    reason: str
    cosine: float | None = None
    effect_size: Estimate = Estimate()


def forecast_steering(separation: Separation, chance: Chance, cosine: float | None) -> Forecast:
    """Forecast whether a search for a steering dose is worth its price.

    Args:
        separation: Held-out figures.
        chance: The same under swapped labels.
        cosine: From `paired_cosine`, at the recommended layer.
    """
    effect = separation.winner.effect_size if separation.winner else Estimate()
    agreement = "unknown" if cosine is None else f"{cosine:.2f}"
    figures = (
        f"held-out effect size {effect.format('.2f')}, cosine of paired differences {agreement}"
    )
    p_value = chance.permutation_p_value
    if effect.value is None or p_value is None:
        return Forecast(
            is_hopeless=True, reason="nothing could be held out or compared with chance",
            cosine=cosine, effect_size=effect,
        )  # fmt: skip
    # With few pairs even a perfect trait cannot show a small p-value.
    smallest = max(test.smallest_p_value for test in chance.tests)
    is_chance = p_value > max(_HOPELESS_P, smallest)
    is_hopeless = is_chance and effect.value < 2 * _HOPELESS_EFFECT
    is_hopeless = is_hopeless or effect.value < _HOPELESS_EFFECT
    verdict = "no better than chance" if is_chance else "too small to steer with"
    return Forecast(
        is_hopeless=is_hopeless,
        reason=f"the poles' separation is {verdict} ({figures}, p = {p_value:.2g})"
        if is_hopeless
        else f"the activations do not rule it out ({figures}, p = {p_value:.2g})",
        cosine=cosine,
        effect_size=effect,
    )


def paired_cosine(
    activations: torch.Tensor,
    is_positive: NDArray[np.bool_],
    questions: NDArray[np.int64],
    pairs: NDArray[np.int64] | None,
    layer: int,
) -> float | None:
    """Return the mean cosine between paired differences that share neither question nor pair.

    Args:
        activations: `[n_examples, n_layers, hidden_dim]`.
        is_positive: `[n_examples]`.
        questions: `[n_examples]`.
        pairs: `[n_examples]`; None where there are none.
        layer: Row of the activation tensor.

    Returns:
        The cosine; None where fewer than two such differences exist.
    """
    wordings = np.zeros_like(questions) if pairs is None else pairs
    values = activations[:, layer].cpu().double().numpy()
    cells = sorted(set(zip(questions.tolist(), wordings.tolist(), strict=True)))
    differences, places = [], []
    for question, pair in cells:
        inside = (questions == question) & (wordings == pair)
        positive, negative = values[inside & is_positive], values[inside & ~is_positive]
        if len(positive) and len(negative):
            differences.append(positive.mean(axis=0) - negative.mean(axis=0))
            places.append((question, pair))
    if not differences:
        return None
    table = np.array(differences)
    lengths = np.linalg.norm(table, axis=1)
    unit = table / np.maximum(lengths, 1e-300)[:, None]
    place = np.array(places)
    apart = place[:, None, 0] != place[None, :, 0]
    if pairs is not None:
        apart &= place[:, None, 1] != place[None, :, 1]
    apart &= (lengths > 0)[:, None] & (lengths > 0)
    return float((unit @ unit.T)[apart].mean()) if apart.any() else None
