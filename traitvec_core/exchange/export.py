"""Export vectors to another tool's file format."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.bundle import Bundle
from traitvec_core.exchange.card import write_card
from traitvec_core.exchange.file_formats.table import find_format
from traitvec_core.exchange.gather import gather
from traitvec_core.storage.files import display_path, write_atomically
from traitvec_core.storage.folders import ExperimentFolder

__all__ = ["Exported", "export_vectors"]


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        bundle: The exported vectors.
        paths: The files.
    """

    bundle: Bundle
    paths: tuple[Path, ...]


def export_vectors(
    experiment: ExperimentFolder,
    traits: Sequence[str],
    name: str,
    out: Path,
    *,
    method: str | None = None,
    layers: str | Sequence[int] | None = None,
) -> Exported:
    """Export vectors of one or more traits.

    Args:
        experiment: The experiment.
        traits: Names of its traits; at least one.
        name: Name of the format, from `FORMATS`.
        out: The file to write. For several traits in a format that holds one per file: a folder for
            files named `{trait}` plus the format's suffix. safetensors also writes a model card
            beside it, with the suffix `.md`.
        method: The vectors' method, or `all` (safetensors); by default, each trait's recommended
            one.
        layers: Our layers, or `all`; see `gather` for the default.

    Raises:
        TraitvecError: If there is no such format, vector or layer, or `out` cannot be written.
    """
    format_ = find_format(name)
    if method == "all" and not format_.holds_many:
        raise TraitvecError(f"a {name} file holds one method; set --method to one, or leave it out")
    bundle = gather(experiment, traits, format_.layers, method=method, layers=layers)
    if len(traits) > 1 and not format_.holds_many:
        if out.exists() and not out.is_dir():
            raise TraitvecError(
                f"{display_path(out)} is a file, but a {name} file holds only one trait; set"
                " --out to a folder"
            )
        parts = {out / f"{trait}{format_.suffix}": _only_trait(bundle, trait) for trait in traits}
    else:
        if out.is_dir():
            raise TraitvecError(f"{display_path(out)} is a folder; set --out to a file")
        parts = {out: bundle}
    # Convert everything before writing anything: a failed export writes nothing.
    files = {path: format_.write(part) for path, part in parts.items()}
    if format_.has_card:
        files[out.with_suffix(".md")] = write_card(bundle, out.name).encode()
    for path, data in files.items():
        write_atomically(path, data)
    return Exported(bundle, tuple(files))


def _only_trait(bundle: Bundle, trait: str) -> Bundle:
    vectors = tuple(vector for vector in bundle.vectors if vector.trait == trait)
    return replace(bundle, vectors=vectors, traits={trait: bundle.traits[trait]})
