"""One trait's figures from its files, for the atlas and the comparison of experiments."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from traitvec_core.atlas.standings import CONTROL, Place, Scores
from traitvec_core.atlas.values import TraitRow
from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.steering_evaluation.result import read_steering
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import ActivationsManifest
from traitvec_core.storage.provenance import Cost, Provenance
from traitvec_core.validation.manifests import VectorsManifest
from traitvec_core.validation.recommended_vector import read_evidence_on
from traitvec_core.validation.report_manifest import ReportManifest

__all__ = ["GatheredTrait", "Space", "gather_trait"]

_Made = Mapping[Stage, Provenance]
# An atlas does not show monitoring.
_SHOWN = tuple(stage for stage in STAGES if stage not in {"definition", "trait_dynamics"})


class Space(NamedTuple):
    """The activation space of vectors; cosines are only meaningful within one space."""

    model: str
    revision: str | None
    n_layers: int
    hidden_dim: int
    position: str


@dataclass
class GatheredTrait:
    """A trait's figures, and what the matrices need.

    Attributes:
        folder: The trait.
        row: Its figures.
        space: The space of its activations and vectors; None when they are missing.
        scores: Held-out figures by method and layer, row 0 and the control included.
        vectors: (method, layer) of the vectors that exist.
        chance: 95th percentile of random directions' effect sizes, by layer.
        n_positive: Positive examples; they are the first rows of the activations.
        best_effect_size: The largest held-out effect size of all vectors, recommended or not,
            without the embeddings and the control.
        best_auroc: The AUROC of the same vector.
    """

    folder: TraitFolder
    row: TraitRow
    space: Space | None = None
    scores: dict[Place, Scores] = field(default_factory=dict)
    vectors: list[Place] = field(default_factory=list)
    chance: dict[int, float] = field(default_factory=dict)
    n_positive: int = 0
    best_effect_size: Estimate = field(default_factory=Estimate)
    best_auroc: Estimate = field(default_factory=Estimate)

    @property
    def recommended(self) -> Place | None:
        """The recommended vector."""
        if self.row.method is None or self.row.layer is None:
            return None
        return self.row.method, self.row.layer


def gather_trait(folder: TraitFolder) -> GatheredTrait:
    """Read a trait's figures; what cannot be read is listed in `row.missing` and is no error."""
    trait = GatheredTrait(folder, TraitRow(trait=folder.name))
    made = {s: p for s in STAGES if (p := folder.provenance(s)) is not None}
    _try(trait, folder.definition)
    if absent := [stage for stage in _SHOWN if stage not in made]:
        trait.row.missing.append(f"not made yet: {', '.join(absent)}")
    _read_cost(trait, made)
    for stage, read in _READERS.items():
        if stage in made:
            _try(trait, partial(read, trait, made))
    return trait


def _try(trait: GatheredTrait, read: Callable[[], object]) -> None:
    try:
        read()
    except TraitvecError as error:
        problem = str(error)
        if problem not in trait.row.missing:
            trait.row.missing.append(problem)


def _read_cost(trait: GatheredTrait, made: _Made) -> None:
    row = trait.row
    spent = sum((p.cost for p in made.values()), Cost())
    row.seconds, row.usd = round(spent.seconds, 3), spent.usd
    row.tokens_in, row.tokens_out = spent.tokens_in, spent.tokens_out
    row.missing += [
        f"{stage} is not complete; the next run continues it"
        for stage, p in made.items()
        if not p.is_complete
    ]


def _read_vectors(trait: GatheredTrait, made: _Made) -> None:
    folder, row = trait.folder, trait.row
    # This checks every vector file, of which there may be a hundred; the others need not again.
    best = folder.recommended()
    manifest = folder.manifest(VectorsManifest, check_files=False)
    captured = folder.manifest(ActivationsManifest, check_files=False)
    scores = manifest.separation.scores
    trait.n_positive = captured.n_positive
    trait.vectors = [(r.method, r.layer) for r in manifest.vectors]
    trait.scores = {
        (s.method, s.layer): Scores(_number(s.effect_size), _number(s.auroc)) for s in scores
    }
    random = manifest.chance.random
    trait.chance = {r.layer: r.effect_size_high for r in random.layers} if random else {}
    # The hash says which GGUF file it was; its path says nothing.
    is_gguf = (captured.model_revision or "").startswith("sha256:")
    trait.space = Space(
        "gguf" if is_gguf else manifest.model, captured.model_revision,
        captured.n_layers, captured.hidden_dim, captured.position,
    )  # fmt: skip
    row.model, row.n_blocks = manifest.model, captured.n_layers - 1
    if best is None:
        raise TraitvecError("no vector is recommended: nothing was held out")
    row.method, row.layer = best.place
    row.depth = best.layer / row.n_blocks
    row.coefficient, row.chosen_by = best.coefficient, best.chosen_by
    row.verdict, row.reasons = best.verdict, best.reasons
    candidates = [s for s in scores if s.layer and s.method != CONTROL]
    if candidates:
        strongest = max(candidates, key=lambda s: _or_lowest(s.effect_size))
        trait.best_effect_size, trait.best_auroc = strongest.effect_size, strongest.auroc
    if (vector := manifest.row(*best.place)) is not None:
        row.relative_norm = vector.relative_norm
    chosen = read_evidence_on(best, folder, manifest)
    if (score := chosen.score_in(manifest.separation)) is not None:
        row.effect_size, row.auroc = score.effect_size, score.auroc
    weakest = chosen.evidence.stability.weakest if chosen.evidence else None
    row.stability = weakest.cosine.value if weakest else None


def _read_steering(trait: GatheredTrait, made: _Made) -> None:
    evaluation = read_steering(trait.folder)
    if evaluation is None:
        return
    if not _is_of_these_vectors("steering_evaluation", made):
        raise TraitvecError("steering was evaluated on other vectors than these; run it again")
    if (steered := evaluation.steered) is not None:
        trait.row.steered = steered.trait_moved
        trait.row.steered_coherence = steered.coherence


def _read_report(trait: GatheredTrait, made: _Made) -> None:
    report = trait.folder.manifest(ReportManifest)
    trait.row.contrast = report.elicitation.contrast
    trait.row.verdicts = {check.name: check.verdict for check in report.checks}
    if not _is_of_these_vectors("validation_report", made):
        raise TraitvecError("the report is of other vectors than these; run it again")
    trait.row.figures = report.figures


_READERS: dict[Stage, Callable[[GatheredTrait, _Made], None]] = {
    "vectors": _read_vectors,
    "steering_evaluation": _read_steering,
    "validation_report": _read_report,
}


def _is_of_these_vectors(stage: Stage, made: _Made) -> bool:
    vectors = made.get("vectors")
    return vectors is not None and made[stage].inputs.get("vectors") == vectors.content


def _number(estimate: Estimate) -> float:
    return math.nan if estimate.value is None else estimate.value


def _or_lowest(estimate: Estimate) -> float:
    return -math.inf if estimate.value is None else estimate.value
