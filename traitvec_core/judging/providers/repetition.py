"""Coherence without a model: how much of a response is not repetition."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from traitvec_core.judging.reading import Judgement
from traitvec_core.judging.scorer import Pair, Scorer
from traitvec_core.settings.scorer import REPETITION

__all__ = ["RepetitionScorer", "unrepeated_share"]

# Raise when the arithmetic changes: all judgements are then made again.
_VERSION = 1
_WORDS = 4
# Words, signs, and the characters of scripts without spaces.
_TOKEN = re.compile(r"[\u3040-\u9fff]|[^\W\u3040-\u9fff]+|[^\w\s]")
# No word of a language is as long; "aaaa…" and "ababab…" are.
_LONGEST_WORD = 30


class RepetitionScorer(Scorer):
    """Scores how much of a response is not repetition; 100 is none."""

    name = REPETITION

    @property
    def identity(self) -> str:
        """All that determines a judgement besides the response."""
        return json.dumps(
            {"provider": REPETITION, "model": REPETITION, "scoring": "rule", "version": _VERSION}
        )

    def scores(self, pairs: Sequence[Pair]) -> Iterator[Mapping[int, Judgement]]:
        """Score all responses at once."""
        yield {
            number: Judgement(round(100 * unrepeated_share(response), 4), "ok")
            for number, (_, response) in enumerate(pairs)
        }


def unrepeated_share(text: str) -> float:
    """Return the share of distinct 4-grams of words and signs (1 − seq-rep-4, Welleck et al. 2019).

    It is 1 for a text in which no four words in a row occur twice, and near 0 for one that loops.
    It says nothing about meaning: words in random order have no repetition. Overlong words are
    split into their characters, so that "aaaa…" is a repetition too.
    """
    tokens = [
        part
        for token in _TOKEN.findall(text.lower())
        for part in (token if len(token) > _LONGEST_WORD else (token,))
    ]
    grams = [tuple(tokens[k : k + _WORDS]) for k in range(len(tokens) - _WORDS + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0
