"""What a trait is: pairs of opposite instructions, neutral questions, a rubric.

The file format is that of persona vectors (Chen et al. 2025, arXiv:2507.21509), read unchanged.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from traitvec_core.errors import DefinitionError, TraitvecError

__all__ = [
    "InstructionPair",
    "Pole",
    "TraitDefinition",
    "check_name",
    "fill_rubric",
    "parse_definition",
    "scaffold_definition",
]

Pole = Literal["pos", "neg"]

# A partition key becomes a folder, so nothing but this may pass (no dot, no slash, no space).
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_MAX_NAME_CHARS = 100
# Far above any real rubric, far below what would stall a tokenizer or fill a prompt.
_MAX_TEXT_CHARS = 20_000
_MAX_FILE_BYTES = 20_000_000
# The scaffold's gaps start with this, and a definition that still holds one is not ready.
_GAP = "FILL IN:"


class InstructionPair(BaseModel):
    """Two opposite instructions, one for each pole of the trait."""

    model_config = ConfigDict(extra="ignore", strict=True)

    pos: str
    neg: str


class TraitDefinition(BaseModel):
    """A trait as the user wrote it: see `parse_definition` for how it is checked.

    Attributes:
        instruction: Pairs of opposite instructions; 5 in the usual setting.
        questions: Neutral questions used to extract; 20 in the usual setting.
        eval_prompt: The rubric, holding `{question}` and `{answer}`.
        eval_questions: Held-out questions, for steering.
        warnings: What is allowed but unusual, one line each. Not part of the file.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    instruction: list[InstructionPair]
    questions: list[str]
    eval_prompt: str
    name: str = ""
    description: str = ""
    positive_label: str = "positive"
    negative_label: str = "negative"
    eval_questions: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list, exclude=True)

    @property
    def elicitation_hash(self) -> str:
        """Hash of what determines the responses: the instructions and the questions."""
        pairs = [pair.model_dump() for pair in self.instruction]
        return _hash({"instruction": pairs, "questions": self.questions})

    @property
    def rubric_hash(self) -> str:
        """Hash of what determines the judgements, given the responses."""
        return _hash(self.eval_prompt)

    @property
    def content_hash(self) -> str:
        """Hash of everything in the definition."""
        return _hash(self.model_dump())


def check_name(kind: str, name: str) -> str:
    """Return `name` if it may become a folder.

    Args:
        kind: What is named, for the message: "trait" or "experiment".
        name: The name to check.

    Raises:
        TraitvecError: If the name holds anything but `a-z 0-9 _ -`, or starts with `_` or `-`.
    """
    if _NAME.fullmatch(name) and len(name) <= _MAX_NAME_CHARS:
        return name
    shown = name if len(name) <= 60 else f"{name[:60]}…"
    raise TraitvecError(
        f"{kind} name {shown!r} cannot be used: a name becomes a folder, so use lower-case letters,"
        f" digits, '_' and '-', start with a letter or digit, at most {_MAX_NAME_CHARS} characters"
    )


def parse_definition(data: bytes, where: str) -> TraitDefinition:
    """Read a trait definition and report every problem in it at once.

    Args:
        data: The file's bytes: UTF-8 JSON, with or without a byte-order mark.
        where: How to name the file in messages.

    Returns:
        The definition, with `warnings` filled.

    Raises:
        DefinitionError: If anything in it cannot be used; it lists all problems.
    """
    try:
        raw = _load_json(data, where)
        problems = [*_structure_problems(raw), *_text_problems(raw, "")]
    except RecursionError:
        raise DefinitionError(where, ["is nested too deeply to be a trait definition"]) from None
    if problems:
        raise DefinitionError(where, problems)
    try:
        definition = TraitDefinition.model_validate(
            {key: value for key, value in raw.items() if key != "warnings"}
        )
    except ValidationError as error:
        raise DefinitionError(where, _validation_lines(error)) from None
    definition.warnings = _warnings(definition, raw)
    return definition


