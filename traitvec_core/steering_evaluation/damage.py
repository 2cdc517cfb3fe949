"""What else a dose changes: the prediction of neutral text, repetition, the refusal vector."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pandas as pd
import torch

from traitvec_core.models.interventions import Addition
from traitvec_core.models.reading import Reader
from traitvec_core.steering_evaluation.result import Damage
from traitvec_core.validation.response_counts import is_looping

__all__ = ["NEUTRAL_TEXTS", "cosine", "measure_damage"]

# Plain facts without a trait's subject, tone or length.
NEUTRAL_TEXTS = (
    "The river rises in the mountains and reaches the sea after three hundred kilometres.",
    "Water freezes at zero degrees Celsius and boils at one hundred degrees at sea level.",
    "The library opens at nine in the morning and closes at six in the evening.",
    "Most maps of the city show the old town, the station and the two bridges.",
    "Bread is made from flour, water, salt and yeast, and baked in a hot oven.",
    "The train to the coast leaves every hour and stops at four small towns.",
    "Trees lose their leaves in autumn and grow new ones in the spring.",
    "A week has seven days, and a year has twelve months.",
    "The museum keeps tools, coins and pottery from the last five centuries.",
    "Sheep graze on the hills in summer and are brought to the valley in winter.",
    "The bridge was built of stone and repaired twice in the last century.",
    "Light travels faster than sound, so lightning is seen before thunder is heard.",
)


def measure_damage(
    reader: Reader,
    dose: Addition,
    steered: pd.DataFrame,
    unsteered: pd.DataFrame,
    *,
    refusal: torch.Tensor | None = None,
    texts: Sequence[str] = NEUTRAL_TEXTS,
) -> Damage:
    """Measure what a dose changes besides the trait.

    Args:
        reader: What reads the model.
        dose: What is added.
        steered: Held-out responses under the dose.
        unsteered: Those without steering.
        refusal: The experiment's refusal vector at the dose's layer, `[hidden_dim]`.
        texts: Neutral texts, read as they are, without a chat template.
    """
    divergence = surprise = surprise_steered = 0.0
    n_tokens = 0
    for text in texts:
        ids = reader.language_model.encode_prompt(text)
        before = _log_probabilities(reader.logits(ids))
        after = _log_probabilities(reader.logits(ids, dose))
        targets = torch.tensor(ids[1:], device=before.device).unsqueeze(1)
        divergence += float((after.exp() * (after - before)).sum())
        surprise -= float(before.gather(1, targets).sum())
        surprise_steered -= float(after.gather(1, targets).sum())
        n_tokens += len(targets)
    return Damage(
        kl_per_token=_mean_divergence(divergence, n_tokens),
        perplexity_unsteered=_perplexity(surprise, n_tokens),
        perplexity_steered=_perplexity(surprise_steered, n_tokens),
        n_tokens=n_tokens,
        looping_unsteered=_looping(unsteered),
        looping_steered=_looping(steered),
        distinct_2_unsteered=_distinct_pairs(unsteered),
        distinct_2_steered=_distinct_pairs(steered),
        refusal_cosine=None if refusal is None else cosine(dose.vector, refusal),
    )


def cosine(vector: torch.Tensor, other: torch.Tensor) -> float | None:
    """Return the cosine of two vectors; None when their lengths differ or one is zero."""
    if vector.shape != other.shape:
        return None
    first, second = vector.double().cpu(), other.double().cpu()
    lengths = float(first.norm() * second.norm())
    return float(first @ second) / lengths if lengths else None


def _log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """`[n_tokens − 1, vocabulary]`: of each next token, in float32."""
    return torch.log_softmax(logits[:-1].float(), dim=-1)


def _mean_divergence(divergence: float, n_tokens: int) -> float | None:
    if not n_tokens or not math.isfinite(divergence):
        return None
    # Rounding can take a sum of nothing below 0.
    return max(0.0, divergence / n_tokens)


def _perplexity(surprise: float, n_tokens: int) -> float | None:
    if not n_tokens:
        return None
    mean = surprise / n_tokens
    # A broken model may exceed every float.
    return math.exp(mean) if mean < 700 else None


def _looping(table: pd.DataFrame) -> float:
    return sum(is_looping(str(text)) for text in table["response"]) / len(table)


def _distinct_pairs(table: pd.DataFrame) -> float | None:
    shares = []
    for text in table["response"]:
        words = str(text).lower().split()
        pairs = list(pairwise(words))
        if pairs:
            shares.append(len(set(pairs)) / len(pairs))
    return sum(shares) / len(shares) if shares else None
