"""`traitvec import-persona-vectors`: import a folder of another code base, in two steps."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.vector_verdict import describe_verdict, warn_if_not_usable
from traitvec_dagster.cli.terminal import ExperimentName, Root, err, out, print_notes

if TYPE_CHECKING:
    from traitvec_core.exchange.import_plan import ImportPlan, PlannedTrait
    from traitvec_core.storage.folders import ExperimentFolder

__all__ = ["import_persona_vectors"]

# A folder of another project may hold thousands of other files.
_MAX_UNUSED = 20


def import_persona_vectors(
    source: Annotated[
        Path, typer.Argument(help="Folder with trait definitions, tables of responses and vectors.")
    ],
    experiment: ExperimentName,
    model: Annotated[
        str | None,
        typer.Option(help="For a new experiment: the model that wrote the responses."),
    ] = None,
    trait: Annotated[
        str, typer.Option("--trait", "--traits", help="One trait, several (a,b,c), or 'all'.")
    ] = "all",
    from_model: Annotated[
        str | None,
        typer.Option(
            help="Subfolder of tables and vectors to use, if the source has several models."
        ),
    ] = None,
    is_plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be imported, and write nothing.")
    ] = False,
    experiments_dir: Root = None,
) -> None:
    """Import a folder of persona-vectors. Then continue with `run --select activations+`.

    What cannot be used is left out and listed, and the exit code is 1. Imported judged responses
    replace the stages responses and judged_responses. Imported vectors are stored next to the
    trait's own; a last row that was taken after the final norm is marked.

    Example: traitvec import-persona-vectors pv/ --experiment qwen --model Qwen/Qwen2.5-7B-Instruct
    """
    from traitvec_core.exchange.import_plan import plan_import
    from traitvec_core.exchange.importing import write_import
    from traitvec_core.experiment import parse_experiment
    from traitvec_core.storage.files import SETTINGS_FILE, display_path
    from traitvec_core.storage.folders import ExperimentFolder
    from traitvec_dagster.project import Project

    folder = ExperimentFolder(Project(experiments_dir).experiments, experiment)
    is_new = not folder.path.is_dir()
    if is_new:
        text = _new_settings(folder, model)
        settings = parse_experiment(text, folder.name, display_path(folder.settings_path))
    elif model is not None:
        raise TraitvecError(
            f"{display_path(folder.path)} exists and has a model already; leave out --model"
        )
    else:
        text, settings = "", folder.settings()
    names = None if trait.strip() == "all" else [name.strip() for name in trait.split(",")]
    plan = plan_import(source, folder, settings, traits=names, from_model=from_model)
    _print_plan(plan, settings.model)
    if is_plan:
        for item in plan.unused[:_MAX_UNUSED]:
            out.print(escape(f"not used: {item}"))
        if len(plan.unused) > _MAX_UNUSED:
            out.print(f"not used: {len(plan.unused) - _MAX_UNUSED} more files")
        out.print("plan: nothing was written; leave out --plan to import")
        return
    if plan.traits:
        if is_new:
            folder.write(SETTINGS_FILE, text.encode())
            out.print(
                f"wrote {display_path(folder.settings_path)} (model {escape(settings.model)})"
            )
        write_import(plan, folder, settings)
        _print_next(plan, experiment)
    if plan.left_out:
        raise typer.Exit(1)


def _print_plan(plan: "ImportPlan", model: str) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("trait", "tables"):
        table.add_column(name)
    for name in ("rows", "no score", "no coherence", "thinking"):
        table.add_column(name, justify="right")
    for name in ("vectors", "shape"):
        table.add_column(name, no_wrap=True)
    for item in plan.traits:
        missing = item.n_missing
        table.add_row(
            escape(item.name),
            "pos, neg" if item.n_responses else "none",
            *(str(n) if item.n_responses else "" for n in (
                item.n_responses, missing["trait"], missing["coherence"], item.n_thinking,
            )),
            _described_vectors(item),
            _described_shape(plan, item),
        )  # fmt: skip
    if plan.traits:
        out.print(table)
    for item in plan.traits:
        for position, vectors in item.vectors.items():
            if "verdict" in vectors.source:
                verdict, reasons = vectors.source["verdict"], vectors.source["reasons"]
                what = f"{item.name}, vectors {position}, where they were exported:"
                out.print(escape(f"{what} {describe_verdict(verdict, reasons)}"))
                warn_if_not_usable(f"{item.name} ({position}, by its source)", verdict, reasons)
    print_notes(f"{item.name}: {note}" for item in plan.traits for note in item.notes)
    if plan.model_shape is None and any(item.vectors for item in plan.traits):
        print_notes(
            [f"vectors' shapes were not checked: the config of {model} is not on this machine"]
        )
    if not plan.has_tokenizer and any(item.n_responses for item in plan.traits):
        print_notes(
            [f"token counts are 0, because the tokenizer of {model} is not on this machine"]
        )
    for left in plan.left_out:
        err.print(f"[red]left out:[/] {escape(str(left))}")


def _described_vectors(item: "PlannedTrait") -> str:
    """One line per position: how many layers can be used, and which one not."""
    return "\n".join(
        f"{position}: {len(set(vectors.layers) - set(vectors.marked))} layers"
        + "".join(f", not {layer}" for layer in vectors.marked)
        for position, vectors in sorted(item.vectors.items())
    )


def _described_shape(plan: "ImportPlan", item: "PlannedTrait") -> str:
    shapes = {vectors.shape for vectors in item.vectors.values()}
    checked = "unchecked" if plan.model_shape is None else "fits"
    return "\n".join(f"{rows} × {width} {checked}" for rows, width in sorted(shapes))


def _print_next(plan: "ImportPlan", experiment: str) -> None:
    ready = [item.name for item in plan.traits if item.n_responses]
    if ready:
        print_notes(
            ["the tables hold text and no token ids: activations are read from the text tokenised"
             " again, which is often not the same tokens"]
        )  # fmt: skip
        out.print(
            f"next: traitvec run --experiment {experiment} --traits {','.join(ready)}"
            " --select activations+"
        )


def _new_settings(folder: "ExperimentFolder", model: str | None) -> str:
    from traitvec_core.experiment import default_judge, infer_model, scaffold_experiment

    chosen = model or infer_model(folder.name)
    if chosen is None:
        raise TraitvecError(
            f"{folder.name} is a new experiment: give the model that wrote the responses, such as"
            " --model Qwen/Qwen2.5-7B-Instruct (or --model embedded to try it out)"
        )
    return scaffold_experiment(
        chosen, default_judge(chosen), "imported from a persona-vectors folder"
    )
