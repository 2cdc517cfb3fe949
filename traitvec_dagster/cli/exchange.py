"""`traitvec export` and `push`: hand vectors to other tools."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from traitvec_core.storage.vector_verdict import describe_verdict
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

__all__ = ["export", "push"]

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
        out.print(f"wrote {display_path(path)}")
    convention = LAYERS[format_]
    for name in dict.fromkeys(vector.trait for vector in exported.bundle.vectors):
        vectors = [vector for vector in exported.bundle.vectors if vector.trait == name]
        layers_ = sorted({vector.layer for vector in vectors})
        methods = ", ".join(dict.fromkeys(vector.method for vector in vectors))
        keys = "" if convention.offset == 0 else f" ({_keys_in_file(convention.key, layers_)})"
        out.print(f"{name}: {methods}, layer {_ranges(layers_)}{keys}")
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


def _print_verdicts(bundle: "Bundle") -> None:
    for name, record in bundle.traits.items():
        if chosen := record["recommended"]:
            described = describe_verdict(chosen["verdict"], chosen["reasons"])
            out.print(f"{name}: {chosen['method']}, layer {chosen['layer']}: {described}")


def _keys_in_file(key: str, layers: Sequence[int]) -> str:
    names = [key.format(index=layer - 1) for layer in (layers[0], layers[-1])]
    return names[0] if len(layers) == 1 else f"{names[0]} … {names[1]}"


def _ranges(layers: Sequence[int]) -> str:
    is_whole = len(layers) > 2 and layers[-1] - layers[0] == len(layers) - 1
    return f"{layers[0]}–{layers[-1]}" if is_whole else ", ".join(map(str, layers))
