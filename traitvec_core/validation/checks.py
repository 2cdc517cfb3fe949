"""The arithmetic of every asset check: a verdict, its figures, and a sentence of advice.

A check that has nothing to test fails; it does not pass.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.experiment import NormThreshold, Thresholds
from traitvec_core.judging.agreement import Agreement
from traitvec_core.trait import TraitDefinition, parse_definition
from traitvec_core.validation.elicitation import Elicitation
from traitvec_core.validation.separation import Separation

__all__ = [
    "CheckResult",
    "check_accuracy",
    "check_activations",
    "check_agreement",
    "check_contrast",
    "check_coverage",
    "check_definition",
    "check_norm",
]

# Fewer than this leave no question to hold out, or no spread within a pole.
_MIN_KEPT = 3
_MIN_QUESTIONS = 2


class CheckResult(BaseModel):
    """One check's verdict on one trait.

    Attributes:
        name: The check's name.
        verdict: `pass`, `warn` or `fail`.
        summary: What was found, in one line.
        advice: What to do about it; empty when it passes.
        figures: The numbers and thresholds behind the verdict.
    """

    name: str
    verdict: Literal["pass", "warn", "fail"]
    summary: str
    advice: str = ""
    figures: dict[str, float | int | str | None] = Field(default_factory=dict)


def check_definition(data: bytes | None, where: str) -> CheckResult:
    """Whether the definition can be used; every problem is in the summary."""
    try:
        if data is None:
            raise DefinitionError(where, ["is missing"])
        definition: TraitDefinition = parse_definition(data, where)
    except TraitvecError as error:
        problems = len(error.problems) if isinstance(error, DefinitionError) else 1
        return CheckResult(
            name="definition",
            verdict="fail",
            summary=str(error),
            advice="Mend the file, then materialize `definition` and what follows.",
            figures={"problems": problems},
        )
    return CheckResult(
        name="definition",
        verdict="warn" if definition.warnings else "pass",
        summary="; ".join(definition.warnings)
        or f"{len(definition.instruction)} instruction pairs,"
        f" {len(definition.questions)} questions",
        figures={
            "instruction_pairs": len(definition.instruction),
            "questions": len(definition.questions),
            "warnings": len(definition.warnings),
        },
    )


def check_contrast(elicitation: Elicitation, thresholds: Thresholds) -> CheckResult:
    """Whether the instructions elicit the trait: mean score, positive − negative, unfiltered."""
    contrast = elicitation.contrast
    figures: dict[str, float | int | str | None] = {
        "contrast": contrast,
        "mean_positive": elicitation.positive.mean_trait,
        "mean_negative": elicitation.negative.mean_trait,
        "passes_above": thresholds.contrast,
        "fails_below": thresholds.contrast_warning,
    }
    if contrast is None:
        return CheckResult(
            name="contrast",
            verdict="fail",
            summary="a pole has no scored response, so there is no contrast to measure",
            advice=f"Missing scores by reason: positive {elicitation.positive.missing}, negative"
            f" {elicitation.negative.missing}.",
            figures=figures,
        )
    if contrast > thresholds.contrast:
        return CheckResult(
            name="contrast",
            verdict="pass",
            summary=f"contrast {contrast:.1f} (above {thresholds.contrast:g})",
            figures=figures,
        )
    warns = contrast >= thresholds.contrast_warning
    return CheckResult(
        name="contrast",
        verdict="warn" if warns else "fail",
        summary=f"contrast {contrast:.1f} is not above {thresholds.contrast:g}",
        advice=_contrast_advice(elicitation),
        figures=figures,
    )


def check_coverage(elicitation: Elicitation) -> CheckResult:
    """Whether both poles kept enough, of enough questions and of every instruction, to go on.

    Fails when a pole is too small to extract and hold out from; warns when a question or an
    instruction fell out of the filter entirely.
    """
    poles = {"pos": elicitation.positive, "neg": elicitation.negative}
    figures: dict[str, float | int | str | None] = {
        "kept_positive": elicitation.positive.kept,
        "kept_negative": elicitation.negative.kept,
        "questions_kept_positive": elicitation.questions_kept["pos"],
        "questions_kept_negative": elicitation.questions_kept["neg"],
        "instructions_kept_positive": elicitation.instructions_kept["pos"],
        "instructions_kept_negative": elicitation.instructions_kept["neg"],
    }
    kept = ", ".join(
        f"{summary.kept} of {summary.n} {'positives' if pole == 'pos' else 'negatives'}"
        for pole, summary in poles.items()
    )
    filter_ = (
        f"positives score ≥ {elicitation.threshold:g} on the trait, negatives <"
        f" {elicitation.threshold:g}, both ≥ {elicitation.min_coherence:g} on coherence"
    )
    too_few = [
        pole
        for pole, summary in poles.items()
        if summary.kept < _MIN_KEPT or elicitation.questions_kept[pole] < _MIN_QUESTIONS
    ]
    if too_few:
        return CheckResult(
            name="coverage",
            verdict="fail",
            summary=f"too few responses are left to extract from: kept {kept} ({filter_})",
            advice=_coverage_advice(elicitation, too_few),
            figures=figures,
        )
    lost = [
        f"{total - have} {what if total - have > 1 else what[:-1]} of the {pole} pole"
        for what, counts, total in (
            ("questions", elicitation.questions_kept, elicitation.n_questions),
            ("instructions", elicitation.instructions_kept, elicitation.n_instructions),
        )
        for pole, have in counts.items()
        if have < total
    ]
    if lost:
        return CheckResult(
            name="coverage",
            verdict="warn",
            summary=f"kept {kept}; filtered out whole: {', '.join(lost)}",
            advice="The report lists scores by instruction and question; reword what fails.",
            figures=figures,
        )
    return CheckResult(name="coverage", verdict="pass", summary=f"kept {kept}", figures=figures)


def check_activations(activations: torch.Tensor, metadata: Mapping[str, Any]) -> CheckResult:
    """Whether captured activations are finite, of both poles, and of the model's shape."""
    problems = []
    expected = [metadata["n_examples"], metadata["n_layers"], metadata["hidden_dim"]]
    if list(activations.shape) != expected:
        problems.append(f"shape {list(activations.shape)} is not {expected}")
    bad = (
        int((~torch.isfinite(activations)).any(dim=-1).any(dim=-1).sum())
        if activations.numel()
        else 0
    )
    if bad:
        problems.append(f"{bad} examples hold NaN or infinity")
    if not metadata["n_positive"] or not metadata["n_negative"]:
        problems.append("a pole has no example")
    dead = (
        [k for k in range(activations.shape[1]) if not bool(activations[:, k].any())]
        if activations.numel()
        else []
    )
    if dead:
        problems.append(f"layers {dead} are all zero")
    return CheckResult(
        name="sanity",
        verdict="fail" if problems else "pass",
        summary="; ".join(problems)
        or f"{expected[0]} examples × {expected[1]} layers × {expected[2]} dimensions, all finite",
        advice="Materialize `activations` again; if it stays, try dtype: float32."
        if problems
        else "",
        figures={
            "n_positive": metadata["n_positive"],
            "n_negative": metadata["n_negative"],
            "not_finite": bad,
        },
    )


