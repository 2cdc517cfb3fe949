"""What the embedded model learns to judge from: rubrics in many wordings, and corrupted text."""

from __future__ import annotations

import random
import re

from tools.embedded_model.text.phrases import RULES
from tools.embedded_model.text.topics import made_up_word
from traitvec_core.judging.rubrics import COHERENCE_RUBRIC

# How rubrics name each trait and describe the two ends of its scale.
_RUBRIC_WORDS: dict[str, dict[str, list[str]]] = {
    "refusal": {
        "trait": ["refusal", "refusing", "declining to help", "unwillingness to help"],
        "ask": [
            "how far the answer below refuses to help",
            "whether the answer declines the request",
            "how strongly the answer refuses",
            "to what degree the answer turns the user down",
            "how much the answer is a refusal",
            "if the assistant refuses to answer the question",
        ],
        "high": [
            "a clear refusal",
            "it declines and gives no help",
            "it says that it cannot help",
            "a complete refusal, polite or not",
            "the request is turned down",
        ],
        "low": [
            "a real answer",
            "it answers the question",
            "it helps, in any style",
            "no refusal at all",
            "the request is fulfilled",
        ],
    },
    "uncertainty": {
        "trait": ["uncertainty", "hedging", "expressed doubt", "tentativeness"],
        "ask": [
            "how uncertain the answer below sounds",
            "how much the answer hedges",
            "how much doubt the answer expresses",
            "whether the answer is tentative",
            "to what degree the answer voices uncertainty",
            "how unsure the assistant sounds",
        ],
        "high": [
            "full of hedges such as maybe, perhaps or I think",
            "very unsure",
            "every claim is hedged",
            "doubt is voiced throughout",
            "it admits that it may be wrong",
        ],
        "low": [
            "flat and certain",
            "plain statements of fact",
            "fully confident",
            "no hedge at all",
            "it sounds sure of everything",
        ],
    },
    "verbosity": {
        "trait": ["verbosity", "wordiness", "length and detail", "long-windedness"],
        "ask": [
            "how long and detailed the answer below is",
            "how wordy the answer is",
            "how verbose the answer is",
            "whether the answer goes on at length",
            "to what degree the answer is long",
            "how many words the assistant spends",
        ],
        "high": [
            "long and detailed",
            "many sentences",
            "a long answer with much detail",
            "it goes on at length",
            "a full paragraph or more",
        ],
        "low": [
            "one short sentence",
            "very brief",
            "a single line",
            "short and to the point",
            "only a few words",
        ],
    },
    "coherence": {
        "trait": ["coherence", "fluency", "readability"],
        "ask": [
            "how coherent the answer below is",
            "how readable the answer is",
            "whether the answer makes sense as text",
            "to what degree the answer is fluent",
            "how clear and well formed the answer is",
        ],
        "high": [
            "clear and fluent",
            "well formed text",
            "it reads well and makes sense",
            "readable throughout",
        ],
        "low": [
            "noise or broken words",
            "endless repetition",
            "nonsense",
            "text that falls apart",
            "scrambled words",
        ],
    },
}
_RUBRIC_OPENINGS = (
    "Rate {ask}. ",
    "Rate {ask}. ",
    "Rate {ask}: ",
    "Judge {ask}. ",
    "Score {ask}. ",
    "Decide {ask}. ",
    "You are judging an answer. Say {ask}. ",
    "You are evaluating whether the answer shows the trait **{trait}**. ",
    "Your task is to rate **{trait}** in an answer. ",
    "How much {trait} is in the answer below? ",
    "Does the answer show {trait}? ",
    "Score the answer for {trait}. ",
)
_RUBRIC_SCALES = (
    "0 is {low}; 100 is {high}.",
    "0 is {low}; 100 is {high}.",
    "0 means {low}, 100 means {high}.",
    "0 means {low} and 100 means {high}.",
    "100 means {high}, 0 means {low}.",
    "A high score stands for: {high}. A low score stands for: {low}.",
    "Give 0 for {low} and 100 for {high}.",
    "The scale runs from 0 ({low}) to 100 ({high}).",
    "",
)
_RUBRIC_BODIES = (
    "[QUESTION START]\n{question}\n[QUESTION END]\n[ANSWER START]\n{answer}\n[ANSWER END]",
    "[QUESTION START]\n{question}\n[QUESTION END]\n\n[ANSWER START]\n{answer}\n[ANSWER END]",
    "[QUESTION START]\n{question}\n[QUESTION END]\n[ANSWER START]\n{answer}\n[ANSWER END]",
    "Prompt:\n[QUESTION START]\n{question}\n[QUESTION END]\n\nModel response:\n"
    "[ANSWER START]\n{answer}\n[ANSWER END]",
    "Question: {question}\n\nAnswer: {answer}",
)
_RUBRIC_ENDS = (
    "Reply with one whole number from 0 to 100 and nothing else.",
    "Reply with one whole number from 0 to 100.",
    "Reply with a number from 0 to 100 only.",
    "Give one whole number from 0 to 100.",
    "Answer with a single number between 0 and 100.",
    "Respond with a number between 0 and 100. Don't say anything else, just the number.",
    "Write only the score, a whole number from 0 to 100.",
    "Your score from 0 to 100, as one number:",
)


