"""How far a mean-difference vector steers the model, compared with random vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tools.embedded_model.figures.elicitation import Poles
from tools.embedded_model.figures.rules import mean, rule_rate
from tools.embedded_model.figures.speaker import Speaker
from tools.embedded_model.text.rubrics import fill_rubric
from traitvec_core.judging.rubrics import COHERENCE_RUBRIC

__all__ = ["measure_steering"]


def steering_rates(
    speaker: Speaker,
    trait: str,
    asks: Sequence[str],
    layer: int,
    vector: torch.Tensor,
    coefficients: Sequence[float],
    seed: int = 5,
) -> dict[str, float]:
    """Return the trait's rate by its rule at each coefficient, without any instruction."""
    answers = steered_answers(speaker, asks, layer, vector, coefficients, seed)
    return {coefficient: rule_rate(trait, texts) for coefficient, texts in answers.items()}


def steered_answers(
    speaker: Speaker,
    asks: Sequence[str],
    layer: int,
    vector: torch.Tensor,
    coefficients: Sequence[float],
    seed: int = 5,
) -> dict[str, list[str]]:
    """Return answers without any instruction, by coefficient ("+2", "-1", …)."""
    prompts = [speaker.prompt(ask) for ask in asks]
    answers: dict[str, list[str]] = {}
    for coefficient in coefficients:
        with speaker.steered(layer, coefficient * vector):
            answers[f"{coefficient:+g}"] = speaker.answer(prompts, seed)
    return answers


def measure_steering(
    speaker: Speaker, trait: dict[str, Any], poles: Poles, repeats: int
) -> dict[str, Any]:
    """Find the layer that steers best on the questions; report it on the held-out questions."""
    rows = speaker.activations(poles.prompts, poles.answers)
    difference = rows[: poles.n_positive].mean(0) - rows[poles.n_positive :].mean(0)
    name = trait["name"]
    moved: dict[int, float] = {}
    for layer in range(1, speaker.n_layers + 1):
        rates = steering_rates(
            speaker, name, trait["questions"] * 2, layer, difference[layer - 1], (-2.0, 2.0)
        )
        moved[layer] = round(rates["+2"] - rates["-2"], 3)
    best = max(moved, key=lambda layer: moved[layer])
    asks = trait["eval_questions"] * repeats
    answers = steered_answers(
        speaker, asks, best, difference[best - 1], (-2.0, -1.0, 0.0, 1.0, 2.0)
    )
    rates = {coefficient: rule_rate(name, texts) for coefficient, texts in answers.items()}
    coherence: dict[str, float] = {}
    for coefficient, texts in answers.items():
        filled = [fill_rubric(COHERENCE_RUBRIC, q, a) for q, a in zip(asks, texts, strict=True)]
        coherence[coefficient] = mean([j.score for j in speaker.judge(filled)])
    generator = torch.Generator().manual_seed(11)
    random_moves: list[float] = []
    for _ in range(3):
        noise = torch.randn(difference.shape[1], generator=generator)
        noise *= difference[best - 1].norm() / noise.norm()
        control = steering_rates(speaker, name, asks, best, noise, (-2.0, 2.0))
        random_moves.append(round(control["+2"] - control["-2"], 3))
    return {
        "moved_by_layer": {str(layer): move for layer, move in moved.items()},
        "best_layer": best,
        "vector_norm": round(float(difference[best - 1].norm()), 3),
        "mean_activation_norm": round(float(rows[:, best - 1].norm(dim=-1).mean()), 3),
        "rates": rates,
        "coherence": coherence,
        "moved": round(rates["+2"] - rates["-2"], 3),
        "random_moved": random_moves,
        "random_mean_absolute_move": mean([abs(move) for move in random_moves]),
    }
