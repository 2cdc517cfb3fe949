"""Trait definitions: pairs of opposite instructions, neutral questions, and a rubric.

The file format is that of persona vectors (Chen et al. 2025, arXiv:2507.21509), unchanged.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from traitvec_core.elicited_by import PAIRS_KEY, QUESTION_GAP, ElicitedBy, in_words_of, other_way
from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.user_files import MAX_DEFINITION_BYTES, parse_json

__all__ = [
    "FORM_GAP",
    "RECOMMENDED_EVAL_QUESTIONS",
    "RECOMMENDED_PAIRS",
    "RECOMMENDED_QUESTIONS",
    "InstructionPair",
    "Pole",
    "Subject",
    "TraitDefinition",
    "check_name",
    "fill_rubric",
    "parse_definition",
]

Pole = Literal["pos", "neg"]
# What a trait can be about that the check `confounds` otherwise counts as another explanation.
Subject = Literal["length", "words", "refusal"]

# A partition key becomes a folder, so nothing else is allowed: no dot, slash or space.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_MAX_NAME_CHARS = 100
_SURROGATE = re.compile("[\ud800-\udfff]")
# Far longer than any real rubric, far shorter than what stalls a tokenizer or fills a prompt.
_MAX_TEXT_CHARS = 20_000
# More would take a model days, and as problems they would fill a screen and the memory.
_MAX_ITEMS = 10_000
# The form's gaps start with this; a definition that still contains one is not ready.
FORM_GAP = "FILL IN:"
_BOTH = "a direction needs both poles (a role file, which has only positives, is not a trait)"
RECOMMENDED_PAIRS = 10
RECOMMENDED_QUESTIONS = 20
RECOMMENDED_EVAL_QUESTIONS = 10


class InstructionPair(BaseModel):
    """Two opposite instructions or openings, one for each pole of the trait."""

    model_config = ConfigDict(extra="ignore", strict=True)

    pos: str
    neg: str


class TraitDefinition(BaseModel):  # noqa: PLW1641 - it can be changed, so it has no hash
    """A trait as the user wrote it; `parse_definition` checks it.

    Attributes:
        instruction: Pairs of opposite instructions; ten are recommended.
        scenarios: Pairs of openings that the model completes without an instruction, in the first
            or third person. `{question}` in an opening is replaced by the question.
        questions: Neutral questions for extraction, usually 20.
        eval_prompt: The rubric, with the placeholders `{question}` and `{answer}`.
        about: What the trait is about: `length`, `words` or `refusal`. That share of a vector's
            separation counts as the trait, not as another explanation.
        eval_questions: Held-out questions, for steering; at least ten are recommended.
        draft: Where a definition is from that a model has drafted; see `writing.record`. It changes
            no result, so no hash covers it.
        warnings: What is unusual but allowed, one line each. Not part of the file.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    instruction: list[InstructionPair] = Field(default_factory=list)
    scenarios: list[InstructionPair] = Field(default_factory=list)
    questions: list[str]
    eval_prompt: str
    name: str = ""
    description: str = ""
    positive_label: str = "positive"
    negative_label: str = "negative"
    about: list[Subject] = Field(default_factory=list)
    eval_questions: list[str] = Field(default_factory=list)
    draft: dict[str, Any] | None = Field(default=None, exclude=True)
    warnings: list[str] = Field(default_factory=list, exclude=True)
    _where: str = PrivateAttr("the trait definition")

    def __eq__(self, other: object) -> bool:
        """Whether two definitions say the same, wherever they were read from."""
        return isinstance(other, TraitDefinition) and self.__dict__ == other.__dict__

    def pairs(self, elicited_by: ElicitedBy = "instructions") -> list[InstructionPair]:
        """Return the pairs of instructions, or of openings.

        Raises:
            TraitvecError: If the definition has none of them.
        """
        pairs = self.scenarios if elicited_by == "scenarios" else self.instruction
        if not pairs:
            by_command = " (`traitvec scenarios`)" if elicited_by == "scenarios" else ""
            raise TraitvecError(
                f"{self._where} has no {PAIRS_KEY[elicited_by]!r}, which elicitation: {elicited_by}"
                f" needs; add pairs{by_command}, or set elicitation: {other_way(elicited_by)}"
            )
        return pairs

    @property
    def all_pairs(self) -> dict[str, list[InstructionPair]]:
        """The pairs of both kinds, by the file's key."""
        return {"instruction": self.instruction, "scenarios": self.scenarios}

    def elicitation_hash(self, elicited_by: ElicitedBy = "instructions") -> str:
        """Return the hash of what determines the responses: these pairs, and the questions."""
        pairs = [pair.model_dump() for pair in self.pairs(elicited_by)]
        return _hash({PAIRS_KEY[elicited_by]: pairs, "questions": self.questions})

    @property
    def rubric_hash(self) -> str:
        """Hash of what determines the judgements of given responses: the rubric."""
        return _hash(self.eval_prompt)

    @property
    def content_hash(self) -> str:
        """Hash of everything in the definition."""
        # `scenarios` came later: without any, the hash is the earlier one.
        return _hash(self.model_dump(exclude=None if self.scenarios else {"scenarios"}))


