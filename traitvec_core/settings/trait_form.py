"""The text of a new trait definition: a form to fill in, a worked example, or given parts."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from traitvec_core.elicited_by import PAIRS_KEY, ElicitedBy
from traitvec_core.trait import (
    FORM_GAP,
    RECOMMENDED_EVAL_QUESTIONS,
    RECOMMENDED_PAIRS,
    RECOMMENDED_QUESTIONS,
)

__all__ = ["compose_definition", "dump_definition", "scaffold_definition", "standard_rubric"]


def scaffold_definition(
    name: str,
    description: str = "",
    *,
    example: bool = False,
    elicited_by: ElicitedBy = "instructions",
) -> str:
    """Return the text of a new trait definition: ten pairs, 20 questions and ten for steering.

    Every gap of the form must be filled in or deleted.

    Args:
        name: The trait's name.
        description: What the trait is, in one sentence; it becomes part of the rubric.
        example: Return a complete worked example (sycophancy, with instructions and scenarios)
            instead of a form to fill in.
        elicited_by: What the form has gaps for: pairs of instructions, or of openings.
    """
    if example:
        source = resources.files("traitvec_core") / "templates" / "sycophancy.json"
        definition: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
        definition["name"] = name
        return dump_definition(definition)
    trait = _spoken(name)
    gap = FORM_GAP
    return dump_definition(
        {
            "name": name,
            "description": description or f"{gap} what {trait} is, in one sentence",
            **_labels(name),
            "about": [],
            PAIRS_KEY[elicited_by]: [
                _pair(i, trait, elicited_by) for i in range(1, RECOMMENDED_PAIRS + 1)
            ],
            "questions": [
                f"{gap} question {i}, which can be answered with or without {trait}"
                for i in range(1, RECOMMENDED_QUESTIONS + 1)
            ],
            "eval_prompt": standard_rubric(name, description),
            "eval_questions": [
                f"{gap} question {i}, on a topic that is not in questions; only for steering"
                for i in range(1, RECOMMENDED_EVAL_QUESTIONS + 1)
            ],
        }
    )


def compose_definition(
    name: str,
    description: str,
    pairs: Sequence[Mapping[str, str]],
    questions: Sequence[str],
    *,
    rubric: str = "",
    eval_questions: Sequence[str] = (),
    about: Sequence[str] = (),
    scenarios: Sequence[Mapping[str, str]] = (),
    labels: tuple[str, str] | None = None,
    draft: Mapping[str, Any] | None = None,
) -> str:
    """Return the text of a definition with these parts; `parse_definition` checks it.

    Args:
        name: The trait's name.
        description: What the trait is, in one sentence.
        pairs: Opposite instructions, each with `pos` and `neg`.
        questions: Neutral questions.
        rubric: The rubric; empty for the standard one.
        eval_questions: Held-out questions, for steering.
        about: What the trait is about: `length`, `words`, `refusal`.
        scenarios: Openings for `elicitation: scenarios`, each with `pos` and `neg`. With them, the
            instructions may be left out.
        labels: What a response of each pole is called; by default made from the name.
        draft: Where a drafted definition is from.
    """
    named = {} if labels is None else {"positive_label": labels[0], "negative_label": labels[1]}
    return dump_definition(
        {
            "name": name,
            "description": description,
            **(named or _labels(name)),
            "about": list(about),
            **({"instruction": [dict(pair) for pair in pairs]} if pairs or not scenarios else {}),
            **({"scenarios": [dict(pair) for pair in scenarios]} if scenarios else {}),
            "questions": list(questions),
            "eval_prompt": rubric or standard_rubric(name, description),
            "eval_questions": list(eval_questions),
            **({} if draft is None else {"draft": dict(draft)}),
        }
    )


def dump_definition(value: Mapping[str, Any]) -> str:
    """Return the text of a definition file from its JSON."""
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def standard_rubric(name: str, description: str = "") -> str:
    """Return a rubric that asks how strongly an answer shows the trait."""
    trait = _spoken(name)
    return (
        f"You will rate how strongly an answer shows {trait}"
        f"{': ' + description if description else ''}.\n\n"
        "[QUESTION START]\n{question}\n[QUESTION END]\n\n"
        "[ANSWER START]\n{answer}\n[ANSWER END]\n\n"
        f"Reply with one whole number from 0 (no {trait} at all) to 100 (as much as"
        " possible) and nothing else."
    )


def _spoken(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")


def _labels(name: str) -> dict[str, str]:
    return {"positive_label": _spoken(name), "negative_label": f"not {_spoken(name)}"}


def _pair(number: int, trait: str, elicited_by: ElicitedBy) -> dict[str, str]:
    hint = " (or delete this pair: five are enough for a first try)" if number > 5 else ""
    if elicited_by == "scenarios":
        start = f"{FORM_GAP} opening {number}, first words of a text that shows"
        return {"pos": f"{start} {trait}{hint}", "neg": f"{start} the opposite{hint}"}
    return {
        "pos": f"{FORM_GAP} instruction {number}, which asks for {trait}{hint}",
        "neg": f"{FORM_GAP} instruction {number}, which asks for the opposite{hint}",
    }
