"""What an exported file contains: vectors, and the record of how they were made."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import STAGES
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_json
from traitvec_core.storage.provenance import content_hash

if TYPE_CHECKING:
    import torch

__all__ = ["Bundle", "ExportedVector", "trait_record"]

_LAYERS = (
    "layer k is the residual stream after decoder block k, counted from 1, before the final norm;"
    " layer 0 is the embedding output"
)
# Addresses of private servers, and a user's prompts, are not published.
_PRIVATE_SETTINGS = {"judge_base_url", "engine_url", "engine_model", "monitoring_prompts"}


@dataclass(frozen=True)
class ExportedVector:
    """One vector to export.

    Attributes:
        trait: Its trait.
        method: Its method.
        layer: Our layer, counted from 1; 0 is the embedding output.
        vector: float32 `[hidden_dim]`.
        metadata: The content of its `_metadata.json`, with its `verdict` and `reasons`.
    """

    trait: str
    method: str
    layer: int
    vector: "torch.Tensor"
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """Vectors of one model, with everything that is exported with them.

    Attributes:
        experiment: The experiment's name.
        model: The model's name in the experiment.
        model_type: Its architecture from `config.json` ("llama"), else its name.
        n_layers: Number of decoder blocks plus one, for the embedding output.
        hidden_dim: Width of the residual stream.
        vectors: The vectors, sorted by trait, method and layer.
        traits: For each trait: description, recommendation, checks, provenance of all stages, and
            `stale`: why its vectors were out of date when they were exported, null if they were
            not.
        notes: Remarks on what was left out, one line each.
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
        """The record inside every exported file, as JSON; equal vectors give equal text."""
        record = {
            "made_by": "traitvec",
            "experiment": self.experiment,
            "model": self.model,
            "n_layers": self.n_layers,
            "layers": _LAYERS,
            "vectors": [vector.metadata for vector in self.vectors],
            "traits": self.traits,
        }
        return json.dumps(json.loads(dump_json(record)), ensure_ascii=False)


def trait_record(folder: TraitFolder) -> dict[str, Any]:
    """Return what exported files record of a trait: description, checks, provenance and so on."""
    from traitvec_core.validation.report_manifest import ReportManifest

    recommended = folder.recommended()
    trait: dict[str, Any] = {"recommended": recommended.model_dump() if recommended else None}
    with suppress(TraitvecError):
        definition = folder.definition()
        trait["description"] = definition.description
        trait["definition"] = content_hash(folder.read_definition_bytes())
    with suppress(TraitvecError):
        checks = folder.manifest(ReportManifest).checks
        trait["checks"] = {check.name: check.verdict for check in checks}
    trait["stages"] = {}
    for stage in STAGES:
        provenance = folder.provenance(stage)
        if provenance is not None:
            record = provenance.model_dump(mode="json", exclude={"files", "stage"})
            for private in _PRIVATE_SETTINGS & set(record["settings"]):
                del record["settings"][private]
            trait["stages"][stage] = record
    return trait
