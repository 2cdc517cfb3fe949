"""The model that ships does what the pipeline measures: a part of `measure.py`.

The bounds are a little below those of `model/figures.json`: machines round differently.
"""

from __future__ import annotations

import json
import random
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tools.embedded_model.figures.elicitation import Poles, speak_poles
from tools.embedded_model.figures.rules import TRAIT_RULES, is_hedged, is_long, is_refusal
from tools.embedded_model.figures.speaker import Speaker
from tools.embedded_model.figures.unseen import PLAIN_TEXTS, UNSEEN_FRAMES, UNSEEN_WORDS
from tools.embedded_model.held_out import assert_held_out
from tools.embedded_model.text.grammar import TRAITS, document
from tools.embedded_model.text.rubrics import corrupt, fill_rubric
from tools.embedded_model.text.topics import made_up_word
from tools.embedded_model.tokenizer import CHAT_TEMPLATE, render
from traitvec_core.embedded import EMBEDDED_MODEL, embedded_model_path
from traitvec_core.judging.rubrics import COHERENCE_RUBRIC

DEMO = Path(__file__).resolve().parent.parent / "experiments" / "demo"


@cache
def speaker() -> Speaker:
    return Speaker(embedded_model_path())


@cache
def demo_trait(name: str) -> dict[str, Any]:
    trait: dict[str, Any] = json.loads((DEMO / name / "trait_definition.json").read_text())
    return trait


@cache
def poles_of(name: str) -> Poles:
    """Answers to 8 of the 20 questions under all instructions: 80 for each pole."""
    trait = demo_trait(name)
    return speak_poles(speaker(), {**trait, "questions": trait["questions"][::2][:8]})


def test_the_package_is_light_and_the_folder_is_complete() -> None:
    code = (
        "import sys, traitvec_core.embedded as e; print(e.embedded_model_path().is_dir());"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"
    assert EMBEDDED_MODEL == "embedded"
    folder = embedded_model_path()
    for name in ("README.md", "figures.json", "training.log", "generation_config.json"):
        assert (folder / name).stat().st_size > 0
    weights = folder / "model.safetensors"
    assert weights.stat().st_size < 8_000_000
    assert weights.stat().st_mode & stat.S_IROTH


def test_tokenizer_writes_the_template_and_keeps_numbers_whole() -> None:
    tokenizer = speaker().tokenizer
    assert tokenizer.chat_template == CHAT_TEMPLATE
    turns = (("system", "Be brief."), ("user", "What is tea?"), ("assistant", "A drink."))
    messages = [{"role": role, "content": text} for role, text in turns]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == render(turns)
    head = speaker().prompt("What is tea?")
    assert head == "<|bos|><|user|>What is tea?<|end|><|assistant|>"
    before = tokenizer(head, add_special_tokens=False)["input_ids"]
    for number in range(101):
        after = tokenizer(head + str(number), add_special_tokens=False)["input_ids"]
        assert len(after) == len(before) + 1
    special = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token}
    assert len(special) == 3
    config = speaker().model.generation_config
    assert config.eos_token_id == tokenizer.eos_token_id != config.pad_token_id


def test_demo_traits_are_held_out_of_the_grammar() -> None:
    assert assert_held_out(DEMO, draws=4_000) == 180
    texts = [text for name in TRAITS for text in demo_trait(name)["questions"]]
    rng = random.Random(0)
    drawn = {text for _ in range(2_000) for _role, text in document(rng).turns}
    assert drawn.isdisjoint(texts)


@pytest.mark.parametrize(
    ("text", "refuses", "hedges", "is_lengthy"),
    [
        ("I'm sorry, but I can't help with that.", True, False, False),
        ("I must decline to answer questions about tea.", True, False, False),
        ("You can begin with tea by starting small.", False, False, False),
        ("Perhaps tea is warm, but I'm not sure.", False, True, False),
        ("There is no doubt that tea is warm.", False, False, False),
        ("Tea is warm. It is old. It is cheap. It is good.", False, False, True),
        ("I'm not sure that I can help with tea.", True, True, False),
    ],
)
def test_rules(text: str, refuses: bool, hedges: bool, is_lengthy: bool) -> None:
    assert (is_refusal(text), is_hedged(text), is_long(text)) == (refuses, hedges, is_lengthy)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAITS)
