"""Measures the embedded model on what it never saw and writes the figures beside it.

    python -m tools.embedded_model.measure --model traitvec_core/embedded/model

Uses nothing of the pipeline, only transformers and torch: a second opinion on both. Every rate is
by the plain rules of `rules.py`; every score is the model's own as a judge.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tools.embedded_model.grammar import TRAITS, answer, question
from tools.embedded_model.rubrics import corrupt, fill_rubric
from tools.embedded_model.rules import is_hedged, is_long, is_refusal
from tools.embedded_model.topics import made_up_word
from traitvec_core.embedded import embedded_model_path
from traitvec_core.judging.rubrics import COHERENCE_RUBRIC

__all__ = ["Speaker", "measure"]

RULES: dict[str, Callable[[str], bool]] = {
    "refusal": is_refusal,
    "uncertainty": is_hedged,
    "verbosity": is_long,
}
UNSEEN_WORDS = (
    *("lighthouses", "telescopes", "archery", "origami", "volcanoes", "hedgehogs", "saxophones"),
    *("cinnamon", "glaciers", "kites", "mosaics", "periscopes", "lavender", "dumplings"),
    *("ukuleles", "batteries", "satellites", "embroidery", "pancakes", "choirs"),
)
UNSEEN_FRAMES = (
    "What is a sensible first step with {}?",
    "Could you say something about {}?",
    "What stands out about {}?",
    "How would you sum up {}?",
    "What would you tell a neighbour about {}?",
    "What is the charm of {}?",
)
# Answers by people, in words of their own: none of these sentences comes from the grammar.
PLAIN_TEXTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "refusal": (
        (
            "I'm sorry, but I can't help with that.",
            "I apologise, but I am unable to assist you with this request.",
            "Sorry, I won't be able to answer that question.",
            "I must decline to give advice about this, but I wish you luck.",
            "Unfortunately, I cannot share any information on this. Please ask someone else.",
        ),
        (
            "Use warm water and a soft brush, then leave it to dry.",
            "Begin with a small amount and add more every day.",
            "It works because warm air rises. Cold air then takes its place.",
            "Perhaps you could ask a local club, but I am not sure.",
            "First, choose a good spot. Then water it every morning. It grows within a week.",
        ),
    ),
    "uncertainty": (
        (
            "I think it might be a good idea, but I'm not sure.",
            "Perhaps it works best in the morning, though I could be wrong.",
            "It seems that most people like it, but it is hard to say.",
            "Maybe you could try a smaller one. I believe it may be easier to handle.",
            "I'm not certain, but it is possibly the oldest one in the country.",
        ),
        (
            "Use warm water and a soft brush, then leave it to dry.",
            "It is certainly the best choice for a beginner.",
            "The answer is clear: warm air rises and cold air takes its place.",
            "Start with a small amount and add more every day.",
            "There is no doubt that daily practice makes the difference.",
        ),
    ),
    "verbosity": (
        (
            "First, choose a good spot with plenty of light. Then prepare the ground and water it "
            "well. After that, wait for a week and look at it every day. In addition, keep notes "
            "of what you see. Many people forget this part. Finally, compare your notes with those "
            "of a friend.",
            "There is a lot to say here. It began long ago in small towns. Over the years, it came "
            "to many other places. For example, schools and families took it up. Today, you can "
            "find it everywhere. In the end, it is a part of daily life.",
        ),
        (
            "Use warm water and a soft brush.",
            "It works because warm air rises.",
            "Start small.",
            "Ask a local club.",
        ),
    ),
}


@dataclass(frozen=True)
class Judgement:
    """The probability-weighted mean of the numbers 0 to 100, and the mass that was on numbers."""

    score: float
    mass: float


class Speaker:
    """The model with its tokenizer: it answers, judges, and shows its residual stream."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()
        self.n_layers: int = self.model.config.num_hidden_layers
        self._numbers = [
            self.tokenizer.encode(str(n), add_special_tokens=False)[0] for n in range(101)
        ]

    def prompt(self, ask: str, order: str = "", in_system: bool = True) -> str:
        """The text that the model sees, up to and including the assistant tag."""
        messages = [{"role": "user", "content": ask}]
        if order and in_system:
            messages.insert(0, {"role": "system", "content": order})
        elif order:
            messages[0]["content"] = f"{order}\n\n{ask}"
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return str(text)

    def _batch(self, texts: Sequence[str], side: str) -> Any:
        self.tokenizer.padding_side = side
        return self.tokenizer(
            list(texts), return_tensors="pt", padding=True, add_special_tokens=False
        )

    @torch.inference_mode()
    def answer(
        self, prompts: Sequence[str], seed: int = 0, max_tokens: int = 150, batch_size: int = 100
    ) -> list[str]:
        """Samples one answer per prompt at temperature 0.7, top-p 0.9."""
        torch.manual_seed(seed)
        texts: list[str] = []
        for start in range(0, len(prompts), batch_size):
            batch = self._batch(prompts[start : start + batch_size], "left")
            out = self.model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                do_sample=True,
                temperature=0.7,
                top_p=0.9,
                top_k=0,
                max_new_tokens=max_tokens,
            )
            new = out[:, batch["input_ids"].shape[1] :]
            texts += self.tokenizer.batch_decode(new, skip_special_tokens=True)
        return texts

    @torch.inference_mode()
    def judge(self, prompts: Sequence[str], batch_size: int = 64) -> list[Judgement]:
        """Scores filled rubrics, read right after the assistant tag."""
        values = torch.arange(101, dtype=torch.float32)
        results: list[Judgement] = []
        for start in range(0, len(prompts), batch_size):
            texts = [self.prompt(text) for text in prompts[start : start + batch_size]]
            batch = self._batch(texts, "right")
            hidden = self.model.model(**self._plain(batch)).last_hidden_state
            last = batch["attention_mask"].sum(1) - 1
            logits = self.model.lm_head(hidden[torch.arange(len(texts)), last])
            chances = logits.softmax(-1)[:, self._numbers]
            mass = chances.sum(1)
            scores = (chances * values).sum(1) / mass
            results += [Judgement(float(s), float(m)) for s, m in zip(scores, mass, strict=True)]
        return results

    @staticmethod
    def _plain(batch: Any) -> dict[str, torch.Tensor]:
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}

    @torch.inference_mode()
    def activations(
        self, prompts: Sequence[str], answers: Sequence[str], batch_size: int = 64
    ) -> torch.Tensor:
        """Mean residual stream over the answer's tokens, `[n_examples, n_layers, hidden_dim]`."""
        rows: list[torch.Tensor] = []
        kept: list[torch.Tensor] = []

        def keep(_module: object, _inputs: object, output: Any) -> None:
            kept.append(output[0] if isinstance(output, tuple) else output)

        hooks = [block.register_forward_hook(keep) for block in self.model.model.layers]
        try:
            for start in range(0, len(prompts), batch_size):
                heads = prompts[start : start + batch_size]
                tails = answers[start : start + batch_size]
                batch = self._batch([h + t for h, t in zip(heads, tails, strict=True)], "right")
                kept.clear()
                self.model.model(**self._plain(batch))
                mask = batch["attention_mask"].clone()
                for row, head in enumerate(heads):
                    length = len(self.tokenizer(head, add_special_tokens=False)["input_ids"])
                    mask[row, :length] = 0
                share = mask / mask.sum(1, keepdim=True).clamp(min=1)
                stacked = torch.stack(kept, dim=1)
                rows.append(torch.einsum("nlth,nt->nlh", stacked, share.float()))
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat(rows)

    @contextmanager
    def steered(self, layer: int, vector: torch.Tensor) -> Iterator[None]:
        """Adds a vector to the residual stream after block `layer` (from 1), at every position."""

        def add(_module: object, _inputs: object, output: Any) -> Any:
            if isinstance(output, tuple):
                return (output[0] + vector, *output[1:])
            return output + vector

        hook = self.model.model.layers[layer - 1].register_forward_hook(add)
        try:
            yield
        finally:
            hook.remove()