def check_name(kind: str, name: str) -> str:
    """Return `name` if it can be the name of a folder.

    Args:
        kind: What has this name, for the message: "trait" or "experiment".
        name: The name to check.

    Raises:
        TraitvecError: If the name contains anything but `a-z 0-9 _ -`, starts with `_` or `-`, or
            is longer than 100 characters.
    """
    if _NAME.fullmatch(name) and len(name) <= _MAX_NAME_CHARS:
        return name
    shown = name if len(name) <= 60 else f"{name[:60]}…"
    raise TraitvecError(
        f"{kind} name {shown!r} cannot be used as a folder name; use lower-case letters, digits,"
        f" '_' and '-', start with a letter or digit, at most {_MAX_NAME_CHARS} characters"
    )


def parse_definition(data: bytes, where: str) -> TraitDefinition:
    """Read a trait definition, and report all problems at once.

    Args:
        data: The file's bytes: UTF-8 JSON, with or without a byte-order mark.
        where: The file, as messages name it.

    Returns:
        The definition, with `warnings` filled in.

    Raises:
        DefinitionError: If the definition is not valid; it lists all problems.
    """
    try:
        raw = _load_json(data, where)
        problems = [*_structure_problems(raw), *_text_problems(raw, "")]
    except RecursionError:
        raise DefinitionError(where, ["is nested too deeply for a trait definition"]) from None
    if problems:
        raise DefinitionError(where, problems)
    try:
        # A `draft` that is no object is some other tool's key.
        definition = TraitDefinition.model_validate(
            {
                key: value
                for key, value in raw.items()
                if key != "warnings" and (key != "draft" or isinstance(value, dict))
            }
        )
    except ValidationError as error:
        raise DefinitionError(where, _validation_lines(error)) from None
    definition.warnings = _warnings(definition, raw)
    definition._where = where
    return definition


def fill_rubric(rubric: str, question: str, answer: str) -> str:
    """Return the rubric with `{question}` and `{answer}` replaced; other braces are plain text.

    An answer cannot close the rubric's delimiters: where the question or the answer contains one
    of the rubric's tags, quotes or fences, a zero-width space breaks it up.
    """
    delimiters = re.findall(
        r"\[[^\[\]{}\n]{1,40}\]|</?[A-Za-z][^<>{}\n]{0,40}>|`{3,}|\"{3,}", rubric
    )
    texts = {
        "{question}": break_up(question, delimiters),
        "{answer}": break_up(answer, delimiters),
    }
    # In one pass, so that "{answer}" inside the question stays as it is.
    return re.sub(r"\{question\}|\{answer\}", lambda match: texts[match.group()], rubric)