def fill_rubric(rubric: str, question: str, answer: str) -> str:
    """Put a question and an answer into a rubric by plain replacement.

    Other braces in the rubric are text. The answer cannot close the rubric's own delimiters: any
    bracketed tag of the rubric that occurs in the question or the answer is broken up with a
    zero-width space.
    """
    delimiters = re.findall(
        r"\[[^\[\]{}\n]{1,40}\]|</?[A-Za-z][^<>{}\n]{0,40}>|`{3,}|\"{3,}", rubric
    )
    texts = {
        "{question}": break_up(question, delimiters),
        "{answer}": break_up(answer, delimiters),
    }
    # One pass, so that a "{answer}" inside the question stays text.
    return re.sub(r"\{question\}|\{answer\}", lambda match: texts[match.group()], rubric)


def break_up(text: str, forbidden: list[str]) -> str:
    """Insert a zero-width space into every occurrence of the forbidden strings."""
    for token in dict.fromkeys(forbidden):
        if token in text:
            # Looking ahead, so that occurrences that overlap (four backticks hold three twice) are
            # broken too.
            start, rest = re.escape(token[:1]), re.escape(token[1:])
            text = re.sub(f"({start})(?={rest})", "\\1\u200b", text)
    return text


def scaffold_definition(name: str, description: str = "", *, example: bool = False) -> str:
    """Return the text of a new trait definition.

    Args:
        name: The trait's name.
        description: What the trait is, in a sentence; goes into the rubric.
        example: A complete worked example (sycophancy) in place of a form to fill in.
    """
    if example:
        source = resources.files("traitvec_core") / "templates" / "sycophancy.json"
        definition: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
        definition["name"] = name
        return _dump(definition)
    trait = name.replace("_", " ").replace("-", " ")
    gap = _GAP
    return _dump(
        {
            "name": name,
            "description": description or f"{gap} what {trait} is, in a sentence",
            "positive_label": trait,
            "negative_label": f"not {trait}",
            "instruction": [
                {
                    "pos": f"{gap} wording {i} of an instruction to show {trait} strongly",
                    "neg": f"{gap} wording {i} of an instruction to do the opposite",
                }
                for i in range(1, 6)
            ],
            "questions": [
                f"{gap} question {i}, which can be answered with or without {trait}"
                for i in range(1, 21)
            ],
            "eval_prompt": (
                f"You will rate how strongly an answer shows {trait}"
                f"{': ' + description if description else ''}.\n\n"
                "[QUESTION START]\n{question}\n[QUESTION END]\n\n"
                "[ANSWER START]\n{answer}\n[ANSWER END]\n\n"
                f"Reply with one whole number from 0 (no {trait} at all) to 100 (as much as"
                " possible) and nothing else."
            ),
            "eval_questions": [],
        }
    )


