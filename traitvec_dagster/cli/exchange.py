"""`traitvec export`, `push` and `import-persona-vectors`: other tools' formats, out and in."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from traitvec_core.embedded import EMBEDDED_MODEL
from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.file_formats.table import FORMATS, LAYERS
from traitvec_core.experiment import infer_model, parse_experiment, scaffold_experiment
from traitvec_core.storage.files import display_path, write_atomically
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_dagster.cli.terminal import (
    ExperimentName,
    Root,
    chosen_traits,
    err,
    experiment_folder,
    out,
    read_layers,
)
from traitvec_dagster.project import Project

__all__ = ["export", "import_persona_vectors", "push"]

Traits = Annotated[
    str, typer.Option("--trait", "--traits", help="One trait, several (a,b,c), or 'all'.")
]
Method = Annotated[
    str | None,
    typer.Option("--method", help="Method, or 'all' in safetensors. Default: the recommended one."),
]
Layers = Annotated[
    str | None,
    typer.Option(
        "--layers",
        help="For example 5,10,16, or 'all'. Default: the best one in gguf and steering-vectors,"
        " whose readers add every vector of a file at once; else all.",
    ),
]


def export(
    experiment: ExperimentName,
    format_: Annotated[str, typer.Option("--format", help=", ".join(FORMATS))],
    file: Annotated[
        Path,
        typer.Option("--out", help="File to write; a folder for several traits (safetensors: one)"),
    ],
    trait: Traits = "all",
    method: Method = None,
    layers: Layers = None,
    experiments_dir: Root = None,
) -> None:
    """Write vectors in another tool's format, with their provenance inside.

    safetensors gets a card beside it. gguf is for llama.cpp and repeng; persona-vectors is a
    tensor with a row for every layer; steering-vectors holds the arguments of its SteeringVector.
    """
    from traitvec_core.exchange.export import export_vectors

    folder = experiment_folder(Project(experiments_dir), experiment)
    done = export_vectors(
        folder, _with_vectors(folder, trait), format_, file,
        method=method, layers=read_layers(layers),
    )  # fmt: skip
    for path in done.paths:
        out.print(f"wrote {escape(display_path(path))}")
    convention = LAYERS[format_]
    for name in dict.fromkeys(vector.trait for vector in done.bundle.vectors):
        of_trait = [vector for vector in done.bundle.vectors if vector.trait == name]
        numbers = sorted({vector.layer for vector in of_trait})
        methods = ", ".join(dict.fromkeys(vector.method for vector in of_trait))
        there = "" if convention.offset == 0 else f" ({_their_names(convention.key, numbers)})"
        out.print(escape(f"{name}: {methods}, layer {_ranges(numbers)}{there}"))
    if not convention.is_menu and len(done.bundle.vectors) > len(done.paths):
        out.print(
            "a reader adds every vector of the file at once: choose the coefficient with care"
        )
    _print_notes(done.bundle.notes)


def push(
    experiment: ExperimentName,
    repo_id: Annotated[str, typer.Option("--repo-id", help="user/name on Hugging Face.")],
    trait: Traits = "all",
    method: Method = None,
    is_public: Annotated[
        bool, typer.Option("--public", help="Make a new repository public.")
    ] = False,
    is_upload: Annotated[
        bool, typer.Option("--upload", help="Upload; without it nothing leaves this machine.")
    ] = False,
    experiments_dir: Root = None,
) -> None:
    """Put vectors and their card into a Hugging Face repository. Only shows what, by default."""
    from traitvec_core.exchange import hub
    from traitvec_core.exchange.gather import gather

    folder = experiment_folder(Project(experiments_dir), experiment)
    bundle = gather(
        folder, _with_vectors(folder, trait), LAYERS["safetensors"], method=method, layers=None
    )
    planned = hub.plan_push(bundle, repo_id)
    where = f"{planned.endpoint}/{repo_id}"
    for name, data in planned.files.items():
        out.print(f"{name}: {len(data):,} bytes")
    kind = "public" if is_public else "private"
    if not is_upload:
        out.print(
            f"dry run: nothing was uploaded to {where} ({kind} if new); add --upload to do it"
        )
        return
    out.print(f"pushed: {hub.push(planned, is_private=not is_public)}")


def import_persona_vectors(
    source: Annotated[Path, typer.Argument(help="Folder with definitions, tables and vectors.")],
    experiment: ExperimentName,
    model: Annotated[
        str | None,
        typer.Option(help="Model of a new experiment: the one that gave the responses."),
    ] = None,
    trait: Traits = "all",
    from_model: Annotated[
        str | None,
        typer.Option(help="Folder that tables and vectors come from, where there are several."),
    ] = None,
    experiments_dir: Root = None,
) -> None:
    """Import a persona-vectors folder; go on with `run --select activations+`.

    Judged responses stand in for what the experiment would generate and judge. Vectors are kept
    beside the trait's own; their last row, taken after the final norm, is marked.
    """
    from traitvec_core.exchange import importing

    folder = ExperimentFolder(Project(experiments_dir).experiments, experiment)
    is_new = not folder.path.is_dir()
    if is_new:
        text = _new_settings(folder, model)
        settings = parse_experiment(text, folder.name, display_path(folder.settings_path))
    elif model is not None:
        raise TraitvecError(f"{display_path(folder.path)} has a model already; leave --model out")
    else:
        text, settings = "", folder.settings()
    names = None if trait.strip() == "all" else [name.strip() for name in trait.split(",")]
    done = importing.import_persona_vectors(
        source, folder, settings, traits=names, from_model=from_model
    )
    if is_new:
        write_atomically(folder.settings_path, text.encode())
        out.print(f"wrote {display_path(folder.settings_path)} (model {escape(settings.model)})")
    for item in done:
        parts = [f"{item.n_responses} judged responses" if item.n_responses else "definition only"]
        parts += [f"{item.n_unscored} of them without a score"] if item.n_unscored else []
        parts += [f"vectors {', '.join(item.vectors)} (last row marked)"] if item.vectors else []
        out.print(escape(f"{item.name}: {', '.join(parts)}"))
        if item.n_responses and not item.has_token_counts:
            _print_notes([f"{item.name}: the tokenizer of {settings.model} is not on this machine,"
                          " so token counts are 0"])  # fmt: skip
    ready = [item.name for item in done if item.n_responses]
    if ready:
        out.print(
            f"next: traitvec run --experiment {experiment} --traits {','.join(ready)}"
            " --select activations+"
        )


def _with_vectors(folder: ExperimentFolder, wanted: str) -> list[str]:
    """The traits that are named; of all, those that have vectors."""
    names = chosen_traits(folder, wanted)
    if wanted.strip() != "all":
        return names
    made = [name for name in names if folder.trait(name).provenance("vectors") is not None]
    if not made:
        raise TraitvecError(
            f"{display_path(folder.path)}: no trait has vectors yet; `traitvec run --experiment"
            f" {folder.name} --traits all` makes them"
        )
    _print_notes(f"{name} has no vectors yet: left out" for name in names if name not in made)
    return made


def _new_settings(folder: ExperimentFolder, model: str | None) -> str:
    chosen = model or infer_model(folder.name)
    if chosen is None:
        raise TraitvecError(
            f"{folder.name} is a new experiment: name the model that gave the responses, such as"
            " --model Qwen/Qwen2.5-7B-Instruct (or --model embedded to try)"
        )
    judge = EMBEDDED_MODEL if chosen == EMBEDDED_MODEL else "gpt-5-mini"
    return scaffold_experiment(chosen, judge, "imported from a persona-vectors folder")


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        err.print(f"[yellow]note:[/] {escape(note)}")


def _their_names(key: str, layers: Sequence[int]) -> str:
    names = [key.format(index=layer - 1) for layer in (layers[0], layers[-1])]
    return names[0] if len(layers) == 1 else f"{names[0]} … {names[1]}"


def _ranges(layers: Sequence[int]) -> str:
    is_whole = len(layers) > 2 and layers[-1] - layers[0] == len(layers) - 1
    return f"{layers[0]}–{layers[-1]}" if is_whole else ", ".join(map(str, layers))
