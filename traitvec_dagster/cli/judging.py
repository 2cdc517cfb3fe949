"""`traitvec estimate` and `traitvec judgements`: the cost of judging, before and after."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from traitvec_core.errors import TraitvecError
from traitvec_core.visible_text import one_line
from traitvec_dagster.cli.terminal import (
    ExperimentName,
    Root,
    chosen_traits,
    experiment_folder,
    note_retirement,
    out,
    print_json,
    read_overrides,
)

if TYPE_CHECKING:
    from traitvec_core.judging.judgement_store import JudgementStore
    from traitvec_dagster.project import Project

__all__ = ["estimate", "judgements"]

judgements = typer.Typer(
    no_args_is_help=True,
    help="List the cost of all stored judgements, or delete old ones.",
)


def estimate(
    experiment: ExperimentName,
    trait: Annotated[
        str, typer.Option("--trait", "--traits", help="One trait, several (a,b,c), or 'all'.")
    ] = "all",
    judge_model: Annotated[str | None, typer.Option(help="Another judge model.")] = None,
    n_examples: Annotated[int | None, typer.Option(help="Responses per pole.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting: --set judge_mode=batch"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    experiments_dir: Root = None,
) -> None:
    """Estimate what judging will cost. Makes no API calls and needs no key.

    Uses the responses that exist; others are assumed to have the maximal length. Stored judgements
    cost nothing.
    """
    from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE, JudgementStore
    from traitvec_core.judging.prices import prices_as_of
    from traitvec_core.stages.estimate import estimate_trait
    from traitvec_dagster.project import Project

    project = Project(experiments_dir)
    folder = experiment_folder(project, experiment)
    flags = {"judge_model": judge_model, "n_examples": n_examples}
    settings = folder.settings(read_overrides(flags, set_ or []))
    path = project.experiments / JUDGEMENTS_FILE
    with JudgementStore(path if path.is_file() else None) as store:
        rows = []
        for name in chosen_traits(folder, trait):
            rows += estimate_trait(folder.trait(name), settings, store)
        spent_usd = store.spent_usd(experiment)
    totals = {
        name: None if any(v is None for v in values) else round(sum(values), 6)
        for name in ("judgements", "known", "tokens_in", "tokens_out", "usd", "usd_batch")
        for values in [[getattr(row, name) for row in rows]]
    }
    if as_json:
        estimate_json = {
            "traits": [vars(row) for row in rows],
            "total": totals,
            "spent_usd": spent_usd,
            "max_judge_usd": settings.max_judge_usd,
            "prices_as_of": prices_as_of(),
        }
        print_json(estimate_json)
        return
    note_retirement(settings)
    table = Table(title=f"{experiment}: judging", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("trait", "judge"):
        table.add_column(name, no_wrap=True)
    for name in ("judgements", "paid already", "tokens in", "tokens out", "live", "batch"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.trait,
            one_line(row.judge) + ("" if row.purpose == "scores" else f" ({row.purpose})"),
            *_cells(vars(row), "≤ " if row.is_planned else ""),
        )
    table.add_section()
    table.add_row(Text("all", "bold"), "", *_cells(totals, ""))
    out.print(table)
    if any(row.is_planned for row in rows):
        out.print("≤: no responses yet; assumes the maximal length")
    if any(row.purpose == "steering" for row in rows):
        out.print("steering is never judged in batches; `--set steering.evaluate=false` skips it")
    if any(row.purpose == "dynamics" for row in rows):
        out.print(
            "dynamics of monitoring_prompts are never judged in batches;"
            " `--set monitoring_prompts=[]` skips them"
        )
    out.print(f"spent so far by {experiment}: ${spent_usd:.2f}" + _budget(settings.max_judge_usd))
    out.print(
        f"Token counts are approximate (four characters each). List prices from {prices_as_of()};"
        " judge_prices in experiment.yaml overrides them."
    )


@judgements.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    experiments_dir: Root = None,
) -> None:
    """List judgements, tokens and dollars by experiment, trait and judge."""
    from traitvec_dagster.project import Project

    with _store(Project(experiments_dir)) as store:
        rows = store.summary()
    if as_json:
        print_json(rows)
        return
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("experiment", "trait", "judge"):
        table.add_column(name, no_wrap=True)
    for name in ("judgements", "with score", "tokens in", "tokens out", "dollars", "last"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row["experiment"], row["trait"], one_line(str(row["model"])),
            f"{row['judgements']:,}", f"{row['scored']:,}", f"{row['tokens_in']:,}",
            f"{row['tokens_out']:,}", _dollars(row["usd"]), row["last"][:10],
        )  # fmt: skip
    out.print(table)
    out.print(
        "A judgement that several traits or experiments share is listed with the one that paid."
    )


@judgements.command()
def prune(
    older_than: Annotated[
        float | None, typer.Option(help="Judgements made more than this many days ago.")
    ] = None,
    judge_model: Annotated[str | None, typer.Option(help="Judgements of this judge.")] = None,
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="Judgements that this experiment paid for.")
    ] = None,
    only_missing: Annotated[
        bool, typer.Option("--only-missing", help="Judgements without a score, but no refusals.")
    ] = False,
    experiments_dir: Root = None,
) -> None:
    """Delete the judgements that match all given options. Results that used them stay.

    A deleted judgement is requested, and paid for, again when it is needed again.
    """
    from traitvec_dagster.project import Project

    if older_than is None and judge_model is None and experiment is None and not only_missing:
        raise TraitvecError(
            "name what to delete: --older-than DAYS, --judge-model NAME, --experiment NAME,"
            " --only-missing"
        )
    with _store(Project(experiments_dir)) as store:
        deleted = store.prune(
            older_than_days=older_than, model=judge_model, experiment=experiment,
            only_missing=only_missing,
        )  # fmt: skip
    out.print(f"{deleted} judgements deleted")


@judgements.command()
def sheet(
    experiment: ExperimentName,
    trait: Annotated[str, typer.Option("--trait", help="Name of the trait.")],
    file: Annotated[Path, typer.Option("--out", help="CSV file to write; it must be new.")],
    responses: Annotated[
        int | None,
        typer.Option(min=1, help="Number of responses. Default: the setting agreement_sample."),
    ] = None,
    experiments_dir: Root = None,
) -> None:
    """Write a sheet of responses for people to score, which is safe to open in a spreadsheet.

    Example: traitvec judgements sheet --experiment demo --trait refusal --out refusal.csv
    """
    from traitvec_core.judging.score_sheet import score_sheet
    from traitvec_core.storage.files import display_path, write_atomically
    from traitvec_dagster.project import Project

    folder = experiment_folder(Project(experiments_dir), experiment)
    trait_folder = folder.trait(trait)
    if file.exists():
        raise TraitvecError(f"{display_path(file)} exists already; choose another name")
    judged = trait_folder.read_responses()
    size = responses or folder.settings().agreement_sample
    write_atomically(file, score_sheet(judged, size))
    out.print(f"wrote {display_path(file)}")
    out.print(
        f"next: fill in trait_score, and save it as {display_path(trait_folder.human_scores_path)}"
    )


def _store(project: "Project") -> "JudgementStore":
    from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE, JudgementStore
    from traitvec_core.storage.files import display_path

    path = project.experiments / JUDGEMENTS_FILE
    if not path.is_file():
        raise TraitvecError(f"{display_path(path)} does not exist: nothing has been judged yet")
    return JudgementStore(path)


def _cells(row: dict[str, Any], bound: str) -> list[str]:
    return [
        f"{row['judgements']:,}", f"{row['known']:,}",
        f"{bound}{row['tokens_in']:,}", f"{row['tokens_out']:,}",
        _dollars(row["usd"], bound), _dollars(row["usd_batch"], bound),
    ]  # fmt: skip


def _dollars(usd: float | None, bound: str = "") -> str:
    return "price unknown" if usd is None else f"{bound}${usd:.4f}" if usd else "–"


def _budget(limit_usd: float | None) -> str:
    return "" if limit_usd is None else f" of max_judge_usd ${limit_usd:.2f}"
