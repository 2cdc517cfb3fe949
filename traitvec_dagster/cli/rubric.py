"""`traitvec rubric`: which of two rubrics, or of two judges, agrees better with people."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from traitvec_core.errors import TraitvecError
from traitvec_core.visible_text import one_line
from traitvec_dagster.cli.terminal import (
    ExperimentName,
    Root,
    err,
    experiment_folder,
    open_project,
    out,
    print_json,
    print_notes,
)

if TYPE_CHECKING:
    from traitvec_core.judging.cost_estimate import JudgingCost
    from traitvec_core.rubrics import ContenderResult, RubricComparison

__all__ = ["rubric"]

_SHOWN_CHARS = 160


def rubric(
    experiment: ExperimentName,
    trait: Annotated[str, typer.Option("--trait", help="Name of the trait.")],
    against: Annotated[
        Path | None,
        typer.Option(
            help="Another rubric: a text file with {question} and {answer}, or a trait definition"
            " (JSON). It is compared with the trait's own."
        ),
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option(help="The judge. Default: the trait's.")
    ] = None,
    against_judge: Annotated[
        str | None,
        typer.Option(help="Another judge, instead of --against: both apply the trait's rubric."),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="CSV table of people's scores: question, response, human_score; or a filled-in"
            " sheet of `traitvec judgements sheet`. Default: the trait's human_scores.csv."
        ),
    ] = None,
    max_usd: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Most dollars for this comparison. The experiment's max_judge_usd holds, too.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; progress goes to stderr.")
    ] = False,
    experiments_dir: Root = None,
) -> None:
    """Measure which of two rubrics, or of two judges, agrees better with people.

    Examples:
    traitvec rubric --experiment mine --trait sycophancy --against new_rubric.txt

    traitvec rubric --experiment mine --trait sycophancy --judge-model gpt-6.1-terra
    --against-judge claude-haiku-4-5

    Agreement is the rank correlation (Spearman) with people's scores, with a 95% interval for each
    and for the difference. Ten labelled responses are the fewest; 40 or more show more. Judgements
    are stored: nothing is paid for twice, and an interrupted comparison goes on.
    """
    from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE, JudgementStore
    from traitvec_core.rubrics import (
        estimate_comparison,
        parse_labels,
        parse_rubric,
        plan_comparison,
        run_comparison,
    )
    from traitvec_core.trust import exposed_keys
    from traitvec_core.user_files import MAX_DEFINITION_BYTES, MAX_HUMAN_SCORES_BYTES

    folder = experiment_folder(open_project(experiments_dir), experiment)
    name = one_line(against.name) if against else ""
    plan = plan_comparison(
        folder, trait,
        against=parse_rubric(_read(against, MAX_DEFINITION_BYTES), name) if against else None,
        against_name=name,
        judge=judge_model,
        against_judge=against_judge,
        labels=parse_labels(
            _read(scores, MAX_HUMAN_SCORES_BYTES), one_line(scores.name), folder.trait(trait)
        )
        if scores
        else None,
    )  # fmt: skip
    print_notes(exposed_keys(plan.settings))
    store_path = folder.path.parent / JUDGEMENTS_FILE
    with JudgementStore(store_path if store_path.is_file() else None) as store:
        _print_estimate(len(plan.labels), estimate_comparison(plan, store), max_usd)
    comparison = run_comparison(plan, max_usd=max_usd, say=lambda line: err.print(one_line(line)))
    if as_json:
        print_json(comparison.model_dump(mode="json") | {"conclusion": comparison.conclusion})
        return
    _print_comparison(comparison)


def _read(path: Path, most_bytes: int) -> bytes:
    from traitvec_core.user_files import read_file

    try:
        return read_file(path, one_line(path.name), most_bytes)
    except OSError as error:
        raise TraitvecError(f"{one_line(str(path))} cannot be read: {error.strerror}") from None


def _print_estimate(n_labels: int, costs: "list[JudgingCost]", max_usd: float | None) -> None:
    n, known = sum(cost.judgements for cost in costs), sum(cost.known for cost in costs)
    line = f"{n_labels} labelled responses, {n} judgements, {known} of them known"
    prices = [cost.usd for cost in costs]
    if None in prices:
        line += "; a price is unknown, so the cost is too"
    elif usd := sum(price for price in prices if price is not None):
        line += f"; about ${usd:.4f}" + ("" if max_usd is None else f", at most ${max_usd:g}")
    else:
        line += "; free of charge"
    err.print(line)


def _print_comparison(result: "RubricComparison") -> None:
    first, second = result.first, result.second
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("", "judge"):
        table.add_column(column)
    for column in ("agreement with people", "without a score"):
        table.add_column(column, justify="right")
    for side in (first, second):
        table.add_row(
            one_line(side.name), one_line(side.judge), side.spearman.format(".2f"),
            str(sum(side.missing.values())),
        )  # fmt: skip
    out.print(table)
    out.print(
        "Spearman's rank correlation with its 95% interval, over the"
        f" {result.n} of {result.labels} labelled responses that both have scored"
    )
    if len(result.anchors) > 1:
        out.print(_anchors(result))
    out.print(one_line(result.conclusion))
    paid = "price unknown" if result.paid_usd is None else f"${result.paid_usd:.4f}"
    out.print(f"{result.n_asked} new judgements ({paid})")
    for side in (first, second):
        _note_missing(side, result.labels)
    if result.unfinished:
        n = sum(result.unfinished.values())
        print_notes([f"{n} judgements are unfinished: run the same command again to ask for them"])
    if result.disagreements:
        ahead = one_line((first if result.ahead == "first" else second).name)
        out.print(f"\nfurthest from people's order, by {ahead}:")
    for row in result.disagreements:
        own = row.first if result.ahead == "first" else row.second
        out.print(f"  {one_line(row.question_id)}: people {row.people:g}, {ahead} {own:.1f}")
        out.print(f"    {_clipped(row.question)}")
        out.print(f"    {_clipped(row.response)}")


def _anchors(result: "RubricComparison") -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    names = (result.first.name, result.second.name)
    for column in ("people near", "responses", "people", *map(one_line, names)):
        table.add_column(column, justify="right")
    for row in result.anchors:
        table.add_row(
            str(row.anchor), str(row.n), *(f"{m:.1f}" for m in (row.people, row.first, row.second))
        )
    return table


def _note_missing(side: "ContenderResult", n_labels: int) -> None:
    if side.missing:
        common = max(side.missing, key=lambda reason: side.missing[reason])
        print_notes(
            [
                f"{side.name}: {sum(side.missing.values())} of {n_labels} responses have no score;"
                f" most often: {common} ({side.missing[common]})"
            ]
        )


def _clipped(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}…"
