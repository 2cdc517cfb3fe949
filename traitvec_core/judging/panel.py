"""Who scores what: one judge for everything, or one per rubric."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from traitvec_core.judging.reading import Judgement
from traitvec_core.judging.scorer import Scorer, scorer_prompt
from traitvec_core.trait import fill_rubric

__all__ = ["Judge", "JudgePanel", "judge_of", "prompt_for"]


class Judge(Protocol):
    """Anything that scores prompts."""

    name: str

    @property
    def identity(self) -> str:
        """All that determines a judgement besides the prompt, as JSON with a key `model`."""
        ...

    def score(
        self,
        prompts: Sequence[str],
        on_batch: Callable[[Mapping[str, Judgement]], None],
        is_known: Callable[[str], bool],
        repeat: int = 0,
    ) -> None:
        """Judge distinct prompts.

        Args:
            prompts: What to judge.
            on_batch: Called with every finished batch, prompt → judgement.
            is_known: Whether a prompt already has a judgement. `prompts` includes those too: where
                the composition of a batch changes the last digits, a resumed run must form the
                same batches.
            repeat: Number of the repetition; 0 for the judgement that counts.
        """
        ...


class JudgePanel:
    """Judges of several rubrics. Used as a `Judge`, it is the judge of the trait itself.

    Args:
        trait: The judge of the trait's rubric.
        coherence: The judge of coherence.
        load: Returns the judge of another trait, by the trait's name.
    """

    def __init__(self, trait: Judge, coherence: Judge, load: Callable[[str], Judge]) -> None:
        self.name = trait.name
        self._judges = {"trait": trait, "coherence": coherence}
        self._load = load

    def judge_of(self, rubric: str) -> Judge:
        """Return the judge of a rubric: `trait`, `coherence`, or another trait's name."""
        if rubric not in self._judges:
            self._judges[rubric] = self._load(rubric)
        return self._judges[rubric]

    @property
    def identity(self) -> str:
        """The identity of the trait's judge."""
        return self._judges["trait"].identity

    def score(
        self,
        prompts: Sequence[str],
        on_batch: Callable[[Mapping[str, Judgement]], None],
        is_known: Callable[[str], bool],
        repeat: int = 0,
    ) -> None:
        """Judge prompts with the trait's judge."""
        self._judges["trait"].score(prompts, on_batch, is_known, repeat)


def judge_of(judge: Judge, rubric: str) -> Judge:
    """Return who scores a rubric: `trait`, `coherence`, or another trait's name."""
    return judge.judge_of(rubric) if isinstance(judge, JudgePanel) else judge


def prompt_for(judge: Judge, rubric: str, question: str, response: str) -> str:
    """Return what a judge reads: the filled rubric, or for a scorer question and response alone."""
    if isinstance(judge, Scorer):
        return scorer_prompt(question, response)
    return fill_rubric(rubric, question, response)