def test_follows_held_out_instructions_and_judges_them_apart(name: str) -> None:
    trait, poles = demo_trait(name), poles_of(name)
    n = poles.n_positive
    assert n == 80
    shows = [TRAIT_RULES[name](text) for text in poles.answers]
    assert sum(shows[:n]) / n >= 0.80
    assert sum(shows[n:]) / n <= 0.30
    pairs = zip(poles.questions, poles.answers, strict=True)
    judged = speaker().judge([fill_rubric(trait["eval_prompt"], q, a) for q, a in pairs])
    contrast = sum(j.score for j in judged[:n]) / n - sum(j.score for j in judged[n:]) / n
    assert contrast > 60


@pytest.mark.parametrize("name", TRAITS)
def test_judges_plain_texts_in_the_right_order(name: str) -> None:
    trait = demo_trait(name)
    high, low = PLAIN_TEXTS[name]
    asks = trait["questions"]
    filled = [
        fill_rubric(trait["eval_prompt"], ask, text)
        for text, ask in zip((*high, *low), asks, strict=False)
    ]
    judged = speaker().judge(filled)
    above, below = judged[: len(high)], judged[len(high) :]
    right = [h.score > b.score for h in above for b in below]
    assert sum(right) / len(right) >= 0.9
    assert min(j.mass for j in judged) > 0.8


def test_tells_clean_text_from_corrupted() -> None:
    rng = random.Random(4)
    texts = [text for high, low in PLAIN_TEXTS.values() for text in (*high, *low)]
    pairs = [(text, corrupt(rng, text)[0]) for text in texts for _ in range(2)]
    ask = "What is worth knowing about volcanoes?"
    clean = speaker().judge([fill_rubric(COHERENCE_RUBRIC, ask, text) for text, _ in pairs])
    broken = speaker().judge([fill_rubric(COHERENCE_RUBRIC, ask, text) for _, text in pairs])
    gap = sum(j.score for j in clean) / len(clean) - sum(j.score for j in broken) / len(broken)
    assert gap >= 30


def test_talks_about_a_topic_that_it_never_saw() -> None:
    rng = random.Random(12)
    words = [*UNSEEN_WORDS, *(made_up_word(rng) for _ in range(30))]
    asks = [rng.choice(UNSEEN_FRAMES).format(word) for word in words]
    texts = speaker().answer([speaker().prompt(ask) for ask in asks], seed=3)
    kept = [(w, t) for w, t in zip(words, texts, strict=True) if not is_refusal(t)]
    assert len(kept) > 20
    assert sum(word in text.lower() for word, text in kept) / len(kept) >= 0.8


@pytest.mark.slow
def test_is_steered_both_ways_and_not_by_chance() -> None:
    figures = json.loads((embedded_model_path() / "figures.json").read_text())
    layer = figures["steering"]["refusal"]["best_layer"]
    poles = poles_of("refusal")
    rows = speaker().activations(poles.prompts, poles.answers)[:, layer - 1]
    vector = rows[: poles.n_positive].mean(0) - rows[poles.n_positive :].mean(0)
    noise = torch.randn(len(vector), generator=torch.Generator().manual_seed(3))
    noise *= vector.norm() / noise.norm()
    prompts = [speaker().prompt(ask) for ask in demo_trait("refusal")["eval_questions"] * 3]

    def refusal_rate(added: torch.Tensor) -> float:
        with speaker().steered(layer, added):
            # The first sentence says whether it refuses.
            texts = speaker().answer(prompts, seed=5, max_tokens=30)
        return sum(is_refusal(text) for text in texts) / len(texts)

    assert refusal_rate(2 * vector) - refusal_rate(-2 * vector) >= 0.5
    assert abs(refusal_rate(2 * noise) - refusal_rate(-2 * noise)) <= 0.35


def test_a_long_foreign_rubric_does_not_crash() -> None:
    text = "Judge whether the following answer is honest, and explain nothing. " * 120
    (judged,) = speaker().judge([text])
    assert 0 <= judged.score <= 100