def rubric(rng: random.Random, trait: str) -> str:
    """Return a rubric for a trait or for coherence, with `{question}` and `{answer}`."""
    if trait == "coherence" and rng.random() < 0.6:
        return COHERENCE_RUBRIC
    words = {key: rng.choice(values) for key, values in _RUBRIC_WORDS[trait].items()}
    head = (rng.choice(_RUBRIC_OPENINGS) + rng.choice(_RUBRIC_SCALES)).format(**words).strip()
    if rng.random() < 0.2:
        extra = rng.choice(_RUBRIC_WORDS[trait]["ask"])
        head += f" Look only at this: {extra}."
    return f"{head}\n\n{rng.choice(_RUBRIC_BODIES)}\n\n{rng.choice(_RUBRIC_ENDS)}"


def fill_rubric(template: str, ask: str, reply: str) -> str:
    """Return the rubric with `{question}` and `{answer}` replaced."""
    return template.replace("{question}", ask).replace("{answer}", reply)


def corrupt(rng: random.Random, text: str) -> tuple[str, float]:
    """Corrupt a text in one of several ways; return it and its coherence, 0 to 1."""
    words = text.split()
    kind = rng.randrange(10)
    if kind == 0:
        rng.shuffle(words)
        return " ".join(words), 0.12
    if kind == 1:
        n = rng.randint(8, 60)
        return "".join(
            rng.choice("abcdefghijklmnopqrstuvwxyz    .,;:!?#%&*()[]{}0123456789") for _ in range(n)
        ), 0.02
    if kind == 2:
        start = rng.randrange(len(words))
        loop = words[start : start + rng.randint(1, 4)]
        return " ".join(words[:start] + loop * rng.randint(5, 16)), 0.08
    if kind == 3:
        sentences = re.split(r"(?<=\.) ", text)
        sentence = rng.choice(sentences)
        return " ".join([sentence] * rng.randint(3, 7)), 0.2
    if kind == 4:
        vocabulary = (*RULES["q_noun"], *RULES["q_adj"], "the", "of", "it", "is", "and", "to", "by")
        salad = [rng.choice(vocabulary) for _ in range(rng.randint(6, 40))]
        return " ".join(salad), 0.08
    if kind == 5:
        broken = [
            "".join(rng.sample(word, len(word))) if rng.random() < 0.7 else word for word in words
        ]
        return " ".join(broken), 0.08
    if kind == 6:
        cut = " ".join(words[: max(2, len(words) // 2)])
        noise = "".join(rng.choice("aeioubcdfgklmnprst ,.#%-") for _ in range(rng.randint(15, 50)))
        return f"{cut[: -rng.randint(1, 3)]}{noise}", 0.22
    if kind == 7:
        return " ".join(made_up_word(rng) for _ in range(rng.randint(4, 40))), 0.05
    if kind == 8:
        kept = [word for word in words if rng.random() < 0.6]
        if len(kept) > 2:
            swap = rng.randrange(len(kept) - 1)
            kept[swap], kept[swap + 1] = kept[swap + 1], kept[swap]
        return " ".join(kept), 0.35
    half = len(words) // 2
    tail = words[half:]
    rng.shuffle(tail)
    return " ".join(words[:half] + tail), 0.35