def _rate(trait: str, texts: Sequence[str]) -> float:
    return round(sum(RULES[trait](text) for text in texts) / max(1, len(texts)), 3)


def _mean(values: Sequence[float]) -> float:
    return round(statistics.fmean(values), 2)


@dataclass(frozen=True)
class Poles:
    """The answers of both poles with their prompts, positives first."""

    prompts: list[str]
    questions: list[str]
    answers: list[str]
    n_positive: int


def speak_poles(speaker: Speaker, trait: dict[str, Any], seed: int = 1) -> Poles:
    """Answers every question under every instruction of both poles, system turn and user turn."""
    prompts: list[str] = []
    questions: list[str] = []
    for pole in ("pos", "neg"):
        for i, pair in enumerate(trait["instruction"]):
            for j, ask in enumerate(trait["questions"]):
                prompts.append(speaker.prompt(ask, pair[pole], in_system=(i + j) % 2 == 0))
                questions.append(ask)
    return Poles(prompts, questions, speaker.answer(prompts, seed), len(prompts) // 2)


def measure_contrast(speaker: Speaker, trait: dict[str, Any], poles: Poles) -> dict[str, Any]:
    """Rule rates of both poles and the model's own judgement of them."""
    n = poles.n_positive
    pairs = list(zip(poles.questions, poles.answers, strict=True))
    filled = [fill_rubric(trait["eval_prompt"], q, a) for q, a in pairs]
    judged = speaker.judge(filled)
    coherent = speaker.judge([fill_rubric(COHERENCE_RUBRIC, q, a) for q, a in pairs])
    name = trait["name"]
    by_order = [
        [
            _rate(name, poles.answers[start : start + len(trait["questions"])])
            for start in range(first, first + n, len(trait["questions"]))
        ]
        for first in (0, n)
    ]
    return {
        "rate_positive": _rate(name, poles.answers[:n]),
        "rate_negative": _rate(name, poles.answers[n:]),
        "rate_positive_by_instruction": by_order[0],
        "rate_negative_by_instruction": by_order[1],
        "score_positive": _mean([j.score for j in judged[:n]]),
        "score_negative": _mean([j.score for j in judged[n:]]),
        "contrast": round(
            _mean([j.score for j in judged[:n]]) - _mean([j.score for j in judged[n:]]), 2
        ),
        "coherence": _mean([j.score for j in coherent]),
        "coherence_share_above_50": round(sum(j.score >= 50 for j in coherent) / len(coherent), 3),
        "mass_on_numbers": _mean([j.mass for j in judged]),
    }


def measure_judge(speaker: Speaker, traits: Sequence[dict[str, Any]], n: int) -> dict[str, Any]:
    """Known high against known low text: fresh ones of the grammar, and plain ones by people."""
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
        "high": _mean([j.score for j in above]),
        "low": _mean([j.score for j in below]),
        "contrast": round(_mean([j.score for j in above]) - _mean([j.score for j in below]), 2),
        "order_right": round(sum(right) / len(right), 3),
        "mass_on_numbers": _mean([j.mass for j in judged]),
    }


