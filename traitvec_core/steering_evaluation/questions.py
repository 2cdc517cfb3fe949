"""Which questions the search asks, and which are held out for the report."""

from dataclasses import dataclass

import numpy as np

from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.steering import FEW_QUESTIONS

__all__ = ["AskedQuestions", "choose_questions"]

# Left to the search where a trait's own questions are split.
_LEAST_SEARCHED = 5


@dataclass(frozen=True)
class AskedQuestions:
    """The questions of a steering evaluation.

    Attributes:
        search: Asked in the search.
        held_out: Asked for the report; none of them is in `search`.
        held_out_from: Where `held_out` comes from: `eval_questions` or `questions`.
    """

    search: list[str]
    held_out: list[str]
    held_out_from: str

    @property
    def notes(self) -> list[str]:
        """Caveats for the reader."""
        notes = []
        if self.held_out_from == "questions":
            notes.append(
                "the trait has no eval_questions (two or more), so its own questions were asked,"
                " which the vectors were extracted from, the held-out half included"
            )
        if (n := len(self.held_out)) < FEW_QUESTIONS:
            notes.append(
                f"{n} held-out questions are few ({FEW_QUESTIONS} or more are better): add"
                " eval_questions to the trait's definition"
            )
        return notes


def choose_questions(
    definition: TraitDefinition, n_search: int, n_held_out: int, seed: int
) -> AskedQuestions:
    """Choose the questions of the search and those of the report.

    With two or more `eval_questions`, these are held out and the search asks the trait's own
    questions. Without, the trait's own questions are split. Large sets are sampled, because every
    random direction answers each held-out question: at most half of `n_held_out` are asked, but up
    to ten in any case.

    Args:
        definition: The trait.
        n_search: Responses per trial of the search; at most as many questions are asked.
        n_held_out: Responses per held-out condition.
        seed: Decides the split and the samples.
    """
    rng = np.random.default_rng(seed)
    most = max(min(n_held_out, FEW_QUESTIONS), -(-n_held_out // 2))
    held_out = definition.eval_questions
    # What both lists ask must not be both searched and reported.
    search = [question for question in definition.questions if question not in set(held_out)]
    if len(held_out) >= 2 and search:
        return AskedQuestions(
            _sample(search, n_search, rng), _sample(held_out, most, rng), "eval_questions"
        )
    own = definition.questions
    n = max(-(-len(own) // 2), min(FEW_QUESTIONS, len(own) - _LEAST_SEARCHED))
    order = rng.permutation(len(own))
    second, first = sorted(order[:n].tolist()), sorted(order[n:].tolist())
    return AskedQuestions(
        _sample([own[i] for i in first], n_search, rng),
        _sample([own[i] for i in second], most, rng),
        "questions",
    )


def _sample(questions: list[str], n: int, rng: np.random.Generator) -> list[str]:
    """At most `n` of the questions, in their order."""
    if len(questions) <= n:
        return list(questions)
    return [questions[i] for i in sorted(rng.permutation(len(questions))[:n].tolist())]
