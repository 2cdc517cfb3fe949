"""Loads, checks and identifies the scorers that an experiment's settings name."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.providers.python_function import FunctionScorer
from traitvec_core.judging.providers.repetition import RepetitionScorer
from traitvec_core.judging.python_source import source_hash
from traitvec_core.models.files import model_fingerprint
from traitvec_core.settings.scorer import ClassifierLabel, PythonFunction, parse_scorer

if TYPE_CHECKING:
    from traitvec_core.judging.scorer import Scorer

__all__ = ["check_scorer", "load_scorer", "scorer_fingerprint"]


def load_scorer(
    name: str,
    settings: ExperimentSettings,
    folder: Path | None,
    claim_gpu: Callable[[], None] = lambda: None,
) -> "Scorer":
    """Return a scorer, ready to score.

    Args:
        name: Its name as in the settings.
        settings: The experiment's settings.
        folder: The experiment's folder, which holds the files of Python scorers.
        claim_gpu: Called before a classifier takes a GPU.

    Raises:
        TraitvecError: If it cannot work here.
    """
    parsed = parse_scorer(name)
    if isinstance(parsed, PythonFunction):
        if folder is None:
            raise TraitvecError(
                f"judge {name!r} needs an experiment's folder, which holds its file"
            )
        return FunctionScorer(name, parsed, folder, settings.judge_timeout_s)
    if isinstance(parsed, ClassifierLabel):
        from traitvec_core.judging.providers.classifier import ClassifierScorer

        claim_gpu()
        return ClassifierScorer(name, parsed)
    return RepetitionScorer()


def check_scorer(name: str, settings: ExperimentSettings, folder: Path) -> None:
    """Check a scorer without scoring; a Python file is imported in a child process.

    Raises:
        TraitvecError: If it cannot work here.
    """
    parsed = parse_scorer(name)
    if isinstance(parsed, PythonFunction):
        FunctionScorer(name, parsed, folder, settings.judge_timeout_s).close()
    elif isinstance(parsed, ClassifierLabel):
        from traitvec_core.judging.providers.classifier import check_classifier

        check_classifier(parsed)


def scorer_fingerprint(name: str, folder: Path | None) -> str:
    """Return what determines a scorer's judgements; runs nothing."""
    parsed = parse_scorer(name)
    if isinstance(parsed, PythonFunction) and folder is not None:
        return f"{name}@{source_hash(folder / parsed.path)}"
    if isinstance(parsed, ClassifierLabel):
        return f"{name}@{model_fingerprint(parsed.model)}"
    return name
