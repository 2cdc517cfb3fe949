"""The columns of `responses/*.csv`: what each is called, holds and means."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "POLE",
    "THINKING",
    "Column",
    "columns_of_other_traits",
    "judged_columns",
    "names_of",
    "response_columns",
]

POLE = "pole"
"""The column that a table in memory has in place of a file per pole: `pos` or `neg`."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: Its name.
        type: What its cells hold.
        description: What they mean.
        can_be_missing: Whether a cell may be empty because there is no value.
    """

    name: str
    type: Literal["string", "float", "int"]
    description: str
    can_be_missing: bool = False


THINKING = Column(
    "thinking",
    "string",
    "What the model thought first. The column is there if any response has some.",
)
"""The last column of the raw responses of a model that thinks."""

_STATUS = "`ok`, `refusal` (the judge declined), `unparseable` (no usable answer) or `error`"
_GENERATED = (
    Column("question", "string", "The question as the definition has it."),
    Column("instruction", "string", "The instruction of this pole under which it was asked."),
    Column("prompt", "string", "The whole text that the model saw, chat template included."),
    Column("response", "string", "The model's response, without end-of-turn tokens and thinking."),
)
_SCORES = (
    Column(
        "trait_score",
        "float",
        "How much the response shows the trait, 0 to 100. Empty if the judgement is missing.",
        can_be_missing=True,
    ),
    Column(
        "coherence_score",
        "float",
        "How coherent the response is, 0 to 100. Empty if the judgement is missing.",
        can_be_missing=True,
    ),
)
_ID = Column(
    "question_id", "string", "The row's id: `{trait}_{question}_{pole}_{instruction}_{sample}`."
)
_JUDGEMENT = (
    Column("judge_model", "string", "Who scored the trait."),
    Column("judge_status", "string", f"Of the trait's score: {_STATUS}."),
    Column("judge_reason", "string", "Why the trait's score is missing."),
    Column("coherence_status", "string", f"Of the coherence score: {_STATUS}."),
    Column("coherence_reason", "string", "Why the coherence score is missing."),
)
_COUNTS = (
    Column("prompt_tokens", "int", "Tokens of the prompt."),
    Column("response_tokens", "int", "Tokens of the response."),
    Column("finish_reason", "string", "`stop`, or `length` if the response was cut off."),
)


def response_columns() -> tuple[Column, ...]:
    """Return the columns of the raw responses, in order; `THINKING` may follow."""
    return (*_GENERATED, _ID, *_COUNTS)


def judged_columns() -> tuple[Column, ...]:
    """Return the columns of the judged responses, in order; other traits' columns follow."""
    return (*_GENERATED, *_SCORES, _ID, *_JUDGEMENT, *_COUNTS)


def columns_of_other_traits(traits: Iterable[str]) -> tuple[Column, ...]:
    """Return the columns that `also_judge` adds, in order."""
    return tuple(
        column
        for trait in traits
        for column in (
            Column(
                f"{trait}_score",
                "float",
                f"The score by the rubric of {trait}, 0 to 100. Empty if it is missing.",
                can_be_missing=True,
            ),
            Column(f"{trait}_status", "string", f"Of that score: {_STATUS}."),
            Column(f"{trait}_reason", "string", "Why that score is missing."),
        )
    )


def names_of(columns: Iterable[Column]) -> tuple[str, ...]:
    """Return the names of columns."""
    return tuple(column.name for column in columns)
