"""What all scorers share: they read a question and a response, and no rubric."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence

from traitvec_core.judging.reading import Judgement

__all__ = ["Pair", "Scorer", "scorer_prompt"]

Pair = tuple[str, str]
"""A question and its response."""


def scorer_prompt(question: str, response: str) -> str:
    """Return what a scorer reads, as the one text that identifies a judgement."""
    return json.dumps([question, response])


class Scorer(ABC):
    """A judge that is not a language model.

    Attributes:
        name: The name as in the settings.
    """

    name: str

    @property
    @abstractmethod
    def identity(self) -> str:
        """All that determines a judgement besides question and response, as JSON."""

    @abstractmethod
    def scores(self, pairs: Sequence[Pair]) -> Iterator[Mapping[int, Judgement]]:
        """Score responses; yields finished ones, by their number in `pairs`."""

    def score(
        self,
        prompts: Sequence[str],
        on_batch: Callable[[Mapping[str, Judgement]], None],
        is_known: Callable[[str], bool] = lambda prompt: False,
        repeat: int = 0,
    ) -> None:
        """Judge distinct prompts of `scorer_prompt`; see `Judge.score`."""
        new = [prompt for prompt in prompts if not is_known(prompt)]
        if not new:
            return
        pairs = [tuple(json.loads(prompt)) for prompt in new]
        for finished in self.scores(pairs):
            on_batch({new[number]: judgement for number, judgement in finished.items()})
