"""Names of scorers: `python:FILE:FUNCTION`, `hf-classifier:MODEL:LABEL`, `repetition`."""

import keyword
from dataclasses import dataclass
from pathlib import PurePosixPath

__all__ = [
    "REPETITION",
    "ClassifierLabel",
    "PythonFunction",
    "ScorerName",
    "is_scorer",
    "parse_scorer",
]

REPETITION = "repetition"
_PYTHON, _CLASSIFIER = "python:", "hf-classifier:"
# File systems have a limit of 255 bytes for each part.
_LONGEST_PATH = 200


@dataclass(frozen=True)
class PythonFunction:
    """A function in a Python file.

    Attributes:
        path: The file, relative to the experiment's folder, with forward slashes.
        function: The function's name.
    """

    path: str
    function: str


@dataclass(frozen=True)
class ClassifierLabel:
    """A label of a Hugging Face text-classification model.

    Attributes:
        model: Hub id or local folder.
        label: The label whose probability is the score.
    """

    model: str
    label: str


ScorerName = PythonFunction | ClassifierLabel


def is_scorer(name: str) -> bool:
    """Whether a judge's name is that of a scorer, and not of a language model."""
    return name == REPETITION or name.startswith((_PYTHON, _CLASSIFIER))


def parse_scorer(name: str) -> ScorerName | None:
    """Read a judge's name. What follows the last colon is the function or the label.

    Returns:
        What it names; None for `repetition` and for a language model.

    Raises:
        ValueError: If it is an incomplete name of a scorer, or its file may not be opened.
    """
    if name.startswith(_PYTHON):
        path, _, function = name.removeprefix(_PYTHON).rpartition(":")
        if not path or not function.isidentifier() or keyword.iskeyword(function):
            raise ValueError(f"{name!r} is not a scorer: write python:scorers.py:function")
        parts = PurePosixPath(path).parts
        if not path.endswith(".py") or path.startswith("/") or ".." in parts or "\\" in path:
            raise ValueError(
                f"{name!r}: the file must be a .py file inside the experiment's folder, such as"
                " python:scorers.py:words"
            )
        if len(path) > _LONGEST_PATH:
            raise ValueError(f"a scorer's path is longer than {_LONGEST_PATH} characters")
        if any(not part.isprintable() for part in parts):
            raise ValueError(f"{name!r}: the path contains a control character")
        return PythonFunction(path, function)
    if name.startswith(_CLASSIFIER):
        model, _, label = name.removeprefix(_CLASSIFIER).rpartition(":")
        if not model.strip() or not label.strip():
            raise ValueError(
                f"{name!r} is not a scorer: write hf-classifier:MODEL:LABEL, such as"
                " hf-classifier:org/sentiment:positive"
            )
        return ClassifierLabel(model, label)
    return None