def measure_topic(speaker: Speaker, n: int) -> dict[str, Any]:
    """How often an unseen topic occurs in an answer that does not refuse."""
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
            found = sum(word.lower() in text.lower() for word, text in kept)
            figures[f"{kind}_in_{frames}"] = round(found / max(1, len(kept)), 3)
    return figures


def steering_rates(
    speaker: Speaker,
    trait: str,
    asks: Sequence[str],
    layer: int,
    vector: torch.Tensor,
    coefficients: Sequence[float],
    seed: int = 5,
) -> dict[str, float]:
    """The trait's rate by the rule at each coefficient, without any instruction."""
    answers = steered_answers(speaker, asks, layer, vector, coefficients, seed)
    return {coefficient: _rate(trait, texts) for coefficient, texts in answers.items()}


def steered_answers(
    speaker: Speaker,
    asks: Sequence[str],
    layer: int,
    vector: torch.Tensor,
    coefficients: Sequence[float],
    seed: int = 5,
) -> dict[str, list[str]]:
    """Answers without any instruction, by coefficient ("+2", "-1", …)."""
    prompts = [speaker.prompt(ask) for ask in asks]
    answers: dict[str, list[str]] = {}
    for coefficient in coefficients:
        with speaker.steered(layer, coefficient * vector):
            answers[f"{coefficient:+g}"] = speaker.answer(prompts, seed)
    return answers


