"""What stages record beside their files, as typed models: read with `TraitFolder.manifest`.

Here are the manifests made of plain values; those that hold figures are beside the types of these
figures (`validation/manifests.py`).
"""

from typing import Any, ClassVar, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from traitvec_core.elicited_by import ElicitedBy
from traitvec_core.experiment import VectorMethod
from traitvec_core.stage_names import Stage
from traitvec_core.storage.provenance import Cost, Provenance

__all__ = [
    "ActivationsManifest",
    "JudgeComparison",
    "JudgedResponsesManifest",
    "Recommendation",
    "RecommendedByReport",
    "RecommendedBySeparation",
    "RecommendedBySteering",
    "ResponsesManifest",
    "StageManifest",
    "VectorVerdict",
]


class StageManifest(BaseModel):
    """A stage's metadata file. Keys that no field names are ignored when reading.

    Attributes:
        stage: The stage that writes it.
        provenance: How it was made; `TraitFolder.commit` adds it, so it is no part of a dump.
    """

    stage: ClassVar[Stage]

    # `model_revision` and the like are promised names.
    model_config = ConfigDict(protected_namespaces=())

    provenance: Provenance | None = Field(default=None, exclude=True)


VectorVerdict = Literal["usable", "with_care", "not_usable"]
"""Whether a vector can be used, by everything that was measured."""


class Recommendation(BaseModel):
    """The vector to start with, and whether it can be used.

    Attributes:
        method: Vector method.
        layer: Row of the activation tensor.
        coefficient: Units of the vector to add; 1 is the classes' own distance when the scale is
            `separation`.
        chosen_by: What the choice rests on.
        why: The same in a sentence.
        added_norm: Norm of `coefficient · vector` over the mean activation norm of the layer;
            coherence breaks down near 1. None where it is not known.
        verdict: Whether the vector can be used; None until the validation report has judged it.
        reasons: What the verdict rests on, one sentence each, the gravest first.
    """

    method: VectorMethod
    layer: int
    coefficient: float = 1.0
    chosen_by: str = "held-out separation"
    why: str
    added_norm: float | None = None
    verdict: VectorVerdict | None = None
    reasons: list[str] = []

    @property
    def place(self) -> tuple[VectorMethod, int]:
        """Method and layer."""
        return self.method, self.layer


class RecommendedBySeparation(StageManifest):
    """The part of `vectors/manifest.json` that names the recommended vector."""

    stage: ClassVar[Stage] = "vectors"

    recommended: Recommendation | None


class RecommendedBySteering(StageManifest):
    """The part of `steering/evaluation.json` that names the recommended vector and coefficient."""

    stage: ClassVar[Stage] = "steering_evaluation"

    recommendation: Recommendation | None = None


class RecommendedByReport(StageManifest):
    """The part of `validation/report.json` that names the recommended vector and its verdict."""

    stage: ClassVar[Stage] = "validation_report"

    recommended: Recommendation | None = None


class ResponsesManifest(StageManifest):
    """`responses/generation_metadata.json`.

    Attributes:
        engine_model: The model's name on the server, with `engine: server`.
        has_seeds: Whether that server got a seed with each request; without, sampled responses
            cannot be repeated.
        elicitation: What the column `instruction` contains: instructions, or openings.
        instruction_role: The turn of the instruction, or `assistant` for openings; else `raw`.
    """

    stage: ClassVar[Stage] = "responses"

    model: str
    engine: str
    engine_model: str | None = None
    has_seeds: bool | None = None
    model_revision: str | None = None
    model_dtype: str | None = None
    attention: str | None = None
    quantization: str | None = None
    engine_backend: str | None = None
    elicitation: ElicitedBy = "instructions"
    instruction_role: str
    n_examples: int
    counts: dict[str, int]
    resumed_from: int
    model_load_seconds: float


class JudgeComparison(BaseModel):
    """Scores of a sample of responses from two sources.

    Attributes:
        with_: What the judge is compared with; `with` in the file.
        scores: (question_id, the judge's score, the other score) of each response.
    """

    model_config = ConfigDict(populate_by_name=True)

    with_: str = Field(serialization_alias="with", validation_alias=AliasChoices("with", "with_"))
    scores: list[tuple[str, float | None, float | None]]


class JudgedResponsesManifest(StageManifest):
    """`responses/judging_metadata.json`.

    Attributes:
        judge_model: What scored the trait.
        judge: Its identity.
        coherence_judge: What scored coherence; None in older results, where it is the same.
    """

    stage: ClassVar[Stage] = "judged_responses"

    judge_model: str
    judge: dict[str, Any]
    coherence_judge: str | None = None
    judge_mode: str
    trait_status: dict[str, int]
    coherence_status: dict[str, int]
    missing_reasons: dict[str, dict[str, int]]
    also_judged: list[str]
    asked_now: int
    paid_now: Cost
    unfinished: dict[str, int]
    experiment_spent_usd: float | None
    compared: list[JudgeComparison]


class ActivationsManifest(StageManifest):
    """`activations/metadata.json`: the promised keys first.

    Attributes:
        n_examples: Rows of the tensor, positives first.
        n_layers: Decoder blocks plus the embedding output.
        without_tokens: Kept responses left out because no token of theirs counts.
        n_from_ids: Examples read from the tokens that were generated.
        n_tokenised_again: Examples whose text was tokenised, because the generated tokens are not
            known or are not those of the text.
        opposite_instruction: Empty if `activations/opposite_instruction.pt` was captured: each
            example in the context of the opposite instruction of its pair. Else why it was not.
        mean_norm_by_layer: Mean activation norm, `[n_layers]`.
        question_ids: The response behind each row.
        restyled: Changes of style after which some responses were read again, each in
            `activations/restyled_<style>.pt`.
        restyled_ids: The response behind each row of those.
    """

    stage: ClassVar[Stage] = "activations"

    model: str
    n_examples: int
    n_layers: int
    hidden_dim: int
    threshold: float
    extraction_date: str
    storage_type: str = "token_averaged"
    engine: str = "transformers"
    engine_backend: str | None = None
    model_revision: str | None = None
    model_dtype: str | None = None
    attention: str | None = None
    quantization: str | None = None
    dtype: str
    position: str
    other_positions: list[str] = []
    layers: str = (
        "row k is the residual stream after block k, before the final norm; row 0 is the embedding"
        " output"
    )
    min_coherence: float
    n_positive: int
    n_negative: int
    without_tokens: int = 0
    n_from_ids: int = 0
    n_tokenised_again: int = 0
    opposite_instruction: str = ""
    mean_norm_by_layer: list[float]
    question_ids: list[str]
    restyled: list[str] = []
    restyled_ids: list[str] = []