def break_up(text: str, forbidden: list[str]) -> str:
    """Insert a zero-width space into every occurrence of the forbidden strings."""
    for token in dict.fromkeys(forbidden):
        if token in text:
            # A lookahead also finds overlapping occurrences: four backticks contain three twice.
            start, rest = re.escape(token[:1]), re.escape(token[1:])
            text = re.sub(f"({start})(?={rest})", "\\1\u200b", text)
    return text


def _load_json(data: bytes, where: str) -> dict[str, Any]:
    if data.strip() in (b"", b"\xef\xbb\xbf"):
        raise DefinitionError(
            where, ["is empty; run `traitvec new-trait … --force` for a form to fill in"]
        )
    raw = parse_json(data, where, MAX_DEFINITION_BYTES)
    if not isinstance(raw, dict):
        raise DefinitionError(
            where,
            [
                f"contains a JSON {type(raw).__name__}; a trait definition is an object with"
                " instruction, questions and eval_prompt"
            ],
        )
    return raw


def _structure_problems(raw: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{key} has {len(raw[key]):,} entries; the limit is {_MAX_ITEMS:,}"
        for key in ("instruction", "scenarios", "questions", "eval_questions", "about")
        if isinstance(raw.get(key), list) and len(raw[key]) > _MAX_ITEMS
    ]
    if problems:
        return problems
    # One of the two keys is enough.
    for key in [key for key in PAIRS_KEY.values() if raw.get(key, []) != []] or ["instruction"]:
        pairs = raw.get(key)
        if not isinstance(pairs, list) or not pairs:
            problems.append(
                f'{key} must be a list of at least one {{"pos": …, "neg": …}} pair'
                + ("" if key in raw else " (the key is missing)")
            )
        else:
            problems.extend(_pole_problems(key, pairs))
    questions = raw.get("questions")
    if not isinstance(questions, list) or len(questions) < 2:
        count = len(questions) if isinstance(questions, list) else "no list"
        problems.append(
            f"questions must be a list of at least 2 questions (found {count});"
            " held-out accuracy needs questions to hold out"
        )
    if not isinstance(raw.get("eval_questions", []), list):
        problems.append(
            "eval_questions must be a list of questions; leave the key out if there are none"
        )
    for key in ("questions", "eval_questions"):
        questions = raw.get(key)
        for index, question in enumerate(questions if isinstance(questions, list) else []):
            if not isinstance(question, str) or not question.strip():
                problems.append(f"{key}[{index}] must be a non-empty string")
    for key in ("name", "description", "positive_label", "negative_label"):
        if not isinstance(raw.get(key, ""), str):
            problems.append(f"{key} must be a string")
    problems.extend(_subject_problems(raw.get("about", [])))
    rubric = raw.get("eval_prompt")
    if not isinstance(rubric, str) or not rubric.strip():
        problems.append(
            "eval_prompt must be a rubric with the placeholders {question} and {answer}"
        )
    else:
        if "{answer}" not in rubric:
            problems.append(
                "eval_prompt has no {answer} placeholder; add it, or the judge scores without"
                " seeing the response"
            )
        if "{question}" not in rubric:
            problems.append(
                "eval_prompt has no {question} placeholder; add it, or the judge scores without"
                " seeing the question"
            )
    return problems


def _pole_problems(key: str, pairs: list[Any]) -> list[str]:
    """One line for every problem, but one in all where no pair has a negative pole."""
    if len(pairs) > 1 and all(isinstance(pair, dict) and _lacks(pair, "neg") for pair in pairs):
        return [f"{key} has no negative pole ('neg') in its {len(pairs)} pairs; {_BOTH}"]
    return [line for i, pair in enumerate(pairs) for line in _pair_problems(f"{key}[{i}]", pair)]


