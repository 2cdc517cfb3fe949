"""Plans which responses to generate: spread evenly over instructions and questions."""

from dataclasses import dataclass
from math import gcd

from traitvec_core.elicited_by import ElicitedBy
from traitvec_core.trait import Pole, TraitDefinition

__all__ = ["TRIAL_QUESTIONS", "PlannedResponse", "plan_responses", "plan_trial"]

TRIAL_QUESTIONS = 5
"""Questions on which a trial tries each pair, where the plan has as many."""


@dataclass(frozen=True)
class PlannedResponse:
    """One response to be generated.

    Attributes:
        question_id: `{trait}_{question}_{pole}_{instruction}_{sample}`.
        pole: `pos` or `neg`.
        question: The question's text.
        instruction: The text of the instruction, or of the opening.
    """

    question_id: str
    pole: Pole
    question: str
    instruction: str


def plan_responses(
    trait: str,
    definition: TraitDefinition,
    n_examples: int,
    elicited_by: ElicitedBy = "instructions",
) -> list[PlannedResponse]:
    """Plan `n_examples` responses per pole, positive first; both poles use the same cells.

    In every prefix of the plan, the counts of any two questions differ by at most one, and those of
    any two instructions: 10 examples of 5 instructions × 20 questions use ten questions once and
    every instruction twice.

    Args:
        trait: The trait's name, with which every `question_id` begins.
        definition: The trait.
        n_examples: Responses per pole.
        elicited_by: `scenarios` uses pairs of openings instead of instructions.

    Raises:
        TraitvecError: If the definition has no such pairs.
    """
    pairs = definition.pairs(elicited_by)
    cells = _balanced_cells(len(definition.questions), len(pairs), n_examples)
    return _planned(trait, definition, elicited_by, cells)


def plan_trial(
    trait: str,
    definition: TraitDefinition,
    n_examples: int,
    elicited_by: ElicitedBy = "instructions",
    n_questions: int = TRIAL_QUESTIONS,
) -> list[PlannedResponse]:
    """Choose the responses of a trial from those of `plan_responses`, positive first.

    Every pair is tried on `n_questions` questions, or on as many as the plan has for it, and on as
    few different ones in all as the plan allows: 5 of 20 where all pairs meet all questions, 10
    where each meets half of them. All of them are rows of the plan, so that a run reuses them.

    Args:
        trait: The trait's name.
        definition: The trait.
        n_examples: Responses per pole of the whole plan.
        elicited_by: `scenarios` uses pairs of openings instead of instructions.
        n_questions: Questions per pair.

    Raises:
        TraitvecError: If the definition has no such pairs.
    """
    n_pairs, n_all = len(definition.pairs(elicited_by)), len(definition.questions)
    planned = _balanced_cells(n_all, n_pairs, n_examples)
    pairs_of: dict[int, list[int]] = {}
    for question, pair, sample in planned:
        if sample == 0:
            pairs_of.setdefault(question, []).append(pair)
    wanted = dict.fromkeys(range(n_pairs), n_questions)
    # Strides through the list: neighbours are often about one topic.
    stride = -(-n_all // n_questions)
    left = [q for first in range(stride) for q in range(first, n_all, stride) if q in pairs_of]
    cells = []
    while left:
        best = max(left, key=lambda question: sum(wanted[pair] > 0 for pair in pairs_of[question]))
        left.remove(best)
        tried = [pair for pair in pairs_of[best] if wanted[pair] > 0]
        for pair in tried:
            wanted[pair] -= 1
        cells += [(best, pair, 0) for pair in tried]
    return _planned(trait, definition, elicited_by, sorted(cells))


def _planned(
    trait: str,
    definition: TraitDefinition,
    elicited_by: ElicitedBy,
    cells: list[tuple[int, int, int]],
) -> list[PlannedResponse]:
    pairs = definition.pairs(elicited_by)
    poles: tuple[Pole, ...] = ("pos", "neg")
    return [
        PlannedResponse(
            question_id=f"{trait}_{question}_{pole}_{instruction}_{sample}",
            pole=pole,
            question=definition.questions[question],
            instruction=getattr(pairs[instruction], pole),
        )
        for pole in poles
        for question, instruction, sample in cells
    ]


def _balanced_cells(n_questions: int, n_instructions: int, n: int) -> list[tuple[int, int, int]]:
    """Return (question, instruction, sample) triples; each block of Q·I is the whole grid once.

    Round r asks every question once, question q with instruction (q + start_r) mod I. Round r + 1
    continues in the cycle of instructions where round r ends; the extra step after each full cycle
    makes the starts a permutation, so that no cell repeats before all are used.
    """
    step = n_questions % n_instructions
    cycle = n_instructions // gcd(step, n_instructions)
    cells = []
    for k in range(n):
        round_, question = divmod(k, n_questions)
        sample, round_ = divmod(round_, n_instructions)
        start = round_ * step + round_ // cycle
        cells.append((question, (question + start) % n_instructions, sample))
    return cells
