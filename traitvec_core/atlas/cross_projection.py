"""Vectors of different models, compared by their projections of the same responses."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from traitvec_core.atlas.gather import GatheredTrait
from traitvec_core.atlas.matrices import correlation_within, cross_separation
from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.models.files import LoadOptions
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import ActivationsManifest, ResponsesManifest
from traitvec_core.validation.elicitation import question_of
from traitvec_core.vectors.examples import Array

if TYPE_CHECKING:
    from traitvec_core.models.language_model import LanguageModel

__all__ = ["CrossProjection", "Read", "project_across", "read_with"]

Read = Callable[[TraitFolder, ExperimentSettings], torch.Tensor]
"""Maps a trait with its responses, and the settings of the model that reads them, to activations
`[n_examples, n_layers, hidden_dim]`, one row for each of the trait's `question_ids`."""


class CrossProjection(BaseModel):
    """Two vectors of different spaces, compared by their projections of the same texts.

    Attributes:
        n: Responses, of both models, that both have read.
        correlation: Of both projections, within each pole of each model's responses.
        a_on_b: AUROC of the first's vector, in the first's model, on the second's responses.
        b_on_a: The other way round.
    """

    n: int
    correlation: Estimate
    a_on_b: float | None
    b_on_a: float | None


def project_across(
    a: GatheredTrait,
    b: GatheredTrait,
    settings: tuple[ExperimentSettings, ExperimentSettings],
    read: Read,
) -> CrossProjection | None:
    """Compare the recommended vectors of one trait in two models.

    Each model reads the other's responses; the activations of its own are on disk. Comparing each
    model's own responses to the same prompts would not work: with sampling, two runs of the same
    model share nothing but the pole.

    Args:
        a: The trait in the first experiment.
        b: In the second.
        settings: Of both experiments.
        read: Has a model read another's responses.

    Returns:
        None where one of them recommends no vector.

    Raises:
        TraitvecError: If activations are missing, or a model cannot be loaded.
    """
    if a.recommended is None or b.recommended is None:
        return None
    own_a, own_b = (_project(t, t.folder.read_activations()) for t in (a, b))
    b_reads = _project(b, read(a.folder, settings[1]))
    a_reads = _project(a, read(b.folder, settings[0]))
    ids_a, ids_b = (t.folder.manifest(ActivationsManifest).question_ids for t in (a, b))
    by_a, by_b = np.concatenate([own_a, a_reads]), np.concatenate([b_reads, own_b])
    # A response may have no counted token for one of the models.
    is_read = np.isfinite(by_a) & np.isfinite(by_b)
    is_positive = np.array([_is_positive(name) for name in (*ids_a, *ids_b)])
    cells = is_positive + 2 * (np.arange(len(by_a)) < len(own_a))
    questions = np.array([question_of(name) for name in (*ids_a, *ids_b)])
    return CrossProjection(
        n=int(is_read.sum()),
        correlation=correlation_within(
            by_a[is_read], by_b[is_read], cells[is_read], questions[is_read]
        ),
        a_on_b=_auroc(a_reads, is_positive[len(own_a) :]),
        b_on_a=_auroc(b_reads, is_positive[: len(own_a)]),
    )


def read_with(load_model: "Callable[[str, LoadOptions], LanguageModel]") -> Read:
    """Return a function that has a model read another's responses, under its own chat template.

    Args:
        load_model: Returns a loaded model. Every trait needs both models in turn, so cache them.
    """

    def read(folder: TraitFolder, settings: ExperimentSettings) -> torch.Tensor:
        from traitvec_core.models.activations import capture_means

        model = load_model(settings.model, settings.load_options)
        rows = folder.read_responses().set_index("question_id")
        rows = rows.loc[folder.manifest(ActivationsManifest).question_ids]
        elicited_by = folder.manifest(ResponsesManifest).elicitation
        texts = [
            (
                model.elicited_prompt(question, text, elicited_by, settings.instruction_role),
                response,
            )
            for question, text, response in zip(
                rows["question"], rows["instruction"], rows["response"], strict=True
            )
        ]
        position = settings.positions[0]
        return capture_means(model, texts, positions=(position,))[position]

    return read


def _project(trait: GatheredTrait, activations: torch.Tensor) -> Array:
    """`[n_examples]`, in units of activations."""
    if trait.recommended is None:
        raise ValueError("there is no vector to project on")
    vector = trait.folder.read_vector(*trait.recommended).double()
    layer = trait.recommended[1]
    if activations.shape[1] <= layer or activations.shape[2] != len(vector):
        raise TraitvecError(
            f"{display_path(trait.folder.path)}: the experiment's model has another shape"
            " than its vectors"
            f" ({trait.row.model}); run it again"
        )
    values: Array = (activations[:, layer].double() @ vector / vector.norm()).numpy()
    return values


def _auroc(projections: Array, is_positive: NDArray[np.bool_]) -> float | None:
    is_read = np.isfinite(projections)
    auroc, _ = cross_separation(projections[is_read, None], is_positive[is_read])
    return float(auroc[0]) if np.isfinite(auroc[0]) else None


def _is_positive(question_id: str) -> bool:
    return question_id.split("_")[-3] == "pos"
