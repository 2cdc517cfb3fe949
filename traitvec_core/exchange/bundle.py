"""What an exported file is made from: vectors, where each comes from, and how it was made."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError
from traitvec_core.models.files import resolve_model
from traitvec_core.stage_names import STAGES
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_json
from traitvec_core.storage.provenance import content_hash

if TYPE_CHECKING:
    import torch

__all__ = ["Bundle", "ExportedVector", "model_file", "model_type_of", "told_of"]

_LAYERS = (
    "layer k is the residual stream after decoder block k, counted from 1, before the final norm;"
    " layer 0 is the embedding output"
)
# An address of one's own network, and what one asks a model, are nobody's business.
_PRIVATE_SETTINGS = {"judge_base_url", "engine_url", "monitoring_prompts"}


@dataclass(frozen=True)
class ExportedVector:
    """One vector on its way out.

    Attributes:
        trait: Its trait.
        method: The method that found it.
        layer: Our layer, counted from 1; 0 is the embedding output.
        vector: float32 `[hidden_dim]`.
        metadata: What its `_metadata.json` says.
    """

    trait: str
    method: str
    layer: int
    vector: "torch.Tensor"
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """Vectors of one model, with all that travels beside them.

    Attributes:
        experiment: The experiment's name.
        model: The model's name, as the experiment has it.
        model_type: Its architecture as its `config.json` says ("llama"), else its name.
        n_layers: N blocks and the embedding output.
        hidden_dim: Width of the residual stream.
        vectors: By trait, method and layer.
        traits: Of each trait: description, recommendation, checks, every stage's provenance.
        notes: What a user should know of the choice, one line each.
    """

    experiment: str
    model: str
    model_type: str
    n_layers: int
    hidden_dim: int
    vectors: tuple[ExportedVector, ...]
    traits: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def provenance(self) -> str:
        """What travels inside every file, as JSON: equal vectors give equal text."""
        whole = {
            "made_by": "traitvec",
            "experiment": self.experiment,
            "model": self.model,
            "n_layers": self.n_layers,
            "layers": _LAYERS,
            "vectors": [vector.metadata for vector in self.vectors],
            "traits": self.traits,
        }
        return json.dumps(json.loads(dump_json(whole)), ensure_ascii=False)


def model_file(model: str, name: str) -> Path | None:
    """Return a small file of a model if it is on this machine; the hub is not asked."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    local = Path(resolve_model(model)) / name
    if local.is_file():
        return local
    with suppress(HFValidationError):
        found = try_to_load_from_cache(model, name)
        return Path(found) if isinstance(found, str) else None
    return None


def told_of(folder: TraitFolder) -> dict[str, Any]:
    """What a reader of the file should know of a trait."""
    from traitvec_core.validation.report_manifest import ReportManifest

    recommended = folder.recommended()
    told: dict[str, Any] = {"recommended": recommended.model_dump() if recommended else None}
    with suppress(TraitvecError):
        definition = folder.definition()
        told["description"] = definition.description
        told["definition"] = content_hash(folder.read_definition_bytes())
    with suppress(TraitvecError):
        checks = folder.manifest(ReportManifest).checks
        told["checks"] = {check.name: check.verdict for check in checks}
    told["stages"] = {}
    for stage in STAGES:
        provenance = folder.provenance(stage)
        if provenance is not None:
            record = provenance.model_dump(mode="json", exclude={"files", "stage"})
            for private in _PRIVATE_SETTINGS & set(record["settings"]):
                del record["settings"][private]
            told["stages"][stage] = record
    return told


def model_type_of(model: str) -> str:
    """What readers use to tell whether two vectors are of like models."""
    path = model_file(model, "config.json")
    with suppress(OSError, ValueError, KeyError):
        return str(json.loads(path.read_bytes())["model_type"]) if path else model
    return model