def _pair_problems(place: str, pair: Any) -> list[str]:
    if not isinstance(pair, dict):
        return [f'{place} must be a {{"pos": …, "neg": …}} pair']
    problems = [
        f"{place} has no {name} pole ({pole!r}); {_BOTH}"
        for pole, name in (("pos", "positive"), ("neg", "negative"))
        if _lacks(pair, pole)
    ]
    if not problems and pair["pos"].strip() == pair["neg"].strip():
        problems.append(f"{place} has the same text for both poles; reword one")
    gaps = [QUESTION_GAP in str(pair.get(pole)) for pole in ("pos", "neg")]
    if not problems and len(set(gaps)) > 1 and place.startswith("scenarios"):
        # One would be completed as plain text, the other inside the chat template.
        problems.append(f"{place} has {QUESTION_GAP} in one pole only; write it in both or neither")
    return problems


def _lacks(pair: Mapping[str, Any], pole: str) -> bool:
    text = pair.get(pole)
    return not isinstance(text, str) or not text.strip()


def _subject_problems(subjects: Any) -> list[str]:
    allowed = ", ".join(get_args(Subject))
    if not isinstance(subjects, list):
        return [f'about must be a list, such as ["length"]; allowed are {allowed}']
    return [
        f"about[{index}] is {_shown_value(subject)}; allowed are {allowed}"
        for index, subject in enumerate(subjects)
        if subject not in get_args(Subject)
    ]


def _text_problems(value: Any, path: str) -> list[str]:
    if isinstance(value, str):
        if len(value) > _MAX_TEXT_CHARS:
            return [f"{path} is {len(value):,} characters long; the limit is {_MAX_TEXT_CHARS:,}"]
        if _SURROGATE.search(value):
            return [f"{path} contains half a surrogate pair (a broken \\u escape); retype it"]
        if "\0" in value:
            return [f"{path} contains a null character (\\u0000); remove it"]
        if FORM_GAP in value:
            return [f"{path} still contains the form's text ({value[:40]!r}…); fill it in"]
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


def _shown_value(value: Any) -> str:
    return ascii(value)[:40]


def _shown_key(key: str) -> str:
    return key[:40].encode("utf-8", "replace").decode()


def _validation_lines(error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors():
        location = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]
        )
        lines.append(f"{location.lstrip('.')}: {item['msg']}")
    return lines


def _warnings(definition: TraitDefinition, raw: Mapping[str, Any]) -> list[str]:
    warnings = []
    for elicited_by, key in PAIRS_KEY.items():
        n_pairs = len(getattr(definition, key))
        if 0 < n_pairs < RECOMMENDED_PAIRS:
            warnings.append(in_words_of(elicited_by, _few_pairs(n_pairs)))
    n_questions, n_held_out = len(definition.questions), len(definition.eval_questions)
    if n_questions < RECOMMENDED_QUESTIONS:
        warnings.append(f"{_count(n_questions, 'question')}; {RECOMMENDED_QUESTIONS} are usual")
        if n_held_out < RECOMMENDED_EVAL_QUESTIONS:
            warnings.append(
                f"{_count(n_held_out, 'eval_question')}; add eval_questions, which are held out to"
                f" report on steering: at least {RECOMMENDED_EVAL_QUESTIONS}"
            )
    if len(set(definition.questions)) < len(definition.questions):
        warnings.append("questions contains a question twice; it counts double")
    if set(definition.questions) & set(definition.eval_questions):
        warnings.append("eval_questions are not held out: some of them are in questions too")
    unknown = sorted(set(raw) - set(TraitDefinition.model_fields) - {"warnings"})
    if unknown:
        shown = ", ".join(repr(_shown_key(key)) for key in unknown[:5])
        warnings.append(f"unknown keys are ignored: {shown}")
    return warnings


def _few_pairs(n_pairs: int) -> str:
    # Swapping the poles of all pairs gives the same statistic, so half of the 2^pairs ways differ.
    ways = 2 ** (n_pairs - 1)
    shows = f"cannot show less than p = 1/{ways}" if ways > 1 else "cannot show anything"
    return (
        f"{_count(n_pairs, 'instruction pair')}: with so few, swapped labels {shows};"
        " ten are recommended"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _hash(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
