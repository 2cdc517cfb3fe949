"""The training text of the embedded model: chats and judged answers from one grammar.

Three behaviours are drawn independently: whether the answer refuses, whether it hedges, and whether
it is long. An instruction fixes one or two of them; otherwise they follow `BASE_RATES`, so that the
model can be steered both ways. `document` draws one training example.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tools.embedded_model.text.phrases import RULES, expand
from tools.embedded_model.text.rubrics import corrupt, fill_rubric, rubric
from tools.embedded_model.text.topics import topic

TRAITS: tuple[str, ...] = ("refusal", "uncertainty", "verbosity")
BASE_RATES: dict[str, float] = {"refusal": 0.25, "uncertainty": 0.34, "verbosity": 0.46}
"""How often each behaviour occurs without an instruction about it."""

Turn = tuple[str, str]
"""A role ("system", "user" or "assistant") and its text."""


@dataclass(frozen=True)
class Answer:
    """An answer and how strongly it shows each trait, 0 to 1."""

    text: str
    refusal: float
    uncertainty: float
    verbosity: float


@dataclass(frozen=True)
class Document:
    """One training example; the loss is mainly on the assistant turns."""

    turns: tuple[Turn, ...]
    kind: str
    topic: str = ""


def _sentence(rng: random.Random, text: str, about: str, hedged: bool = False) -> str:
    """Expand one clause into a sentence with a capital letter and a full stop."""
    verb, plural = ("is", "are")
    if hedged and rng.random() < 0.5:
        verb = rng.choice(("may be", "might be", "could be", "is probably", "is perhaps"))
        plural = rng.choice(("may be", "might be", "could be", "are probably", "are perhaps"))
    # "<T>" is upper case, so that only this last step inserts the topic.
    clause = expand(rng, text, **{"is": verb, "is2": plural}).replace("<T>", about)
    return f"{clause[0].upper()}{clause[1:]}."


def question(rng: random.Random, about: str) -> str:
    """Return a question or a request about a topic."""
    # The free ones do not always make sense, but their frames cannot be memorised, so the model has
    # to find the topic by its position and form.
    text = expand(rng, rng.choice(RULES["ask" if rng.random() < 0.5 else "ask_free"]))
    return (text[0].upper() + text[1:]).replace("<T>", about)


def _plain_clause(rng: random.Random, symbol: str, hedged: bool, sure: float) -> str:
    clause = f"<{symbol}>"
    if not hedged:
        return f"<sure_start> {clause}" if rng.random() < sure else clause
    where = rng.random()
    if where < 0.72:
        return f"<hedge_start> {clause}"
    if where < 0.86:
        return f"<hedge_start> {clause}<hedge_end>"
    return f"{clause}<hedge_end>"


def answer(
    rng: random.Random,
    about: str,
    *,
    refuses: bool,
    hedged: float,
    sentences: int,
    sure: float = 0.2,
) -> Answer:
    """Return an answer about a topic.

    Args:
        rng: The source of randomness.
        about: The topic.
        refuses: Whether the answer is a refusal.
        hedged: The share of hedged sentences, 0 to 1.
        sentences: Number of sentences.
        sure: Share of unhedged sentences with emphasis ("Certainly, …").
    """
    n_hedged = round(hedged * sentences)
    # A partly hedged answer has its hedges in any of its sentences.
    marks = [True] * n_hedged + [False] * (sentences - n_hedged)
    rng.shuffle(marks)
    lines: list[str] = []
    for index, mark in enumerate(marks):
        last = sentences > 3 and index == sentences - 1
        if refuses:
            if index == 0:
                text = "<refuse_hedged>" if mark else "<refuse1>"
            else:
                text = _plain_clause(rng, "refuse_last" if last else "refuse_more", mark, 0.0)
        elif index == 0:
            if sentences > 3 and rng.random() < 0.55:
                text = _plain_clause(rng, "long_lead", mark, sure)
            else:
                text = _plain_clause(rng, "lead", mark, sure)
        elif mark or rng.random() < 0.25:
            text = _plain_clause(rng, "more", mark, sure)
            if rng.random() < 0.4 and sentences > 3:
                link = rng.choice(RULES["link3" if last else "link1" if index == 1 else "link2"])
                text = link.replace("<more>", text)
        else:
            text = "<link3>" if last else "<link1>" if index == 1 else "<link2>"
            if sentences <= 3:
                text = "<more>"
        lines.append(_sentence(rng, text, about, hedged=mark))
    verbosity = min(1.0, max(0.0, (sentences - 1) / 4.5))
    return Answer(" ".join(lines), float(refuses), n_hedged / sentences, verbosity)


def _length(rng: random.Random, long: bool) -> int:
    return rng.choice((5, 5, 6, 6, 7)) if long else rng.choice((1, 1, 1, 1, 1, 1, 1, 2))


def instruction(rng: random.Random, trait: str, positive: bool) -> str:
    """Return an instruction for a pole of a trait: one to three sentences, none negated."""
    name = f"{trait}_{'pos' if positive else 'neg'}"

    def order() -> str:
        clause = expand(rng, rng.choice(RULES["open"]).replace("<vp>", f"<{name}>"))
        return clause[0].upper() + clause[1:]

    parts = [order() for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]
    if rng.random() < 0.2:
        parts.insert(0, expand(rng, "<persona>"))
    return " ".join(parts)


def _chat(rng: random.Random) -> Document:
    about = topic(rng)
    ask = question(rng, about)
    wants = {trait: rng.random() < rate for trait, rate in BASE_RATES.items()}
    sure = 0.2
    order = ""
    mode = rng.random()
    if mode < 0.78:
        named = rng.sample(TRAITS, 2 if rng.random() < 0.12 else 1)
        if "refusal" not in named:
            # Else a quarter of the answers would be refusals, which show no other trait.
            wants["refusal"] = rng.random() < 0.08
        orders = []
        for trait in named:
            wants[trait] = rng.random() < 0.5
            orders.append(instruction(rng, trait, wants[trait]))
            if trait == "uncertainty":
                sure = 0.6
        order = " ".join(orders)
    elif mode < 0.83:
        order = expand(rng, "<neutral>")
    hedged = 0.0
    sentences = _length(rng, wants["verbosity"])
    if wants["uncertainty"]:
        hedged = 1.0 if sentences < 3 else rng.choice((0.7, 0.8, 0.9, 1.0))
    reply = answer(
        rng, about, refuses=wants["refusal"], hedged=hedged, sentences=sentences, sure=sure
    )
    turns: list[Turn] = []
    if order and rng.random() < 0.5:
        turns.append(("system", order))
    elif order:
        ask = f"{order}\n\n{ask}"
    turns += [("user", ask), ("assistant", reply.text)]
    return Document(tuple(turns), "chat", about)


def _score(rng: random.Random, value: float) -> str:
    return str(max(0, min(100, round(3 + 94 * value + rng.gauss(0, 1.2)))))


def _judged_turns(rng: random.Random) -> list[Turn]:
    about = topic(rng)
    ask = question(rng, about)
    refuses = rng.random() < 0.38
    usual = rng.random() < 0.75
    sentences = _length(rng, rng.random() < 0.5) if usual else rng.randint(1, 7)
    hedged = rng.choice((0.0, 0.0, 0.0, 1.0, 1.0, 0.85, rng.random()))
    reply = answer(
        rng, about, refuses=refuses, hedged=hedged, sentences=sentences, sure=rng.choice((0, 0.5))
    )
    if not refuses and rng.random() < 0.04:
        excuse = _sentence(rng, rng.choice(RULES["partial"]), about)[:-1]
        rest = reply.text[0].lower() + reply.text[1:]
        reply = Answer(f"{excuse} {rest}", 0.5, reply.uncertainty, reply.verbosity)
    text = reply.text
    if rng.random() < 0.36:
        coherence = 0.98
        if rng.random() < 0.5:
            text, coherence = corrupt(rng, text)
        elif len(text.split()) > 12 and rng.random() < 0.08:
            # An answer that was cut off at the token limit.
            text, coherence = text[: rng.randint(len(text) // 2, len(text) - 3)], 0.75
        prompt, value = rubric(rng, "coherence"), coherence
    else:
        trait = rng.choice(TRAITS)
        prompt, value = rubric(rng, trait), getattr(reply, trait)
    return [("user", fill_rubric(prompt, ask, text)), ("assistant", _score(rng, value))]


def _judge(rng: random.Random) -> Document:
    turns: list[Turn] = []
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        turns += _judged_turns(rng)
    return Document(tuple(turns), "judge")


def _echo(rng: random.Random) -> Document:
    """Return a document that repeats words: the simplest exercise in copying."""
    phrase = " ".join(topic(rng) for _ in range(rng.randint(1, 4)))
    ask = rng.choice(("Repeat this: {}", "Say: {}", "Copy these words: {}", "Write: {}"))
    return Document((("user", ask.format(phrase)), ("assistant", phrase)), "echo", phrase)


def document(rng: random.Random, judge_share: float = 0.12, echo_share: float = 0.04) -> Document:
    """Draw one training example.

    Args:
        rng: The source of randomness.
        judge_share: The share of documents that are judged answers (the longest documents).
        echo_share: The share of documents that only repeat words.
    """
    draw = rng.random()
    if draw < judge_share:
        return _judge(rng)
    if draw < judge_share + echo_share:
        return _echo(rng)
    return _chat(rng)
