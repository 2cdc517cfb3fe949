"""`coverage`: does the filter keep enough responses to extract from, and no thinking?"""

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.validation.checks.result import CheckResult, Figures
from traitvec_core.validation.elicitation import Elicitation, PoleSummary, summarise_responses

__all__ = ["check_coverage", "evaluate"]

# Fewer than this leave no question to hold out, or no spread within a pole.
_MIN_KEPT = 3
_MIN_QUESTIONS = 2
# Above this share of a pole, thinking moves its average; below it, and once, may be a quotation.
_MAX_LEAKED = 0.05
_LEAKED_ADVICE = (
    "Thinking is neither judged nor averaged: remove it from the responses, or generate with"
    " thinking switched off, and judge again."
)


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    return check_coverage(summarise_responses(folder.read_responses(), settings.response_filter))


def check_coverage(elicitation: Elicitation) -> CheckResult:
    """Check that both poles keep enough responses, questions and instructions, and no thinking.

    Fails when a pole is too small to extract and hold out from, or when more than one of its
    responses, and more than 5%, contain marks of thinking; warns when any do, and when the filter
    drops a question or an instruction entirely.
    """
    poles = {"pos": elicitation.positive, "neg": elicitation.negative}
    figures: Figures = {
        "kept_positive": elicitation.positive.kept,
        "kept_negative": elicitation.negative.kept,
        "questions_kept_positive": elicitation.questions_kept["pos"],
        "questions_kept_negative": elicitation.questions_kept["neg"],
        "instructions_kept_positive": elicitation.instructions_kept["pos"],
        "instructions_kept_negative": elicitation.instructions_kept["neg"],
        "leaked_thinking": sum(summary.leaked_thinking for summary in poles.values()),
    }
    kept = ", ".join(
        f"{summary.kept} of {summary.n} {'positives' if pole == 'pos' else 'negatives'}"
        for pole, summary in poles.items()
    )
    too_few = [
        pole
        for pole, summary in poles.items()
        if summary.kept < _MIN_KEPT or elicitation.questions_kept[pole] < _MIN_QUESTIONS
    ]
    if too_few:
        limits = elicitation.response_filter
        return CheckResult(
            name="coverage",
            verdict="fail",
            summary=f"too few responses are left to extract from: kept {kept} (positives score ≥"
            f" {limits.threshold:g} on the trait, negatives < {limits.threshold:g}, both ≥"
            f" {limits.min_coherence:g} on coherence)",
            advice=_advice(elicitation, too_few),
            figures=figures,
        )
    leaked = ", ".join(
        f"{summary.leaked_thinking} of {summary.n}"
        f" {'positives' if pole == 'pos' else 'negatives'} contain marks of thinking"
        for pole, summary in poles.items()
        if summary.leaked_thinking
    )
    most_leaked = {pole: max(1, _MAX_LEAKED * summary.n) for pole, summary in poles.items()}
    if any(summary.leaked_thinking > most_leaked[pole] for pole, summary in poles.items()):
        return CheckResult(
            name="coverage", verdict="fail", summary=leaked, advice=_LEAKED_ADVICE, figures=figures
        )
    dropped = [
        f"{total - count} {what if total - count > 1 else what[:-1]} of the {pole} pole"
        for what, counts, total in (
            ("questions", elicitation.questions_kept, elicitation.n_questions),
            ("instructions", elicitation.instructions_kept, elicitation.n_instructions),
        )
        for pole, count in counts.items()
        if count < total
    ]
    if dropped or leaked:
        parts = [f"kept {kept}", *([f"dropped entirely: {', '.join(dropped)}"] if dropped else [])]
        reword = "The report lists scores by instruction and question; reword those that fail."
        return CheckResult(
            name="coverage",
            verdict="warn",
            summary="; ".join([*parts, *([leaked] if leaked else [])]),
            advice=" ".join([reword] * bool(dropped) + [_LEAKED_ADVICE] * bool(leaked)),
            figures=figures,
        )
    return CheckResult(name="coverage", verdict="pass", summary=f"kept {kept}", figures=figures)


def _advice(elicitation: Elicitation, too_few: list[str]) -> str:
    poles = {"pos": ("positive", elicitation.positive), "neg": ("negative", elicitation.negative)}
    causes = [_cause(*poles[pole], elicitation.response_filter.min_coherence) for pole in too_few]
    is_unscored = any(_is_mostly_unscored(poles[pole][1]) for pole in too_few)
    remedy = (
        "The column judge_reason of responses/*.csv gives the reasons."
        if is_unscored
        else "Reword the instructions."
    )
    return f"{'; '.join(causes)}. {remedy}"


def _cause(name: str, summary: PoleSummary, min_coherence: float) -> str:
    if _is_mostly_unscored(summary):
        n = summary.n - summary.scored
        return f"{n} of {summary.n} {name} responses have no score {summary.missing}"
    if (summary.mean_coherence or 0) < min_coherence:
        return f"the {name} responses are incoherent (mean {summary.mean_coherence or 0:.0f})"
    return f"the {name} responses score {summary.mean_trait or 0:.0f} on the trait on average"


def _is_mostly_unscored(summary: PoleSummary) -> bool:
    return summary.n - summary.scored > summary.n / 2
