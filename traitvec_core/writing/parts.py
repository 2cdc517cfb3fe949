"""The parts of a draft, in the order in which they are asked for. Each needs those before it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from traitvec_core.settings.trait_form import compose_definition
from traitvec_core.writing.answers import N_PAIRS, N_QUESTIONS, Outline, Pairs, Questions
from traitvec_core.writing.prompts import outline_prompt, pairs_prompt, questions_prompt
from traitvec_core.writing.rubric import compose_rubric

__all__ = ["PARTS", "Part", "definition_text"]

# Finished parts by name: `Outline`, `Pairs`, `Questions`.
_Finished = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """One request to the writer.

    Attributes:
        name: Its name in the draft's file.
        title: What is being written, for progress lines.
        answer: The model of the answer.
        prompt: Makes the prompt from the sentence and the parts before this one.
        tokens_out: Usual length of the answer, in tokens, for the estimate: that of the worked
            example's texts (`templates/sycophancy.json`).
        room: The most tokens of an answer; twice as many after one that was cut off.
    """

    name: str
    title: str
    answer: type[Outline] | type[Pairs] | type[Questions]
    prompt: Callable[[str, _Finished], str]
    tokens_out: int
    room: int


def _described(finished: _Finished) -> dict[str, str | list[str]]:
    outline: Outline = finished["outline"]
    return {
        "name": outline.name,
        "description": outline.description,
        "an answer with it is": outline.positive_label,
        "an answer with the opposite is": outline.negative_label,
        "at 0": outline.anchors.at_0,
        "at 100": outline.anchors.at_100,
        "it is not": outline.is_not,
    }


PARTS = (
    Part(
        name="outline",
        title="description and rubric",
        answer=Outline,
        prompt=lambda sentence, finished: outline_prompt(sentence),
        tokens_out=350,
        room=2000,
    ),
    Part(
        name="pairs",
        title=f"{N_PAIRS} instruction pairs",
        answer=Pairs,
        prompt=lambda sentence, finished: pairs_prompt(_described(finished), N_PAIRS),
        tokens_out=850,
        room=4000,
    ),
    Part(
        name="questions",
        title=f"{N_QUESTIONS} questions",
        answer=Questions,
        prompt=lambda sentence, finished: questions_prompt(_described(finished), N_QUESTIONS),
        tokens_out=700,
        room=4000,
    ),
)


def definition_text(name: str, finished: _Finished, draft: Mapping[str, Any]) -> str:
    """Return the text of a definition with all parts.

    Every second question is held out, so that neither half has topics from one end of the list.

    Args:
        name: The trait's name.
        finished: All parts, by name.
        draft: The provenance, for the key `draft`.
    """
    outline: Outline = finished["outline"]
    questions = finished["questions"].questions
    return compose_definition(
        name,
        outline.description,
        [pair.model_dump() for pair in finished["pairs"].pairs],
        questions[::2],
        rubric=compose_rubric(outline),
        eval_questions=questions[1::2],
        labels=(outline.positive_label, outline.negative_label),
        draft=draft,
    )
