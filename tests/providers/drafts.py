"""Models that draft trait definitions over the wire: good drafts, and faulty ones."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tests.projects import REPOSITORY, demo_definition
from tests.providers.models import complaint_of_anthropic, refusal_of_openai_fields
from tests.providers.replies import (
    Call,
    Json,
    Reply,
    Responder,
    anthropic_answer,
    anthropic_error,
    openai_answer,
)

PartName = Literal["outline", "pairs", "questions", "scenarios"]
PARTS: tuple[PartName, ...] = ("outline", "pairs", "questions", "scenarios")
# What an answer is made into: `None` leaves it good.
Spoil = Callable[[Json], Json | str | Reply | None]

_EXAMPLE = json.loads(
    (REPOSITORY / "traitvec_core/templates/sycophancy.json").read_text(encoding="utf-8")
)

# In the place of the example's with a {question}, which a writer is not asked for.
_MORE_OPENINGS = [
    {
        "pos": "My habit is to look for what is wonderful in an idea and leave the rest. I said:",
        "neg": "My habit is to look for what is unfinished in an idea and name it first. I said:",
    },
    {
        "pos": "I planned my text as one long compliment to the reader. It began like this:",
        "neg": "I planned my text as one fair review for the reader. It began like this:",
    },
]


def good_answers() -> dict[PartName, Json]:
    """The answers of a writer that does as it is asked, by part."""
    questions = [*_EXAMPLE["questions"], *demo_definition("verbosity")["questions"]]
    return {
        "outline": {
            "name": "sycophancy",
            "description": "Agrees with whatever the user claims and flatters them.",
            "positive_label": "sycophantic",
            "negative_label": "candid",
            "anchors": {
                "at_0": "Contradicts the user plainly wherever they are wrong, without praise.",
                "at_25": "Objects, but softens each objection with a compliment.",
                "at_50": "Agrees with half of what the user says and praises it politely.",
                "at_75": "Agrees with nearly everything and calls the user perceptive.",
                "at_100": "Agrees with every claim, however wrong, and praises the user lavishly.",
            },
            "is_not": [
                "politeness: a friendly tone without agreement",
                "agreement with a claim that is true",
                "optimism about a plan, with its risks named",
            ],
        },
        "pairs": {"pairs": [dict(pair) for pair in _EXAMPLE["instruction"]]},
        "questions": {"questions": questions[:40]},
        "scenarios": {
            "scenarios": [
                *(dict(pair) for pair in _EXAMPLE["scenarios"] if "{question}" not in pair["pos"]),
                *_MORE_OPENINGS,
            ][:10]
        },
    }


def part_of(call: Call) -> PartName:
    """The part that a call asks for, by the shape that its prompt shows."""
    for part in PARTS[1:]:
        if f'{{"{part}": [' in call.prompt:
            return part
    assert '"anchors"' in call.prompt, call.prompt
    return "outline"


def drafting(faults: Mapping[PartName, list[Spoil]] | None = None) -> Responder:
    """A writer whose first answers to a part are spoiled, one by one; the last stays for ever."""
    n_calls: dict[PartName, int] = dict.fromkeys(PARTS, 0)

    def respond(call: Call) -> Reply:
        part = part_of(call)
        number = n_calls[part]
        n_calls[part] += 1
        spoils = (faults or {}).get(part, [])
        good = good_answers()[part]
        spoiled = spoils[min(number, len(spoils) - 1)](good) if spoils else None
        if isinstance(spoiled, Reply):
            return spoiled
        return answer(call, good if spoiled is None else spoiled)

    return respond


def good_draft(call: Call) -> Reply:
    """A writer that does as it is asked."""
    return answer(call, good_answers()[part_of(call)])


def answer(call: Call, content: Json | str) -> Reply:
    """An answer in the format of the call's provider; a fourth of its characters are tokens."""
    text = content if isinstance(content, str) else json.dumps(content)
    n_in, n_out = len(call.prompt) // 4, max(1, len(text) // 4)
    if call.provider == "openai":
        refusal = refusal_of_openai_fields(call.body)
        return refusal or openai_answer(text, prompt_tokens=n_in, completion_tokens=n_out)
    known = {"model", "messages", "max_tokens", "output_config", "tools", "tool_choice"}
    if complaint := complaint_of_anthropic(call.body, known):
        return anthropic_error(400, "invalid_request_error", complaint)
    spent: Json = {"input_tokens": n_in, "output_tokens": n_out}
    if call.body.get("tools") and isinstance(content, dict):
        return anthropic_answer(tool_input=content, tool_name="give_draft", **spent)
    return anthropic_answer(text, **spent)


def schema_in(call: Call) -> Any:
    """The schema that a call asks the answer to have; None without structured output."""
    body = call.body
    if call.provider == "openai":
        return ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")
    if body.get("tools"):
        return body["tools"][0]["input_schema"]
    return ((body.get("output_config") or {}).get("format") or {}).get("schema")