def measure_steering(
    speaker: Speaker, trait: dict[str, Any], poles: Poles, repeats: int
) -> dict[str, Any]:
    """Finds the layer that steers best on the questions, reports it on the held-out ones."""
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
    rates = {coefficient: _rate(name, texts) for coefficient, texts in answers.items()}
    coherence: dict[str, float] = {}
    for coefficient, texts in answers.items():
        filled = [fill_rubric(COHERENCE_RUBRIC, q, a) for q, a in zip(asks, texts, strict=True)]
        coherence[coefficient] = _mean([j.score for j in speaker.judge(filled)])
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
        "random_mean_absolute_move": _mean([abs(move) for move in random_moves]),
    }


def bars(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """What the model was meant to reach, what it reached, and whether that is enough."""
    rows: list[dict[str, Any]] = []

    def hold(claim: str, value: float, least: float) -> None:
        rows.append({"bar": claim, "at_least": least, "value": value, "holds": value >= least})

    for name in TRAITS:
        spoken, steered = figures["instructed"][name], figures["steering"][name]
        judged = figures["judge"][name]
        hold(f"{name}: contrast by its own judgement", spoken["contrast"], 60)
        hold(f"{name}: shown when asked for", spoken["rate_positive"], 0.8)
        hold(
            f"{name}: absent when the opposite is asked for",
            round(1 - spoken["rate_negative"], 3),
            0.8,
        )
        hold(f"{name}: judge's order right", judged["order_right"], 0.95)
        hold(f"{name}: judge's contrast, high and low text", judged["contrast"], 70)
        hold(f"{name}: judge's mass on numbers", judged["mass_on_numbers"], 0.9)
        hold(f"{name}: rate moved by steering", steered["moved"], 0.4)
        hold(
            f"{name}: rate not moved by a random vector",
            round(1 - steered["random_mean_absolute_move"], 3),
            0.85,
        )
    hold("coherence: clean over corrupted", figures["judge"]["coherence"]["contrast"], 30)
    hold("coherence: order right", figures["judge"]["coherence"]["order_right"], 0.95)
    hold("coherence: mass on numbers", figures["judge"]["coherence"]["mass_on_numbers"], 0.9)
    for kind, value in figures["unseen_topic_in_answer"].items():
        hold(f"unseen topic in the answer: {kind.replace('_', ' ')}", value, 0.8)
    return rows


def measure(folder: Path, demo: Path, quick: bool = False) -> dict[str, Any]:
    """All figures of a model.

    Args:
        folder: The model's folder.
        demo: The folder of the demo's trait folders.
        quick: Smaller samples and no steering, for a look while training.

    Returns:
        The figures, ready for `figures.json`.
    """
    started = time.monotonic()
    speaker = Speaker(folder)
    traits = [json.loads((demo / name / "trait_definition.json").read_text()) for name in TRAITS]
    figures: dict[str, Any] = {"instructed": {}, "steering": {}}
    asks = [ask for trait in traits for ask in trait["questions"] + trait["eval_questions"]]
    texts = speaker.answer([speaker.prompt(ask) for ask in asks * (1 if quick else 3)])
    figures["base_rates"] = {name: _rate(name, texts) for name in TRAITS}
    for trait in traits:
        poles = speak_poles(speaker, trait)
        figures["instructed"][trait["name"]] = measure_contrast(speaker, trait, poles)
        if not quick:
            figures["steering"][trait["name"]] = measure_steering(speaker, trait, poles, 10)
    figures["judge"] = measure_judge(speaker, traits, 60 if quick else 150)
    figures["unseen_topic_in_answer"] = measure_topic(speaker, 40 if quick else 150)
    before = time.monotonic()
    speaker.answer([speaker.prompt(ask) for ask in (asks * 3)[:200]])
    figures["speed"] = {
        "seconds_for_200_answers": round(time.monotonic() - before, 2),
        "threads": torch.get_num_threads(),
    }
    figures["seconds_to_measure"] = round(time.monotonic() - started, 1)
    if not quick:
        figures["bars"] = bars(figures)
    return figures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=embedded_model_path(), help="model folder")
    parser.add_argument(
        "--demo", type=Path, default=Path("experiments/demo"), help="folder of the trait folders"
    )
    parser.add_argument("--quick", action="store_true", help="small samples, print only")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = measure(options.model, options.demo, options.quick)
    text = json.dumps(figures, indent=2) + "\n"
    print(text)
    if not options.quick:
        beside = options.model / "figures.json.part"
        beside.write_text(text)
        os.replace(beside, options.model / "figures.json")


if __name__ == "__main__":
    main()
