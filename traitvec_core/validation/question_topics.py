"""Which questions ask the same thing, so that they are held out together.

A question that is asked twice in other words sits in the training split and in the held-out split
at once, and held-out figures then reward what is remembered of its topic.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from traitvec_core.validation.stop_words import ENGLISH_STOP_WORDS
from traitvec_core.validation.topic_clusters import cluster_texts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["clear_duplicates", "group_questions"]

# Two groups are joined while the mean cosine between their questions is above 1 − this.
# Measured: of 160 questions of eight published persona-vectors files (20 each, one topic per
# question), 3 are joined to another, and of the demo's and the example's 150 none. Of 10 topics
# asked twice, all 10 are joined when the frame, case or punctuation differs (English, German,
# Chinese, Japanese, Thai), 9 of 10 rewritten opinions and 8 of 10 free paraphrases. At 0.75 the
# counts are 1, 0, 10, 9 and 6; at 0.85 they are 12, 2, 10, 10 and 9. A paraphrase that shares no
# word is not noticed. Two distinct questions that are held out together cost little, so this is
# sensitive; a warning must be right, and at 0.70 none of the 310 is joined.
_LARGEST_DISTANCE = 0.80
_CLEAR_DISTANCE = 0.70
_WORD_PIECES = (3, 4)
_CHARACTER_PIECES = (1, 2)
# Thai to Lao, Burmese, Khmer, kana, Han: no spaces between words.
_UNSPACED = re.compile("([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]+)")


def group_questions(questions: Sequence[str]) -> "NDArray[np.int64]":
    """Return the number of each question's group, `[n_questions]`; near-duplicates share one.

    Average-linkage clustering on cosine distances between TF-IDF vectors of pieces of content
    words (or of characters, in scripts without spaces). Rarity is counted in the questions
    themselves, so a frame that all of them share weighs nothing. Groups are numbered from 0 by
    their first question, and do not depend on the order of the questions. Questions that differ
    only in case, punctuation or white space always share a group; all may share one.

    Args:
        questions: In any language, in any order, repeats included.
    """
    import numpy as np

    return np.array(_group(questions, _LARGEST_DISTANCE), dtype=np.int64)


def clear_duplicates(questions: Sequence[str]) -> list[list[str]]:
    """Return each group of different questions that clearly ask the same, `[n_groups][2 or more]`.

    Stricter than `group_questions`, which also joins what only looks alike. Groups, and the
    questions in them, are in the order of `questions`; the same text twice is listed once.
    """
    groups: dict[int, list[str]] = {}
    for question, group in dict(
        zip(questions, _group(questions, _CLEAR_DISTANCE), strict=True)
    ).items():
        groups.setdefault(group, []).append(question)
    return [group for group in groups.values() if len(group) > 1]


def _group(questions: Sequence[str], largest_distance: float) -> list[int]:
    words = [_words(question) for question in questions]
    # Signs alone, such as "?!", are compared as they stand.
    keys = [
        " ".join(text) or question.strip() for text, question in zip(words, questions, strict=True)
    ]
    # Sorted, so that ties between distances are broken alike in every order.
    distinct = sorted(set(keys))
    clusters = cluster_texts([_pieces(_words(key)) for key in distinct], largest_distance)
    cluster_of = dict(zip(distinct, clusters, strict=True))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(cluster_of[key], len(numbers)) for key in keys]


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Marks (M) are kept: in Thai or Hindi they are vowels.
    kept = (char if unicodedata.category(char)[0] in "LMN" else " " for char in folded)
    return "".join(kept).split()


def _pieces(words: Sequence[str]) -> set[str]:
    pieces: set[str] = set()
    for run in (part for word in words for part in _UNSPACED.split(word)):
        if _UNSPACED.match(run):
            pieces |= _substrings(run, _CHARACTER_PIECES)
        elif run not in ENGLISH_STOP_WORDS and (len(run) > 1 or run.isdigit()):
            # Pieces of words, so that "vaccine" resembles "vaccines".
            pieces |= _substrings(f" {run} ", _WORD_PIECES)
    return pieces


def _substrings(text: str, lengths: Sequence[int]) -> set[str]:
    return {text[i : i + n] for n in lengths for i in range(max(1, len(text) - n + 1))}