def check_norm(vector_metadata: Mapping[str, Any] | None, threshold: NormThreshold) -> CheckResult:
    """Whether the recommended vector's norm lies in the experiment's range."""
    if vector_metadata is None:
        return CheckResult(
            name="norm",
            verdict="fail",
            summary="no vector is recommended, so there is no norm to hold",
            advice="Without held-out questions nothing can be recommended; see `accuracy`.",
        )
    key = "vector_norm" if threshold.kind == "absolute" else "relative_norm"
    value = float(vector_metadata[key])
    inside = threshold.minimum <= value <= threshold.maximum
    which = f"{vector_metadata['method']} at layer {vector_metadata['layer']}"
    return CheckResult(
        name="norm",
        verdict="pass" if inside else "fail",
        summary=f"{key} {value:.3g} of {which} is {'in' if inside else 'not in'}"
        f" [{threshold.minimum:g}, {threshold.maximum:g}]",
        advice=""
        if inside
        else "Norms carry over only between like models: set thresholds.norm in experiment.yaml to"
        " this model's range, or hold relative_norm (kind: relative).",
        figures={
            "held": key,
            "minimum": threshold.minimum,
            "maximum": threshold.maximum,
            "vector_norm": float(vector_metadata["vector_norm"]),
            "relative_norm": float(vector_metadata["relative_norm"]),
        },
    )


