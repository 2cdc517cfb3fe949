"""Whether the model shows a trait when instructed, and talks about unseen topics."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from tools.embedded_model.figures.rules import is_refusal, mean, rule_rate
from tools.embedded_model.figures.speaker import Speaker
from tools.embedded_model.figures.unseen import UNSEEN_FRAMES, UNSEEN_WORDS
from tools.embedded_model.text.grammar import question
from tools.embedded_model.text.rubrics import fill_rubric
from tools.embedded_model.text.topics import made_up_word
from traitvec_core.judging.rubrics import COHERENCE_RUBRIC

__all__ = ["Poles", "measure_contrast", "measure_topic", "speak_poles"]


@dataclass(frozen=True)
class Poles:
    """The prompts, questions and answers of both poles, positives first."""

    prompts: list[str]
    questions: list[str]
    answers: list[str]
    n_positive: int


def speak_poles(speaker: Speaker, trait: dict[str, Any], seed: int = 1) -> Poles:
    """Answer every question under every instruction of both poles.

    Half of the instructions are in the system turn, half in the user turn.
    """
    prompts: list[str] = []
    questions: list[str] = []
    for pole in ("pos", "neg"):
        for i, pair in enumerate(trait["instruction"]):
            for j, ask in enumerate(trait["questions"]):
                prompts.append(speaker.prompt(ask, pair[pole], in_system=(i + j) % 2 == 0))
                questions.append(ask)
    return Poles(prompts, questions, speaker.answer(prompts, seed), len(prompts) // 2)


def measure_contrast(speaker: Speaker, trait: dict[str, Any], poles: Poles) -> dict[str, Any]:
    """Return the rule rates of both poles, and the model's own scores of them."""
    n = poles.n_positive
    pairs = list(zip(poles.questions, poles.answers, strict=True))
    filled = [fill_rubric(trait["eval_prompt"], q, a) for q, a in pairs]
    judged = speaker.judge(filled)
    coherent = speaker.judge([fill_rubric(COHERENCE_RUBRIC, q, a) for q, a in pairs])
    name = trait["name"]
    by_order = [
        [
            rule_rate(name, poles.answers[start : start + len(trait["questions"])])
            for start in range(first, first + n, len(trait["questions"]))
        ]
        for first in (0, n)
    ]
    return {
        "rate_positive": rule_rate(name, poles.answers[:n]),
        "rate_negative": rule_rate(name, poles.answers[n:]),
        "rate_positive_by_instruction": by_order[0],
        "rate_negative_by_instruction": by_order[1],
        "score_positive": mean([j.score for j in judged[:n]]),
        "score_negative": mean([j.score for j in judged[n:]]),
        "contrast": round(
            mean([j.score for j in judged[:n]]) - mean([j.score for j in judged[n:]]), 2
        ),
        "coherence": mean([j.score for j in coherent]),
        "coherence_share_above_50": round(sum(j.score >= 50 for j in coherent) / len(coherent), 3),
        "mass_on_numbers": mean([j.mass for j in judged]),
    }


def measure_topic(speaker: Speaker, n: int) -> dict[str, Any]:
    """Return how often an unseen topic occurs in answers that do not refuse."""
    rng = random.Random(31_337)
    figures: dict[str, Any] = {}
    for kind in ("real_words", "made_up_words"):
        for frames in ("unseen_frames", "grammar_frames"):
            words: list[str] = []
            asks: list[str] = []
            for _ in range(n):
                word = rng.choice(UNSEEN_WORDS) if kind == "real_words" else made_up_word(rng)
                words.append(word)
                if frames == "unseen_frames":
                    asks.append(rng.choice(UNSEEN_FRAMES).format(word))
                else:
                    asks.append(question(rng, word))
            texts = speaker.answer([speaker.prompt(ask) for ask in asks], seed=3)
            kept = [(w, t) for w, t in zip(words, texts, strict=True) if not is_refusal(t)]
            n_named = sum(word.lower() in text.lower() for word, text in kept)
            figures[f"{kind}_in_{frames}"] = round(n_named / max(1, len(kept)), 3)
    return figures
