"""`traitvec new-experiment` and `new-trait`: write an experiment and its traits."""

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from traitvec_core.errors import TraitvecError
from traitvec_dagster.cli.terminal import (
    ExperimentName,
    Root,
    experiment_folder,
    note_retirement,
    open_project,
    out,
)

if TYPE_CHECKING:
    from traitvec_core.elicited_by import ElicitedBy
    from traitvec_core.storage.folders import ExperimentFolder

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
    scenarios_of: Annotated[
        str | None,
        typer.Option(
            metavar="EXPERIMENT",
            help="Copy this experiment's settings and its definitions with scenarios, with"
            " 'elicitation: scenarios'; each of both names the other as its second_elicitation.",
        ),
    ] = None,
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
    if scenarios_of is not None:
        if model or judge_model or description:
            raise TraitvecError(
                "--scenarios-of takes model, judge and description from that experiment; leave out"
                " --model, --judge-model and --description"
            )
        _copy_with_scenarios(folder, scenarios_of)
        return
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


def _copy_with_scenarios(folder: "ExperimentFolder", scenarios_of: str) -> None:
    from traitvec_core.storage.files import display_path
    from traitvec_core.storage.second_experiment import write_scenarios_of
    from traitvec_core.trust import untrusted_grants

    other = experiment_folder(open_project(folder.path.parent), scenarios_of)
    traits = write_scenarios_of(other, folder)
    folder.refresh()
    out.print(f"wrote {display_path(folder.settings_path)}, with {', '.join(traits)}")
    out.print(f"added second_elicitation to {display_path(other.settings_path)}")
    # What the other may run or send was allowed, if at all, for its own folder.
    if untrusted_grants(folder, folder.settings()):
        out.print(f"next: traitvec trust {folder.name}")
    out.print(f"next: traitvec run --experiment {folder.name} --trait {traits[0]}")


def new_trait(
    experiment: ExperimentName,
    trait: Annotated[
        str | None,
        typer.Option("--trait", help="Name of the trait. With --from, default: the writer's."),
    ] = None,
    description: Annotated[str, typer.Option(help="The trait in one sentence.")] = "",
    example: Annotated[
        bool,
        typer.Option("--example", help="Write a complete worked example instead of a form."),
    ] = False,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Describe the trait in a sentence: a model drafts description, ten pairs, 40"
            " questions (half of them held out), ten scenarios and a rubric, for you to edit.",
        ),
    ] = None,
    writer_model: Annotated[
        str | None,
        typer.Option(
            help="Model that drafts: gpt-…, claude-…, a Hugging Face id, a GGUF file. Default: the"
            " experiment's judge."
        ),
    ] = None,
    max_usd: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Most dollars for the draft, over all attempts and interruptions. Default: 1.00.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Another seed gives another draft of the same sentence.")
    ] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing definition.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --from: print JSON; progress goes to stderr.")
    ] = False,
    experiments_dir: Root = None,
) -> None:
    """Write a trait definition: a draft from a sentence, a form to fill in, or a worked example.

    Examples:
    traitvec new-trait --experiment mine --from "flatters the user and agrees with everything"

    traitvec new-trait --experiment mine --trait sycophancy --example

    A draft is written only when it is whole and valid. Each part is kept at once: after an
    interruption, the same command goes on and pays for nothing twice. Faulty answers are asked for
    again, at most three times. What the linter names is asked for once more, and kept where the
    linter then finds less. The definition says that it is a draft, by which model, and what it
    cost; everything in it can be edited.
    """
    from traitvec_core.storage.files import display_path
    from traitvec_dagster.cli.draft import draft_new_trait

    if from_ is None and trait is None:
        raise TraitvecError('give --trait NAME, or --from "the trait in a sentence"')
    if from_ is not None and (example or description):
        raise TraitvecError("--from brings its own description; leave out --example, --description")
    if from_ is None and (writer_model or max_usd is not None or as_json):
        raise TraitvecError("--writer-model, --max-usd and --json belong to --from")
    experiment_path = experiment_folder(open_project(experiments_dir), experiment)
    if trait is not None:
        path = experiment_path.trait(trait).definition_path
        if path.exists() and not force:
            raise TraitvecError(f"{display_path(path)} exists already; --force replaces it")
    if from_ is not None and draft_new_trait(
        experiment_path, from_, trait=trait, writer_model=writer_model, max_usd=max_usd, seed=seed,
        force=force, as_json=as_json,
    ):  # fmt: skip
        return
    if trait is None or as_json:
        raise TraitvecError("nothing was written; --trait NAME without --json gives a form instead")
    _write_form(experiment_path, trait, description or from_ or "", example=example)


def _write_form(
    experiment: "ExperimentFolder", trait: str, description: str, *, example: bool
) -> None:
    from traitvec_core.settings.trait_form import scaffold_definition
    from traitvec_core.storage.files import DEFINITION_FILE, display_path

    folder = experiment.trait(trait)
    elicited_by: ElicitedBy = "instructions"
    # A form helps also where the settings cannot be read yet.
    with suppress(TraitvecError):
        elicited_by = experiment.settings().elicitation
    text = scaffold_definition(trait, description, example=example, elicited_by=elicited_by)
    folder.write(DEFINITION_FILE, text.encode())
    experiment.refresh()
    out.print(f"wrote {display_path(folder.definition_path)}")
    if not example:
        out.print(
            "fill it in (five pairs are enough for a first try: delete the others), then:"
            f" traitvec check --experiment {experiment.name}"
        )
    else:
        out.print(f"next: traitvec run --experiment {experiment.name} --trait {trait}")
