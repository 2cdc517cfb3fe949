"""`traitvec try`: a trial of a trait, and what it names is reworded or dropped on request."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

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
    read_overrides,
    trusted_settings,
)
from traitvec_dagster.cli.writer import most_dollars, print_progress, writer_for

if TYPE_CHECKING:
    from traitvec_core.experiment import ExperimentSettings
    from traitvec_core.models.files import LoadOptions
    from traitvec_core.models.language_model import LanguageModel
    from traitvec_core.stages.context import Workbench
    from traitvec_core.storage.folders import TraitFolder
    from traitvec_core.trial import Change, Revised, Revision, Trial, Tried
    from traitvec_core.writing import Writer
    from traitvec_dagster.project import Project

__all__ = ["try_"]

_MOST_CHARS = 110
_STYLES = {"keep": "green", "reword": "yellow", "drop": "red"}
_ENDINGS = {
    "reached": "the contrast is reached, and nothing stands out",
    "did not move": "stopped: the last rewording did not raise the contrast",
    "rounds": "stopped after the most rewordings",
    "refused": "the definition is as it was; the new texts are kept and cost nothing again",
    "no writer": "",
    "unfinished": "nothing was reworded, because judgements are missing",
}


def try_(
    experiment: ExperimentName,
    trait: Annotated[str, typer.Option("--trait", help="Name of the trait.")],
    questions: Annotated[
        int, typer.Option("--questions", min=2, help="Questions on which each pair is tried.")
    ] = 5,
    revise: Annotated[
        bool,
        typer.Option(
            "--revise",
            help="Let the writer reword what elicits nothing, and try again: at most three times,"
            " until the contrast is reached or does not move.",
        ),
    ] = False,
    drop: Annotated[
        bool,
        typer.Option("--drop", help="Remove what elicits nothing; with --revise, what still does."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Change the definition without asking.")
    ] = False,
    writer_model: Annotated[
        str | None,
        typer.Option(help="Model that rewords. Default: the experiment's judge."),
    ] = None,
    max_usd: Annotated[
        float | None, typer.Option(min=0, help="Most dollars for rewording. Default: 1.00.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other new texts.")] = 0,
    n_examples: Annotated[
        int | None, typer.Option(help="Responses per pole of the run that follows.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting: --set max_judge_usd=1"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; progress goes to stderr.")
    ] = False,
    experiments_dir: Root = None,
) -> None:
    """Try a trait before the money is spent: a small part of its run, generated and judged.

    Shows the contrast by pair and by question with example responses, names those that elicit
    nothing, and proposes to keep, reword or drop them. The run that follows generates and judges
    nothing of it again, and an interrupted trial goes on. Earlier versions of the definition stay
    beside it as trait_definition.1.json, .2.json, ….

    Example: traitvec try --experiment mine --trait sycophancy --revise
    """
    from traitvec_core.trial import revise_trait

    project = open_project(experiments_dir)
    folder = experiment_folder(project, experiment)
    settings = trusted_settings(folder, read_overrides({"n_examples": n_examples}, set_ or []))
    trait_folder = folder.trait(trait)
    trait_folder.read_definition_bytes()
    if not revise and (writer_model or max_usd is not None):
        raise TraitvecError("--writer-model and --max-usd belong to --revise")
    asks = (revise or drop) and not yes
    if asks and not sys.stdin.isatty():
        raise TraitvecError(
            "--revise and --drop change the definition and ask first; where nobody can answer, add"
            " --yes"
        )
    writer = _writer(writer_model, settings, max_usd) if revise else None
    limit = most_dollars(max_usd)
    _print_estimate(project, trait_folder, settings, questions, writer, limit)
    with _models(trait) as bench:
        revised = revise_trait(
            trait_folder, settings, bench, writer=writer, drop=drop, max_usd=limit, seed=seed,
            n_questions=questions,
            confirm=lambda tried, changes: _confirm(changes, asks=asks),
            on_trial=lambda tried: None if as_json else _print_trial(tried),
            say=print_progress,
        )  # fmt: skip
    folder.refresh()
    if as_json:
        print_json(revised.model_dump(mode="json"))
        return
    _print_end(revised, experiment, is_revising=revise)


@contextmanager
def _models(trait: str) -> Iterator["Workbench"]:
    """Yield a workbench whose models all trials of this process share, on a GPU of their own."""
    from traitvec_core.generation.engine_process import stop_engine
    from traitvec_core.models.language_model import load_language_model
    from traitvec_core.stages.context import Workbench
    from traitvec_dagster.runs.gpu_lease import Step, step_at

    loaded: dict[tuple[str, LoadOptions], LanguageModel] = {}
    step = Step(f"a trial of {trait}", print_progress, lambda gpu: None, keeps_gpu=False)

    def load(name: str, options: "LoadOptions") -> "LanguageModel":
        step.take_seat()
        if (name, options) not in loaded:
            loaded[name, options] = load_language_model(name, **vars(options))
        return loaded[name, options]

    def unload() -> None:
        loaded.clear()
        stop_engine()

    with step_at("gpu", step, unload):
        yield Workbench(load_model=load, claim_gpu=step.take_seat, say=print_progress)


def _writer(
    name: str | None, settings: "ExperimentSettings", max_usd: float | None
) -> "Writer | None":
    from traitvec_core.writing import NoWriterError

    try:
        return writer_for(name, settings, max_usd)
    except NoWriterError as error:
        print_notes([str(error)])
        return None


def _print_estimate(
    project: "Project",
    folder: "TraitFolder",
    settings: "ExperimentSettings",
    questions: int,
    writer: "Writer | None",
    max_usd: float,
) -> None:
    from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE, JudgementStore
    from traitvec_core.trial import estimate_trial

    path = project.experiments / JUDGEMENTS_FILE
    with JudgementStore(path if path.is_file() else None) as store:
        estimate = estimate_trial(folder, settings, store, n_questions=questions)
    there = estimate.n_responses - estimate.n_new
    line = f"trying {folder.name}: {estimate.n_responses} responses"
    line += f" ({there} are there already)" if there else ""
    line += f", {estimate.judgements} judgements by {settings.judge_of(folder.name)}"
    if estimate.usd is None:
        line += ", price unknown"
    elif estimate.usd:
        line += f" (at most ${estimate.usd:.4f})"
    else:
        line += ", nothing to pay"
    if writer is not None:
        costs = "price unknown" if writer.price is None else f"at most ${max_usd:g}"
        line += f"; rewording by {writer.name}, {costs}"
    print_progress(line)


def _confirm(changes: "Sequence[Change]", *, asks: bool) -> bool:
    for change in changes:
        for label, texts in (("-", change.before), ("+", change.after)):
            for text in texts:
                err.print(Text(f"  {change.place} {label} {_cut(text)}"))
    return not asks or typer.confirm("Change the definition? The earlier one is kept", err=True)


def _print_trial(tried: "Trial") -> None:
    out.print(
        f"contrast {tried.contrast.format('.0f')} (to be reached: {tried.threshold:g}) over"
        f" {tried.n_responses} responses, {tried.generated} of them new"
        + (f"; {tried.missing} without a score" if tried.missing else "")
    )
    for title, items in (("pair", tried.pairs), ("question", tried.questions)):
        total = f" of {tried.n_questions}" if title == "question" else ""
        out.print(f"by {title} ({len(items)}{total} tried):")
        for item in items:
            _print_item(item)


def _print_item(item: "Tried") -> None:
    over = f"over {item.n}"
    out.print(
        Text.assemble(
            f"  {item.place}  {item.contrast.format('.0f')} {over}  ",
            (item.proposal, _STYLES[item.proposal]),
            f" ({item.reason})" if item.reason else "",
        )
    )
    out.print(Text(f"      {_cut(item.text)}"))
    for example in item.examples:
        score = "  –" if example.score is None else f"{example.score:3.0f}"
        out.print(Text(f"      {example.pole} {score}  {_cut(example.response)}", style="dim"))


def _print_end(revised: "Revised", experiment: str, *, is_revising: bool) -> None:
    tried = revised.trial
    for revision in revised.revisions:
        out.print(_described(revision))
    named = ", ".join(item.place for item in tried.elicit_nothing)
    dropped = {c.place for r in revised.revisions for c in r.changes if not c.after}
    if tried.unfinished:
        reason = max(tried.unfinished, key=lambda reason: tried.unfinished[reason])
        n_missing = sum(tried.unfinished.values())
        out.print(
            f"{n_missing} judgements are missing ({one_line(reason)[:80]}); the same command asks"
            " only for those"
        )
    if named and not dropped:
        out.print(f"elicit nothing: {named}")
    elif not (tried.is_reached or named or tried.unfinished):
        out.print("the trait as a whole is elicited too weakly: no pair or question stands out")
    if is_revising and (ending := _ENDINGS[revised.ending]):
        out.print(ending)
    costs = [("judge", revised.judge_usd)]
    costs += [("writer", revised.writer_usd)] if is_revising else []
    spent = ", ".join(f"{who} {_dollars(usd)}" for who, usd in costs)
    out.print(
        f"spent: {spent}; {revised.generated} responses generated; the run reuses"
        f" {tried.reused_by_run} of its {tried.planned}"
    )
    if named and not dropped and not is_revising:
        advice = (
            f"traitvec try --experiment {experiment} --trait {tried.trait} --revise (or --drop)"
        )
        out.print(f"next: {advice}")
    else:
        out.print(f"next: traitvec run --experiment {experiment} --trait {tried.trait}")


def _described(revision: "Revision") -> str:
    places = ", ".join(change.place for change in revision.changes)
    before = _number(revision.contrast_before)
    if not any(change.after for change in revision.changes):
        return f"dropped {places}; the definition before is {revision.earlier}"
    line = f"reworded {places}: contrast {before} → {_number(revision.contrast_after)}"
    if revision.is_undone:
        return f"{line}; undone, because they elicited less ({revision.earlier} is back)"
    return f"{line}; the definition before is {revision.earlier}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _dollars(usd: float | None) -> str:
    return "price unknown" if usd is None else f"${usd:.4f}"


def _cut(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= _MOST_CHARS else f"{line[: _MOST_CHARS - 1]}…"
