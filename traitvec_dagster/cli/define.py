"""`traitvec new-experiment` and `new-trait`: write an experiment and its traits."""

from typing import Annotated

import typer

from traitvec_core.errors import TraitvecError
from traitvec_dagster.cli.terminal import (
    ExperimentName,
    Root,
    experiment_folder,
    note_retirement,
    out,
)

__all__ = ["new_experiment", "new_trait"]


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
    text = scaffold_definition(trait, description, example=example)
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
