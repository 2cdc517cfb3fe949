"""An atlas as plain numbers, ready for JSON. Missing is None, never 0."""

import json
from typing import Any

from pydantic import BaseModel, Field

from traitvec_core.estimate import Estimate
from traitvec_core.storage.manifests import VectorVerdict
from traitvec_core.storage.provenance import content_hash
from traitvec_core.validation.key_figure import KeyFigure

__all__ = ["Atlas", "Matrix", "NearDuplicate", "Standing", "TraitRow"]

Matrix = list[list[float | None]]

_COSTS = ("seconds", "tokens_in", "tokens_out", "usd")


class TraitRow(BaseModel):
    """One trait: its results and what they cost.

    Attributes:
        trait: Its name.
        missing: What is missing, and why, one line each.
        model: The model that its vectors are from.
        n_blocks: Decoder blocks of that model.
        verdicts: `pass`, `warn` or `fail` by check, from the last report.
        contrast: Mean trait score, positive − negative; over questions.
        method: The recommended vector's method.
        layer: Its layer.
        depth: That layer over the number of blocks.
        coefficient: Recommended units of it.
        chosen_by: What the recommendation rests on.
        verdict: Whether the recommended vector can be used; None while there is no verdict.
        reasons: What the verdict rests on, or why there is none, the gravest first.
        figures: The four figures that its report opens with; empty without a report.
        effect_size: Its held-out effect size.
        auroc: Its held-out AUROC.
        relative_norm: Its norm over the mean activation norm of its layer.
        stability: Its mean cosine with bootstrap resamples of the questions; None when it was not
            resampled.
        steered: How far steering moves the trait score on held-out questions.
        steered_coherence: Coherence of these responses.
        strongest_other: The other trait whose poles the vector separates most, by effect size.
        strongest_other_auroc: How well; below 0.5 it points the other way.
        seconds: Seconds spent on the current results, all stages.
        tokens_in: Tokens read.
        tokens_out: Tokens generated.
        usd: Dollars; None where a price is unknown.
    """

    trait: str
    missing: list[str] = Field(default_factory=list)
    model: str | None = None
    n_blocks: int | None = None
    verdicts: dict[str, str] = Field(default_factory=dict)
    contrast: Estimate = Estimate()
    method: str | None = None
    layer: int | None = None
    depth: float | None = None
    coefficient: float | None = None
    chosen_by: str | None = None
    verdict: VectorVerdict | None = None
    reasons: list[str] = Field(default_factory=list)
    figures: list[KeyFigure] = Field(default_factory=list)
    effect_size: Estimate = Estimate()
    auroc: Estimate = Estimate()
    relative_norm: float | None = None
    stability: float | None = None
    steered: Estimate = Estimate()
    steered_coherence: Estimate = Estimate()
    strongest_other: str | None = None
    strongest_other_auroc: float | None = None
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = 0.0

    def checks(self, verdict: str) -> list[str]:
        """Return the names of the checks with this verdict."""
        return [name for name, each in self.verdicts.items() if each == verdict]


class Standing(BaseModel):
    """A method's, or a layer's, place among the others.

    Attributes:
        name: The method, or the layer.
        share: Mean over traits of its best effect size as a share of the trait's best; Student's t
            over traits, cut at 0 and 1. No interval with a single trait.
        auroc: The same for the held-out AUROC at these places.
        n_traits: Traits that have it.
        n_best: Traits whose best effect size it has.
        n_recommended: Traits that recommend it.
        is_control: Whether it is listed for comparison only.
    """

    name: str
    share: Estimate
    auroc: Estimate
    n_traits: int
    n_best: int
    n_recommended: int
    is_control: bool = False


class NearDuplicate(BaseModel):
    """Two traits with nearly the same vector, or nearly opposite ones.

    Attributes:
        one: A trait.
        other: Another.
        cosine: Of their vectors, at the atlas's layer and method.
        one_on_other: AUROC of the first's recommended vector on the second's poles.
        other_on_one: The other way round.
    """

    one: str
    other: str
    cosine: float
    one_on_other: float | None = None
    other_on_one: float | None = None


class Atlas(BaseModel):
    """All traits of an experiment, compared with each other.

    Attributes:
        experiment: Its name.
        model: Its model.
        n_blocks: Decoder blocks; None without any vector.
        traits: Every trait that has a definition or results, by name.
        left_out: Why a trait is in no matrix, by trait.
        order: The traits in the matrices, those with similar vectors beside each other.
        cosine_method: The method of the vectors whose cosines are shown.
        cosine_layer: Their layer.
        cosine_why: Why this layer.
        cosines: `[n_order, n_order]`.
        cross_auroc: `[n_order, n_order]`: how well the recommended vector of a row's trait
            separates the poles of a column's. The diagonal holds held-out figures.
        cross_effect: The same as effect sizes; negative when it points the other way.
        cross_chance: The 95th percentile of effect sizes of random directions at that layer, on the
            column's poles.
        methods: Methods, the best first, the control last.
        layers: Layers from the first to the last.
        near_duplicates: The strongest first.
    """

    experiment: str
    model: str
    n_blocks: int | None = None
    traits: list[TraitRow]
    left_out: dict[str, str] = Field(default_factory=dict)
    order: list[str] = Field(default_factory=list)
    cosine_method: str | None = None
    cosine_layer: int | None = None
    cosine_why: str = ""
    cosines: Matrix = Field(default_factory=list)
    cross_auroc: Matrix = Field(default_factory=list)
    cross_effect: Matrix = Field(default_factory=list)
    cross_chance: Matrix = Field(default_factory=list)
    methods: list[Standing] = Field(default_factory=list)
    layers: list[Standing] = Field(default_factory=list)
    near_duplicates: list[NearDuplicate] = Field(default_factory=list)

    @property
    def content(self) -> str:
        """One hash of all results, without what they cost."""
        results: dict[str, Any] = self.model_dump(
            mode="json", exclude={"traits": {"__all__": set(_COSTS)}}
        )
        return content_hash(json.dumps(results, sort_keys=True))