def _load_json(data: bytes, where: str) -> dict[str, Any]:
    if len(data) > _MAX_FILE_BYTES:
        raise DefinitionError(
            where, [f"is {len(data):,} bytes long; a definition has at most {_MAX_FILE_BYTES:,}"]
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DefinitionError(
            where, [f"is not UTF-8 (byte {error.start}); save it as UTF-8"]
        ) from None
    if not text.strip():
        raise DefinitionError(
            where, ["is empty; `traitvec new-trait … --force` writes a form to fill in"]
        )
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise DefinitionError(
            where,
            [f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"],
        ) from None
    except ValueError:
        # Python refuses to read integers of thousands of digits.
        raise DefinitionError(where, ["holds a number too long to read; remove it"]) from None
    if not isinstance(raw, dict):
        raise DefinitionError(
            where,
            [
                f"holds a JSON {type(raw).__name__}, not an object with instruction, questions and"
                " eval_prompt; this is no trait definition"
            ],
        )
    return raw


def _structure_problems(raw: Mapping[str, Any]) -> list[str]:
    problems: list[str] = []
    pairs = raw.get("instruction")
    if not isinstance(pairs, list) or not pairs:
        problems.append(
            'instruction must be a list of at least one {"pos": …, "neg": …} pair'
            + ("" if "instruction" in raw else " (the key is missing)")
        )
    else:
        for index, pair in enumerate(pairs):
            problems.extend(_pair_problems(index, pair))
    questions = raw.get("questions")
    if not isinstance(questions, list) or len(questions) < 2:
        count = len(questions) if isinstance(questions, list) else "no list"
        problems.append(
            f"questions must be a list of at least 2 questions (found {count}):"
            " held-out figures need some questions to hold out"
        )
    if not isinstance(raw.get("eval_questions", []), list):
        problems.append("eval_questions must be a list of questions (leave it out for none)")
    for key in ("questions", "eval_questions"):
        found = raw.get(key)
        for index, question in enumerate(found if isinstance(found, list) else []):
            if not isinstance(question, str) or not question.strip():
                problems.append(f"{key}[{index}] must be a non-empty string")
    for key in ("name", "description", "positive_label", "negative_label"):
        if not isinstance(raw.get(key, ""), str):
            problems.append(f"{key} must be a string")
    rubric = raw.get("eval_prompt")
    if not isinstance(rubric, str) or not rubric.strip():
        problems.append("eval_prompt must be a rubric that holds {question} and {answer}")
    else:
        if "{answer}" not in rubric:
            problems.append(
                "eval_prompt has no {answer} placeholder; the judge would score without seeing"
                " the response"
            )
        if "{question}" not in rubric:
            problems.append(
                "eval_prompt has no {question} placeholder; the judge would score without seeing"
                " the question"
            )
    return problems


def _pair_problems(index: int, pair: Any) -> list[str]:
    if not isinstance(pair, dict):
        return [f'instruction[{index}] must be a {{"pos": …, "neg": …}} pair']
    problems = []
    for pole, name in (("pos", "positive"), ("neg", "negative")):
        text = pair.get(pole)
        if not isinstance(text, str) or not text.strip():
            problems.append(
                f"instruction[{index}] has no {name} pole ({pole!r}): a direction needs both"
                " (a role file with positives only is not a trait)"
            )
    if not problems and pair["pos"].strip() == pair["neg"].strip():
        problems.append(f"instruction[{index}] says the same for both poles")
    return problems


def _text_problems(value: Any, path: str) -> list[str]:
    if isinstance(value, str):
        if len(value) > _MAX_TEXT_CHARS:
            return [f"{path} is {len(value):,} characters long; at most {_MAX_TEXT_CHARS:,}"]
        if any("\ud800" <= char <= "\udfff" for char in value):
            return [f"{path} holds half of a surrogate pair (broken \\u escape); rewrite it"]
        if "\0" in value:
            return [f"{path} holds a null character (\\u0000); remove it"]
        if _GAP in value:
            return [f"{path} still holds the form's text ({value[:40]!r}…); fill it in"]
        return []
    if isinstance(value, list):
        return [
            line for i, item in enumerate(value) for line in _text_problems(item, f"{path}[{i}]")
        ]
    if isinstance(value, dict):
        join = f"{path}." if path else ""
        return [
            line
            for key, item in value.items()
            for line in _text_problems(item, f"{join}{_shown_key(key)}")
        ]
    return []


def _shown_key(key: str) -> str:
    return key[:40].encode("utf-8", "replace").decode()


def _validation_lines(error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors():
        place = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]
        )
        lines.append(f"{place.lstrip('.')}: {item['msg']}")
    return lines


def _warnings(definition: TraitDefinition, raw: Mapping[str, Any]) -> list[str]:
    warnings = []
    if len(definition.instruction) < 5:
        warnings.append(f"{len(definition.instruction)} instruction pairs; 5 are usual")
    if len(definition.questions) < 20:
        warnings.append(f"{len(definition.questions)} questions; 20 are usual")
    if len(set(definition.questions)) < len(definition.questions):
        warnings.append("a question occurs twice in questions")
    if set(definition.questions) & set(definition.eval_questions):
        warnings.append("eval_questions are not held out: some are in questions too")
    unknown = sorted(set(raw) - set(TraitDefinition.model_fields) - {"warnings"})
    if unknown:
        shown = ", ".join(repr(_shown_key(key)) for key in unknown[:5])
        warnings.append(f"unknown keys are ignored: {shown}")
    return warnings


def _hash(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
