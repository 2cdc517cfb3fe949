"""`traitvec new-experiment`, `new-trait` and `check`: write an experiment and check it."""

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from traitvec_core.errors import TraitvecError
from traitvec_core.visible_text import one_line
from traitvec_dagster.cli.terminal import (
    ExperimentName,
    Root,
    complain,
    err,
    experiment_folder,
    note_retirement,
    open_project,
    out,
    print_notes,
)

if TYPE_CHECKING:
    from traitvec_core.elicited_by import ElicitedBy
    from traitvec_core.storage.folders import ExperimentFolder

__all__ = ["check", "new_experiment", "new_trait"]


def new_experiment(
    name: Annotated[
        str,
        typer.Argument(help="Name of the experiment: lower-case letters, digits, '_' and '-'."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="Model to study: a Hugging Face id, a folder, a GGUF file, or 'embedded' (the"
            " small model that ships with traitvec). Default: taken from the name if it starts"
            " with gemma_2b_, gemma_9b_ or llama_8b_, else 'embedded'."
        ),
    ] = None,
    judge_model: Annotated[
        str | None,
        typer.Option(
            help="Model that scores the responses: gpt-…, claude-…, a Hugging Face id, a"
            " GGUF file, or 'embedded'. Default: gpt-6.1-terra; 'embedded' if that is the model."
        ),
    ] = None,
    description: Annotated[str, typer.Option(help="What the experiment is for.")] = "",
    experiments_dir: Root = None,
) -> None:
    """Create an experiment: a folder with a commented experiment.yaml.

    Example: traitvec new-experiment mine --model google/gemma-2-2b-it --judge-model gpt-6.1-terra
    """
    from traitvec_core.embedded import EMBEDDED_MODEL
    from traitvec_core.experiment import default_judge, infer_model, scaffold_experiment
    from traitvec_core.storage.files import SETTINGS_FILE, display_path
    from traitvec_core.storage.folders import ExperimentFolder
    from traitvec_core.trust import allow, grants_of
    from traitvec_dagster.project import Project

    folder = ExperimentFolder(Project(experiments_dir).experiments, name)
    folder.refresh()
    if folder.settings_path.exists():
        raise TraitvecError(
            f"{display_path(folder.settings_path)} exists already; edit it, or choose another name"
        )
    chosen = model or infer_model(folder.name) or EMBEDDED_MODEL
    judge = judge_model or default_judge(chosen)
    folder.write(SETTINGS_FILE, scaffold_experiment(chosen, judge, description).encode())
    folder.refresh()
    settings = folder.settings()
    # Written here, at the owner's command.
    allow(folder, grants_of(folder, settings))
    note_retirement(settings)
    out.print(f"wrote {display_path(folder.settings_path)}")
    out.print(f"next: traitvec new-trait --experiment {name} --trait my_trait")


def new_trait(
    experiment: ExperimentName,
    trait: Annotated[str, typer.Option("--trait", help="Name of the trait.")],
    description: Annotated[str, typer.Option(help="The trait in one sentence.")] = "",
    example: Annotated[
        bool,
        typer.Option("--example", help="Write a complete worked example instead of a form."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing definition.")] = False,
    experiments_dir: Root = None,
) -> None:
    """Write a trait definition: a form to fill in, or a worked example.

    Example: traitvec new-trait --experiment mine --trait sycophancy --example
    """
    from traitvec_core.settings.trait_form import scaffold_definition
    from traitvec_core.storage.files import DEFINITION_FILE, display_path
    from traitvec_dagster.project import Project

    experiment_path = experiment_folder(Project(experiments_dir), experiment)
    folder = experiment_path.trait(trait)
    if folder.definition_path.exists() and not force:
        raise TraitvecError(
            f"{display_path(folder.definition_path)} exists already; --force replaces it"
        )
    elicited_by: ElicitedBy = "instructions"
    # A form helps also where the settings cannot be read yet.
    with suppress(TraitvecError):
        elicited_by = experiment_path.settings().elicitation
    text = scaffold_definition(trait, description, example=example, elicited_by=elicited_by)
    folder.write(DEFINITION_FILE, text.encode())
    experiment_path.refresh()
    out.print(f"wrote {display_path(folder.definition_path)}")
    if not example:
        out.print(
            "fill it in (five pairs are enough for a first try: delete the others), then:"
            f" traitvec check --experiment {experiment}"
        )
    else:
        out.print(f"next: traitvec run --experiment {experiment} --trait {trait}")


def check(
    experiment: ExperimentName,
    trait: Annotated[
        str | None, typer.Option("--trait", help="Check only this trait. Default: all.")
    ] = None,
    experiments_dir: Root = None,
) -> None:
    """Check the settings and definitions of an experiment, before anything runs.

    Reports every problem at once and how to fix it. Exits with 1 if there is one.

    Example: traitvec check --experiment mine
    """
    from traitvec_core.generation.engine_process import check_engine
    from traitvec_core.judging import check_judge
    from traitvec_core.models.files import check_model
    from traitvec_core.storage.files import display_path
    from traitvec_core.trust import check_trust, exposed_keys
    from traitvec_core.validation.checks.definition import list_warnings

    folder = experiment_folder(open_project(experiments_dir), experiment)
    n_problems = 0
    elicited_by: ElicitedBy = "instructions"
    try:
        settings = folder.settings()
        elicited_by = settings.elicitation
        out.print(
            f"{display_path(folder.path)}: model {one_line(settings.model)}, judge"
            f" {one_line(settings.judge_model)}"
        )
        # First, because the next checks import scorers and call servers.
        check_trust(folder, settings)
        print_notes(exposed_keys(settings))
        note_retirement(settings, ask=True)
        check_judge(settings, [trait] if trait else _trait_folders(folder) or None, folder.path)
        check_model(settings.model)
        check_engine(settings)
    except TraitvecError as error:
        n_problems += complain(error)
    names = [folder.trait(trait).name] if trait else _trait_folders(folder)
    if not names:
        raise TraitvecError(
            f"{display_path(folder.path)} has no trait; create one with `traitvec new-trait"
            f" --experiment {experiment} --trait NAME`"
        )
    for name in names:
        try:
            definition = folder.trait(name).definition()
            n_pairs = len(definition.pairs(elicited_by))
        except TraitvecError as error:
            n_problems += complain(error)
            continue
        what = "scenario pairs" if elicited_by == "scenarios" else "pairs"
        counts = f"{n_pairs} {what}, {len(definition.questions)} questions"
        out.print(Text.assemble(f"{one_line(name)}: ", ("ok", "green"), f" ({counts})"))
        for warning in list_warnings(definition):
            out.print(
                Text.assemble(f"{one_line(name)}: ", ("note:", "yellow"), f" {one_line(warning)}")
            )
    if n_problems:
        err.print(f"{n_problems} problem{'s' if n_problems > 1 else ''}")
        raise typer.Exit(1)


def _trait_folders(folder: "ExperimentFolder") -> list[str]:
    """Every folder with a definition, even a misnamed one, or with results but no definition."""
    from traitvec_core.storage.files import DEFINITION_FILE

    markers = (DEFINITION_FILE, "responses", "vectors")
    return sorted({path.parent.name for mark in markers for path in folder.path.glob(f"*/{mark}")})
