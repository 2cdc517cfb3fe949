"""What a report shows before anyone scrolls: the verdict, the vector, what is wrong with it."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from traitvec_core.report.environment import shorten
from traitvec_core.report.verdict_badge import vector_text, verdict_badge
from traitvec_core.steering_evaluation.result import SteeringEvaluation
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import Recommendation
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.key_figure import KeyFigure
from traitvec_core.validation.report_manifest import Answer
from traitvec_core.validation.verdict import STEERING_NOT_EVALUATED, grade_checks

__all__ = [
    "FirstScreen",
    "Reason",
    "answer_line",
    "experiments_name",
    "export_command",
    "first_screen",
    "python_line",
]

# What fits beside the plot in a window of 1280 × 800.
_MOST_LINES = 13
_CHARS_PER_LINE = 95
_MAX_SUMMARY, _MAX_FIX = 140, 240
_SEE_DOCS = re.compile(r"\s*See docs/\S+$")


@dataclass(frozen=True)
class Reason:
    """One thing that is wrong with a vector.

    Attributes:
        name: The check, or a word for what is no check.
        style: `fail`, `warn`, or `quiet` for what does not change the verdict.
        summary: What was measured, cut where it is long.
        fix: What to change, cut where it is long; empty where nothing is known.
        is_check: Whether the table of checks says more.
    """

    name: str
    style: str
    summary: str
    fix: str = ""
    is_check: bool = True


@dataclass(frozen=True)
class FirstScreen:
    """The first screen of a report, as texts.

    Attributes:
        badge: The verdict in a word or two.
        vector: The recommended vector; empty where there is none.
        vector_note: How it was chosen, or why there is none.
        python: A line of Python that loads it; empty where there is none.
        command: A command that exports it.
        figures: The four figures.
        reasons: What is wrong, the worst first, and what to know besides.
        more: Names of further reasons, which only the table of checks shows.
    """

    badge: str
    vector: str
    vector_note: str
    python: str
    command: str
    figures: Sequence[KeyFigure]
    reasons: Sequence[Reason]
    more: Sequence[str]


def first_screen(
    *,
    root: str,
    experiment: str,
    trait: str,
    recommended: Recommendation | None,
    figures: Sequence[KeyFigure],
    checks: Sequence[CheckResult],
    steering: SteeringEvaluation | None,
) -> FirstScreen:
    """Compose the first screen.

    Args:
        root: Name of the folder of all experiments.
        experiment: The experiment's name.
        trait: The trait's name.
        recommended: The recommended vector with its verdict; None when none is.
        figures: From `key_figures`.
        checks: Every check's result.
        steering: What steering did; None where it was not evaluated.
    """
    reasons = _reasons(checks, steering)
    n_shown = _number_that_fits(reasons)
    return FirstScreen(
        badge=verdict_badge(recommended),
        vector=vector_text(recommended) if recommended else "",
        vector_note=_vector_note(recommended),
        python=python_line(root, experiment, trait) if recommended else "",
        command=export_command(root, experiment, trait, recommended) if recommended else "",
        figures=figures,
        reasons=reasons[:n_shown],
        more=[reason.name for reason in reasons[n_shown:]],
    )


def experiments_name(folder: TraitFolder) -> str:
    """Return the name of the folder of all experiments.

    A name and not a path: what a page says still works where the tree was moved to.
    """
    return folder.path.parent.parent.name or "."


def python_line(root: str, experiment: str, trait: str) -> str:
    """Return the line of Python that loads a trait's recommended vector.

    Args:
        root: The folder of all experiments, as the reader can name it.
        experiment: The experiment's name.
        trait: The trait's name.
    """
    # JSON's double-quoted strings are Python's too.
    names = ", ".join(json.dumps(name, ensure_ascii=False) for name in (root, experiment, trait))
    return f"from traitvec_core import load_vector; vector = load_vector({names})"


def export_command(root: str, experiment: str, trait: str, recommended: Recommendation) -> str:
    """Return the command that exports a trait's recommended vector; see `python_line`."""
    command = [
        "traitvec", "export", "--experiment", experiment, "--trait", trait,
        "--format", "safetensors", "--method", recommended.method,
        "--layers", str(recommended.layer), "--out", f"{trait}.safetensors",
    ]  # fmt: skip
    if root != "experiments":
        command += ["--experiments-dir", root]
    return shlex.join(command)


def answer_line(
    answer: Answer, recommended: Recommendation | None, figures: Sequence[KeyFigure]
) -> str:
    """Return the answer in one line: the verdict, the vector and the four figures."""
    parts = [f"{verdict_badge(recommended)}. {answer.headline}"]
    if recommended is not None:
        parts.append(f"{vector_text(recommended)}:")
    return " ".join([*parts, "; ".join(figure.text for figure in figures)]).rstrip(" :")


def _vector_note(recommended: Recommendation | None) -> str:
    if recommended is None:
        return "No vector can be recommended: nothing could be held out."
    share = recommended.added_norm
    added = "" if share is None else f"; adds {share:.2f} of the residual norm"
    if recommended.chosen_by == "steering":
        return f"chosen and tested by steering{added}"
    return f"chosen by held-out separation; no test shows that this dose steers{added}"


def _reasons(checks: Sequence[CheckResult], steering: SteeringEvaluation | None) -> list[Reason]:
    if not checks:
        return [Reason("checks", "fail", "no check was evaluated", is_check=False)]
    reasons = [
        Reason(
            check.name,
            "quiet" if grade == "noted" else check.verdict,
            shorten(check.summary, _MAX_SUMMARY),
            shorten(_SEE_DOCS.sub("", check.advice), _MAX_FIX),
        )
        for grade, check in grade_checks(checks)
    ]
    if all(check.name != "steering" for check in checks):
        fix = "Set steering.evaluate: true in experiment.yaml and run again."
        reasons.append(Reason("steering", "quiet", STEERING_NOT_EVALUATED, fix, is_check=False))
    if steering is not None:
        if n_missing := sum(steering.unfinished.values()):
            missing = f"{n_missing} judgements are missing, and the choice may change"
            reasons.append(Reason("steering", "warn", missing, "Run again.", is_check=False))
        reasons += [
            Reason("note", "quiet", shorten(note, _MAX_SUMMARY), is_check=False)
            for note in steering.notes
        ]
    return reasons


def _number_that_fits(reasons: Sequence[Reason]) -> int:
    """How many reasons fit on the first screen; the gravest always does."""
    lines = 0
    for number, reason in enumerate(reasons):
        texts = (f"{reason.name} {reason.summary}", reason.fix)
        lines += sum(-(-len(text) // _CHARS_PER_LINE) for text in texts)
        if number and lines > _MOST_LINES:
            return number
    return len(reasons)
