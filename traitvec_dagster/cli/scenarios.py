"""`traitvec scenarios`: a model writes scenarios into the definition of a trait that has none."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from traitvec_core.visible_text import one_line
from traitvec_dagster.cli.lint_lines import print_weaknesses
from traitvec_dagster.cli.terminal import (
    ExperimentName,
    Root,
    experiment_folder,
    open_project,
    out,
    print_json,
    trusted_settings,
)
from traitvec_dagster.cli.writer import most_dollars, print_progress, writer_for

if TYPE_CHECKING:
    from traitvec_core.writing import Writer

__all__ = ["scenarios"]


def scenarios(
    experiment: ExperimentName,
    trait: Annotated[str, typer.Option("--trait", help="Name of the trait.")],
    writer_model: Annotated[
        str | None,
        typer.Option(help="Model that writes. Default: the experiment's judge."),
    ] = None,
    max_usd: Annotated[
        float | None,
        typer.Option(
            min=0, help="Most dollars, over all attempts and interruptions. Default: 1.00."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other scenarios.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; progress goes to stderr.")
    ] = False,
    experiments_dir: Root = None,
) -> None:
    """Let a model write ten scenarios into the definition of a trait that has none.

    Scenarios are pairs of openings, for 'elicitation: scenarios' and `new-experiment
    --scenarios-of`. All else in the definition stays, and what was made from its instructions stays
    fresh. An interrupted command goes on.

    Example: traitvec scenarios --experiment mine --trait sycophancy
    """
    from traitvec_core.storage.files import display_path
    from traitvec_core.validation.lint import lint
    from traitvec_core.writing import add_scenarios, check_needs_scenarios

    folder = experiment_folder(open_project(experiments_dir), experiment)
    settings = trusted_settings(folder, {})
    trait_folder = folder.trait(trait)
    # Before anybody creates a key for it.
    check_needs_scenarios(trait_folder)
    writer = writer_for(writer_model, settings, max_usd)
    limit = most_dollars(max_usd)
    _print_estimate(writer, trait, limit)
    added = add_scenarios(trait_folder, writer, max_usd=limit, seed=seed, say=print_progress)
    folder.refresh()
    findings = [
        finding
        for finding in lint(added.definition, trait)
        if finding.place.startswith("scenarios")
    ]
    shown, usd = display_path(trait_folder.definition_path), added.record["usd"]
    if as_json:
        print_json(
            {
                "trait": trait,
                "definition": shown,
                "scenarios": [pair.model_dump() for pair in added.definition.scenarios],
                "record": added.record,
                "findings": [asdict(finding) for finding in findings],
            }
        )
        return
    cost = "price unknown" if usd is None else f"${usd:.4f}"
    out.print(
        f"added {len(added.definition.scenarios)} scenarios to {shown}, by"
        f" {one_line(writer.name)} ({cost}, {added.record['calls']} answers); read them"
    )
    print_weaknesses(trait, added.definition, findings)
    if settings.elicitation == "scenarios":
        out.print(f"next: traitvec try --experiment {experiment} --trait {trait}")
    elif settings.second_elicitation is None:
        out.print(
            f"next: traitvec new-experiment {experiment}_scenarios --scenarios-of {experiment}"
        )


def _print_estimate(writer: "Writer", trait: str, max_usd: float) -> None:
    line = f"scenarios of {trait} by {writer.name}: 1 request (at most 2 with the linter's)"
    if writer.price is None:
        line += "; its price is unknown, so no budget can be kept"
    elif writer.price.usd(1, 1):
        line += f", at most ${max_usd:g}"
    else:
        line += ", free of charge"
    print_progress(line)
