"""Which questions ask the same thing, so that they are held out together.

A question that is asked twice in other words sits in the training split and in the held-out split
at once, and held-out figures then reward what is remembered of its topic.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from traitvec_core.validation.stop_words import ENGLISH_STOP_WORDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["group_questions", "near_duplicates"]

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
# Above 1, so that a frame that half of the questions share weighs little beside a topic that two
# share: in a language without spaces the frame has many more character pairs than the topic.
_RARITY_POWER = 1.5
# Far above what the order of a sum changes in a distance.
_ROUNDING = 1e-9
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


def near_duplicates(questions: Sequence[str]) -> list[tuple[str, str]]:
    """Return every two different questions that clearly ask the same, in the order of `questions`.

    Stricter than `group_questions`, which also joins what only looks alike. The same text twice is
    not listed.
    """
    groups = _group(questions, _CLEAR_DISTANCE)
    pairs = combinations(dict(zip(questions, groups, strict=True)).items(), 2)
    return [(first, second) for (first, one), (second, other) in pairs if one == other]


def _group(questions: Sequence[str], largest_distance: float) -> list[int]:
    words = [_words(question) for question in questions]
    # Signs alone, such as "?!", are compared as they stand.
    keys = [
        " ".join(text) or question.strip() for text, question in zip(words, questions, strict=True)
    ]
    # Sorted, so that ties between distances are broken alike in every order.
    distinct = sorted(set(keys))
    clusters = _cluster([_words(key) for key in distinct], largest_distance)
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


def _cluster(texts: Sequence[Sequence[str]], largest_distance: float) -> list[int]:
    """Return the cluster of each text, given as its words."""
    if len(texts) < 2:
        return [0] * len(texts)
    pieces = [_pieces(words) for words in texts]
    if _least_distance(pieces) > largest_distance + _ROUNDING:
        return list(range(len(texts)))
    # Imported only where two questions are close: scikit-learn takes a second to load.
    import numpy as np
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    counts = CountVectorizer(analyzer=sorted, binary=True).fit_transform(pieces)
    rarity = np.log(len(texts) / np.asarray(counts.sum(axis=0)).ravel()) ** _RARITY_POWER
    vectors = normalize(counts.multiply(rarity).tocsr())
    distances = np.clip(1 - (vectors @ vectors.T).toarray(), 0, None)
    np.fill_diagonal(distances, 0)
    clustering = AgglomerativeClustering(
        n_clusters=None,
        distance_threshold=largest_distance,
        metric="precomputed",
        linkage="average",
    )
    clusters: list[int] = clustering.fit_predict(distances).tolist()
    return clusters


def _least_distance(pieces: Sequence[set[str]]) -> float:
    """Return the least cosine distance between any two texts, as `_cluster` weighs their pieces.

    The first two texts to be joined are the closest, so above the bound nothing is.
    """
    frequency = Counter(piece for each in pieces for piece in each)
    rarity = {p: math.log(len(pieces) / n) ** _RARITY_POWER for p, n in frequency.items()}
    norms = [math.sqrt(sum(rarity[piece] ** 2 for piece in each)) for each in pieces]
    similarities = (
        sum(rarity[piece] ** 2 for piece in one & other) / (norm * other_norm)
        for (one, norm), (other, other_norm) in combinations(zip(pieces, norms, strict=True), 2)
        if norm > 0 and other_norm > 0
    )
    return 1 - max(similarities, default=0.0)
