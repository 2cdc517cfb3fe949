"""placeholder until w-traits lands."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["group_questions"]


def group_questions(questions: Sequence[str]) -> NDArray[np.int64]:
    """Group."""
    return np.unique(list(questions), return_inverse=True)[1].astype(np.int64)
