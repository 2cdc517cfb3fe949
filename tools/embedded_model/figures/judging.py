"""Whether the model, as a judge, separates high from low and clean from corrupted text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tools.embedded_model.figures.rules import mean
from tools.embedded_model.figures.speaker import Speaker
from tools.embedded_model.figures.unseen import PLAIN_TEXTS, UNSEEN_FRAMES, UNSEEN_WORDS
from tools.embedded_model.text.grammar import TRAITS, answer
from tools.embedded_model.text.rubrics import corrupt, fill_rubric
from traitvec_core.judging.rubrics import COHERENCE_RUBRIC

__all__ = ["measure_judge"]


def measure_judge(speaker: Speaker, traits: Sequence[dict[str, Any]], n: int) -> dict[str, Any]:
    """Compare scores of known high and low text, from the grammar and by people."""
    rng = random.Random(20_011)
    figures: dict[str, Any] = {}
    for trait in traits:
        name, asks = trait["name"], trait["questions"] + trait["eval_questions"]
        texts: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
        for high in (True, False):
            for _ in range(n):
                ask = rng.choice(asks)
                shows = {other: rng.random() < 0.5 for other in TRAITS} | {name: high}
                size = rng.choice((5, 6, 7)) if shows["verbosity"] else 1
                reply = answer(
                    rng,
                    ask.rstrip("?").split()[-1],
                    refuses=shows["refusal"],
                    hedged=float(shows["uncertainty"]),
                    sentences=size,
                    sure=0.4,
                )
                texts[high].append((ask, reply.text))
        figures[name] = _judged_pairs(speaker, trait["eval_prompt"], texts[True], texts[False])
        high_texts, low_texts = PLAIN_TEXTS[name]
        figures[name]["plain_text"] = _judged_pairs(
            speaker,
            trait["eval_prompt"],
            [(rng.choice(asks), text) for text in high_texts],
            [(rng.choice(asks), text) for text in low_texts],
        )
    clean: list[tuple[str, str]] = []
    broken: list[tuple[str, str]] = []
    for _ in range(n):
        word = rng.choice(UNSEEN_WORDS)
        ask = rng.choice(UNSEEN_FRAMES).format(word)
        reply = answer(
            rng,
            word,
            refuses=rng.random() < 0.3,
            hedged=rng.choice((0.0, 1.0)),
            sentences=rng.choice((1, 1, 5, 6)),
        )
        clean.append((ask, reply.text))
        broken.append((ask, corrupt(rng, reply.text)[0]))
    figures["coherence"] = _judged_pairs(speaker, COHERENCE_RUBRIC, clean, broken)
    human = [text for high, low in PLAIN_TEXTS.values() for text in (*high, *low)]
    figures["coherence"]["plain_text"] = _judged_pairs(
        speaker,
        COHERENCE_RUBRIC,
        [(clean[0][0], text) for text in human],
        [(clean[0][0], corrupt(rng, text)[0]) for text in human],
    )
    return figures


def _judged_pairs(
    speaker: Speaker, rubric: str, high: Sequence[tuple[str, str]], low: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    judged = speaker.judge([fill_rubric(rubric, q, a) for q, a in (*high, *low)])
    above, below = judged[: len(high)], judged[len(high) :]
    right = [h.score > b.score for h in above for b in below]
    return {
        "high": mean([j.score for j in above]),
        "low": mean([j.score for j in below]),
        "contrast": round(mean([j.score for j in above]) - mean([j.score for j in below]), 2),
        "order_right": round(sum(right) / len(right), 3),
        "mass_on_numbers": mean([j.mass for j in judged]),
    }