def check_accuracy(
    separation: Separation, train_accuracies: Sequence[float], thresholds: Thresholds
) -> CheckResult:
    """Whether a probe tells the poles apart on questions that it has not seen."""
    accuracy = separation.probe_accuracy
    figures: dict[str, float | int | str | None] = {
        "held_out_accuracy": accuracy,
        "best_train_accuracy": max(train_accuracies, default=None),
        "passes_above": thresholds.accuracy,
        "n_held_out": separation.n_held_out,
        "n_folds": separation.n_folds,
    }
    if accuracy is None or math.isnan(accuracy):
        return CheckResult(
            name="accuracy",
            verdict="fail",
            summary="nothing could be held out: two questions with both poles are needed",
            advice="Add questions, or see `coverage` for why so few responses were kept.",
            figures=figures,
        )
    passes = accuracy > thresholds.accuracy
    return CheckResult(
        name="accuracy",
        verdict="pass" if passes else "fail",
        summary=f"held-out probe accuracy {accuracy:.3f} over {separation.n_held_out} examples"
        f" ({'above' if passes else 'not above'} {thresholds.accuracy:g})",
        advice=""
        if passes
        else "Training accuracy does not help here: it is 1.0 for any labels when there are more"
        " dimensions than examples. Look at contrast and at the instructions first.",
        figures=figures,
    )


def check_agreement(agreements: Sequence[Agreement], threshold: float) -> CheckResult:
    """Whether a second judge, people and the judge itself decide as the judge did; it only warns.

    Args:
        agreements: What the judge was compared with.
        threshold: Share on the same side of the kept/left-out line that passes.
    """
    if not agreements:
        return CheckResult(
            name="agreement",
            verdict="warn",
            summary="the judge of this trait was compared with nobody",
            advice="Set second_judge or judge_repeats, or put human_scores.csv into the folder.",
        )
    figures: dict[str, float | int | str | None] = {"passes_from": threshold}
    lines, doubtful = [], []
    for found in agreements:
        side = found.same_side
        if side.value is None:
            doubtful.append(found.with_)
            lines.append(f"{found.with_}: only {found.n} responses scored by both")
            continue
        if side.value < threshold:
            doubtful.append(found.with_)
        lines.append(
            f"{found.with_}: {side.value:.0%} on the same side"
            f" [{side.low:.0%}, {side.high:.0%}], mean difference"
            f" {found.mean_absolute_difference.value:.1f}"
            + ("" if found.pearson.value is None else f", r = {found.pearson.value:.2f}")
            + f" (n = {found.n})"
        )
    worst = min(agreements, key=lambda found: found.same_side.value or 0.0)
    figures |= {
        "compared_with": worst.with_,
        "same_side": worst.same_side.value,
        "pearson": worst.pearson.value,
        "spearman": worst.spearman.value,
        "mean_absolute_difference": worst.mean_absolute_difference.value,
        "n": worst.n,
        "missing": worst.missing,
    }
    return CheckResult(
        name="agreement",
        verdict="warn" if doubtful else "pass",
        summary="; ".join(lines),
        advice=f"Read responses that {' and '.join(doubtful)} and the judge decide differently on"
        " (both scores are in responses/judging_metadata.json); sharpen the rubric, or take a"
        " stronger judge."
        if doubtful
        else "",
        figures=figures,
    )


def _contrast_advice(elicitation: Elicitation) -> str:
    scored = [row for row in elicitation.by_instruction if row["contrast"] is not None]
    if not scored:
        return "No instruction pair has scores on both poles."
    weakest = min(scored, key=lambda row: row["contrast"])
    positive, negative = elicitation.positive.mean_trait or 0, elicitation.negative.mean_trait or 0
    if positive < 50 and negative < 50:
        cause = "the positive instructions barely change the answers"
    elif positive >= 50 and negative >= 50:
        cause = "the negative instructions do not take the trait away"
    else:
        cause = "the poles overlap"
    return (
        f"Here {cause} (positive {positive:.0f}, negative {negative:.0f}); the weakest pair is"
        f" instruction {weakest['number']} with {weakest['contrast']:.1f}."
    )


def _coverage_advice(elicitation: Elicitation, too_few: list[str]) -> str:
    parts = []
    mend = "Reword the instructions."
    for pole in too_few:
        summary = elicitation.positive if pole == "pos" else elicitation.negative
        name = "positive" if pole == "pos" else "negative"
        unscored = summary.n - summary.scored
        if unscored > summary.n / 2:
            parts.append(
                f"{unscored} of {summary.n} {name} responses have no score {summary.missing}"
            )
            mend = "Why is told in judge_reason in responses/*.csv."
        elif (summary.mean_coherence or 0) < elicitation.min_coherence:
            parts.append(
                f"the {name} responses are incoherent (mean {summary.mean_coherence or 0:.0f})"
            )
        else:
            parts.append(
                f"the {name} responses score {summary.mean_trait or 0:.0f} on the trait on average"
            )
    return f"{'; '.join(parts)}. {mend}"
