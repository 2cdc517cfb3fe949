"""What to do with the pairs and questions of a trial: keep, reword or drop them."""

from collections.abc import Collection, Sequence

from traitvec_core.trait import RECOMMENDED_PAIRS, RECOMMENDED_QUESTIONS
from traitvec_core.trial.contrasts import Proposal, Tried

__all__ = ["propose"]

_NOTHING = "elicits less than the others, and next to nothing"
_WEAK = "the trait as a whole is elicited too weakly; no pair stands out"


def propose(
    pairs: Sequence[Tried],
    questions: Sequence[Tried],
    *,
    n_pairs: int,
    n_questions: int,
    is_reached: bool,
    threshold: float,
    reworded: Collection[str] = (),
) -> tuple[list[Tried], list[Tried]]:
    """Return tried pairs and questions with proposals.

    What elicits nothing is dropped where enough is left without it, or where rewording did not
    help; else it is reworded. Where nothing stands out and the trait's contrast is too low, all
    pairs at or below the threshold are reworded.

    Args:
        pairs: The tried pairs.
        questions: The tried questions.
        n_pairs: Pairs in the definition.
        n_questions: Questions in the definition.
        is_reached: Whether the trial's contrast exceeds the threshold.
        threshold: The threshold.
        reworded: Places whose texts a writer has reworded already.
    """
    n_dead = sum(item.elicits_nothing for item in pairs)
    n_idle = sum(item.elicits_nothing for item in questions)
    is_weak = not (is_reached or n_dead or n_idle)

    def proposed(item: Tried, n_left: int, n_enough: int) -> tuple[Proposal, str]:
        if not item.elicits_nothing:
            return "keep", ""
        if item.place in reworded:
            return "drop", f"{_NOTHING}, though it was reworded"
        if n_left >= n_enough:
            return "drop", f"{_NOTHING}; {n_left} are enough without it"
        return "reword", _NOTHING

    def for_pair(item: Tried) -> tuple[Proposal, str]:
        value = item.contrast.value
        if is_weak and value is not None and value <= threshold:
            return "reword", _WEAK
        return proposed(item, n_pairs - n_dead, RECOMMENDED_PAIRS)

    return (
        [_with(item, *for_pair(item)) for item in pairs],
        [
            _with(item, *proposed(item, n_questions - n_idle, RECOMMENDED_QUESTIONS))
            for item in questions
        ],
    )


def _with(item: Tried, proposal: Proposal, reason: str) -> Tried:
    return item.model_copy(update={"proposal": proposal, "reason": reason})
