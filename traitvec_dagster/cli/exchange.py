"""`traitvec export`, `push` and `import-persona-vectors`: exchange vectors with other tools."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.vector_verdict import describe_verdict, warn_if_not_usable
from traitvec_dagster.cli.terminal import (
    ExperimentName,
    Root,
    experiment_folder,
    out,
    print_notes,
    read_layers,
    traits_with_vectors,
)

if TYPE_CHECKING:
    from traitvec_core.exchange.bundle import Bundle
    from traitvec_core.storage.folders import ExperimentFolder

__all__ = ["export", "import_persona_vectors", "push"]

Traits = Annotated[
    str, typer.Option("--trait", "--traits", help="One trait, several (a,b,c), or 'all'.")
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="Extraction method; 'all' works with safetensors. Default: the recommended method.",
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(
        "--layers",
        help="Layers, for example 5,10,16, or 'all'. Default: the best layer for gguf and"
        " steering-vectors, whose readers apply all vectors of a file at once; all layers for the"
        " other formats.",
    ),
]


def export(
    experiment: ExperimentName,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="Format: safetensors, gguf, persona-vectors or steering-vectors.",
        ),
    ],
    file: Annotated[
        Path,
        typer.Option(
            "--out",
            help="File to write. For several traits, a folder with one file per trait;"
            " safetensors holds them all in one file.",
        ),
    ],
    trait: Traits = "all",
    method: Method = None,
    layers: Layers = None,
    experiments_dir: Root = None,
) -> None:
    """Export vectors in another tool's format, with their provenance inside.

    safetensors: any tool; comes with a model card. gguf: llama.cpp and repeng. persona-vectors:
    a tensor with one row per layer. steering-vectors: the arguments of its SteeringVector.

    Example: traitvec export --experiment demo --trait refusal --format gguf --out refusal.gguf
    """
    from traitvec_core.exchange.export import export_vectors
    from traitvec_core.exchange.file_formats.table import LAYERS
    from traitvec_core.storage.files import display_path
    from traitvec_dagster.project import Project

    folder = experiment_folder(Project(experiments_dir), experiment)
    exported = export_vectors(
        folder, traits_with_vectors(folder, trait), format_, file,
        method=method, layers=read_layers(layers),
    )  # fmt: skip
    for path in exported.paths:
        out.print(f"wrote {escape(display_path(path))}")
    convention = LAYERS[format_]
    for name in dict.fromkeys(vector.trait for vector in exported.bundle.vectors):
        vectors = [vector for vector in exported.bundle.vectors if vector.trait == name]
        layers_ = sorted({vector.layer for vector in vectors})
        methods = ", ".join(dict.fromkeys(vector.method for vector in vectors))
        keys = "" if convention.offset == 0 else f" ({_keys_in_file(convention.key, layers_)})"
        out.print(escape(f"{name}: {methods}, layer {_ranges(layers_)}{keys}"))
    _print_verdicts(exported.bundle)
    if not convention.is_menu and len(exported.bundle.vectors) > len(exported.paths):
        out.print(
            "note: readers of this format apply all vectors of a file at once, so choose a small"
            " coefficient"
        )
    print_notes(exported.bundle.notes)


def push(
    experiment: ExperimentName,
    repo_id: Annotated[str, typer.Option("--repo-id", help="Hugging Face repository: user/name.")],
    trait: Traits = "all",
    method: Method = None,
    is_public: Annotated[
        bool, typer.Option("--public", help="Make the repository public if it is new.")
    ] = False,
    is_upload: Annotated[
        bool, typer.Option("--upload", help="Upload. Without it, nothing leaves this machine.")
    ] = False,
    experiments_dir: Root = None,
) -> None:
    """Upload vectors and their model card to Hugging Face. Without --upload, a dry run.

    Example: traitvec push --experiment demo --repo-id me/refusal-vectors
    """
    from traitvec_core.exchange import hub
    from traitvec_core.exchange.file_formats.table import LAYERS
    from traitvec_core.exchange.gather import gather
    from traitvec_dagster.project import Project

    folder = experiment_folder(Project(experiments_dir), experiment)
    bundle = gather(
        folder,
        traits_with_vectors(folder, trait),
        LAYERS["safetensors"],
        method=method,
        layers=None,
    )
    _print_verdicts(bundle)
    plan = hub.plan_push(bundle, repo_id)
    address = f"{plan.endpoint}/{repo_id}"
    for name, data in plan.files.items():
        out.print(f"{name}: {len(data):,} bytes")
    kind = "public" if is_public else "private"
    if not is_upload:
        out.print(
            f"dry run: nothing was uploaded to {address} ({kind} if new); add --upload to upload"
        )
        return
    out.print(f"pushed: {hub.push(plan, is_private=not is_public)}")


def import_persona_vectors(
    source: Annotated[
        Path, typer.Argument(help="Folder with trait definitions, tables of responses and vectors.")
    ],
    experiment: ExperimentName,
    model: Annotated[
        str | None,
        typer.Option(help="For a new experiment: the model that wrote the responses."),
    ] = None,
    trait: Traits = "all",
    from_model: Annotated[
        str | None,
        typer.Option(
            help="Subfolder of tables and vectors to use, if the source has several models."
        ),
    ] = None,
    experiments_dir: Root = None,
) -> None:
    """Import a folder of persona-vectors. Then continue with `run --select activations+`.

    Imported judged responses replace the stages responses and judged_responses. Imported vectors
    are stored next to the trait's own; their last row, taken after the final norm, is marked.

    Example: traitvec import-persona-vectors pv/ --experiment qwen --model Qwen/Qwen2.5-7B-Instruct
    """
    from traitvec_core.exchange import importing
    from traitvec_core.experiment import parse_experiment
    from traitvec_core.storage.files import display_path, write_atomically
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
    imported = importing.import_persona_vectors(
        source, folder, settings, traits=names, from_model=from_model
    )
    if is_new:
        write_atomically(folder.settings_path, text.encode())
        out.print(f"wrote {display_path(folder.settings_path)} (model {escape(settings.model)})")
    for item in imported:
        parts = [f"{item.n_responses} judged responses" if item.n_responses else "definition only"]
        parts += [f"{item.n_unscored} of them without a score"] if item.n_unscored else []
        parts += [f"vectors {', '.join(item.vectors)} (last row marked)"] if item.vectors else []
        out.print(escape(f"{item.name}: {', '.join(parts)}"))
        for position, (verdict, reasons) in item.source_verdicts.items():
            what = f"{item.name}, vectors {position}, where they were exported:"
            out.print(escape(f"{what} {describe_verdict(verdict, reasons)}"))
            warn_if_not_usable(f"{item.name} ({position}, by its source)", verdict, reasons)
        if item.n_responses and not item.has_token_counts:
            print_notes(
                [f"{item.name}: token counts are 0, because the tokenizer of {settings.model} is"
                 " not on this machine"]
            )  # fmt: skip
    ready = [item.name for item in imported if item.n_responses]
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
    from traitvec_core.embedded import EMBEDDED_MODEL
    from traitvec_core.experiment import infer_model, scaffold_experiment

    chosen = model or infer_model(folder.name)
    if chosen is None:
        raise TraitvecError(
            f"{folder.name} is a new experiment: give the model that wrote the responses, such as"
            " --model Qwen/Qwen2.5-7B-Instruct (or --model embedded to try it out)"
        )
    judge = EMBEDDED_MODEL if chosen == EMBEDDED_MODEL else "gpt-5-mini"
    return scaffold_experiment(chosen, judge, "imported from a persona-vectors folder")


def _print_verdicts(bundle: "Bundle") -> None:
    for name, record in bundle.traits.items():
        if chosen := record["recommended"]:
            described = describe_verdict(chosen["verdict"], chosen["reasons"])
            out.print(escape(f"{name}: {chosen['method']}, layer {chosen['layer']}: {described}"))


def _keys_in_file(key: str, layers: Sequence[int]) -> str:
    names = [key.format(index=layer - 1) for layer in (layers[0], layers[-1])]
    return names[0] if len(layers) == 1 else f"{names[0]} … {names[1]}"


def _ranges(layers: Sequence[int]) -> str:
    is_whole = len(layers) > 2 and layers[-1] - layers[0] == len(layers) - 1
    return f"{layers[0]}–{layers[-1]}" if is_whole else ", ".join(map(str, layers))
