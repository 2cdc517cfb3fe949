"""One trait as the atlas and the comparison of experiments see it, from what lies on disk."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from traitvec_core.atlas.standings import CONTROL, Place, Scores
from traitvec_core.atlas.values import Estimate, TraitRow
from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import METADATA_FILE, STAGES, Stage
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.provenance import Cost, Provenance

__all__ = ["GatheredTrait", "Space", "gather_trait"]

_Made = Mapping[Stage, Provenance]
# An atlas shows nothing of what was monitored.
_SHOWN = tuple(stage for stage in STAGES if stage not in {"definition", "trait_dynamics"})


class Space(NamedTuple):
    """Where vectors live; cosines mean something inside one space only."""

    model: str
    revision: str | None
    n_layers: int
    hidden_dim: int
    position: str


@dataclass
class GatheredTrait:
    """A trait's figures, and what a matrix needs of it.

    Attributes:
        folder: The trait.
        row: Its figures.
        space: Of its activations and vectors; None when they are not there.
        scores: Held-out figures by method and layer, row 0 and the control included.
        vectors: (method, layer) of the vectors that exist.
        chance: 95th percentile of random directions' effect sizes, by layer.
        n_positive: Positive examples; they are the first rows of the activations.
        best_effect_size: The largest held-out effect size of all vectors, recommended or not; the
            embeddings and the control have no part in it.
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
    """Read a trait's figures; what cannot be read is named in `row.missing`, and is no error."""
    found = GatheredTrait(folder, TraitRow(trait=folder.name))
    made = {s: p for s in STAGES if (p := folder.provenance(s)) is not None}
    _try(found, folder.definition)
    if absent := [stage for stage in _SHOWN if stage not in made]:
        found.row.missing.append(f"not made yet: {', '.join(absent)}")
    _read_cost(found, made)
    for stage, read in _READ.items():
        if stage in made:
            _try(found, partial(read, found, made))
    return found


def _try(found: GatheredTrait, read: Callable[[], object]) -> None:
    try:
        read()
    except TraitvecError as error:
        line = str(error)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        # Whatever a file of another version, or one edited by hand, may lack.
        line = f"a file cannot be read ({type(error).__name__}: {error}); run the trait again"
    else:
        return
    if line not in found.row.missing:
        found.row.missing.append(line)


def _read_cost(found: GatheredTrait, made: _Made) -> None:
    row = found.row
    spent = sum((p.cost for p in made.values()), Cost())
    row.seconds, row.usd = round(spent.seconds, 3), spent.usd
    row.tokens_in, row.tokens_out = spent.tokens_in, spent.tokens_out
    row.missing += [
        f"{stage} is not complete; the next run goes on with it"
        for stage, p in made.items()
        if not p.is_complete
    ]


def _read_vectors(found: GatheredTrait, made: _Made) -> None:
    folder, row = found.folder, found.row
    # It looks at every file of the vectors, which is done once here: there may be a hundred.
    best = folder.recommended()
    manifest, captured = _recorded(folder, "vectors"), _recorded(folder, "activations")
    found.n_positive = captured["n_positive"]
    found.vectors = [(r["method"], r["layer"]) for r in manifest["vectors"]]
    found.scores = {
        (s["method"], s["layer"]): Scores(_number(s["effect_size"]), _number(s["auroc"]))
        for s in manifest["separation"]["scores"]
    }
    found.chance = {r["layer"]: r["effect_size_high"] for r in manifest["chance"]["random"]}
    found.space = Space(
        manifest["model"], captured.get("model_revision"), captured["n_layers"],
        captured["hidden_dim"], captured["position"],
    )  # fmt: skip
    row.model, row.n_blocks = manifest["model"], captured["n_layers"] - 1
    if best is None:
        raise TraitvecError("no vector is recommended: nothing was held out")
    row.method, row.layer = best["method"], best["layer"]
    row.depth = best["layer"] / row.n_blocks
    row.coefficient, row.chosen_by = best["coefficient"], best["chosen_by"]
    for score in manifest["separation"]["scores"]:
        if (score["method"], score["layer"]) == found.recommended:
            row.effect_size, row.auroc = _estimate(score, "effect_size"), _estimate(score, "auroc")
        size, best_size = score["effect_size"], found.best_effect_size.value
        is_vector = score["layer"] and score["method"] != CONTROL and size is not None
        if is_vector and (best_size is None or size > best_size):
            found.best_effect_size = _estimate(score, "effect_size")
            found.best_auroc = _estimate(score, "auroc")
    for vector in manifest["vectors"]:
        if (vector["method"], vector["layer"]) == found.recommended:
            row.relative_norm = vector["relative_norm"]
    for stability in manifest["stability"]:
        if (stability["method"], stability["layer"]) == found.recommended:
            row.stability = stability["mean"]


def _read_steering(found: GatheredTrait, made: _Made) -> None:
    evaluation = found.folder.metadata("steering_evaluation")
    if not evaluation["is_evaluated"]:
        return
    if not _is_of_these_vectors("steering_evaluation", made):
        raise TraitvecError("steering was evaluated on other vectors than these; run it again")
    best = evaluation["recommendation"]
    for scores in evaluation["dose_response"] if best else ():
        if scores["coefficient"] == best["coefficient"]:
            found.row.steered = _mean(scores["trait_moved"])
            found.row.steered_coherence = _mean(scores["coherence"])


def _read_report(found: GatheredTrait, made: _Made) -> None:
    report = found.folder.metadata("validation_report")
    elicited = report["elicitation"]
    low, high = elicited.get("contrast_interval") or (None, None)
    found.row.contrast = Estimate(value=elicited["contrast"], low=low, high=high)
    found.row.verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    if not _is_of_these_vectors("validation_report", made):
        raise TraitvecError("the report is of other vectors than these; make it again")


_READ: dict[Stage, Callable[[GatheredTrait, _Made], None]] = {
    "vectors": _read_vectors,
    "steering_evaluation": _read_steering,
    "validation_report": _read_report,
}


def _is_of_these_vectors(stage: Stage, made: _Made) -> bool:
    vectors = made.get("vectors")
    return vectors is not None and made[stage].inputs.get("vectors") == vectors.content


def _recorded(folder: TraitFolder, stage: Stage) -> dict[str, Any]:
    """A stage's metadata without looking at its files."""
    found: dict[str, Any] = json.loads((folder.path / METADATA_FILE[stage]).read_bytes())
    return found


def _estimate(score: dict[str, Any], name: str) -> Estimate:
    low, high = score.get("intervals", {}).get(name) or (None, None)
    return Estimate(value=score[name], low=low, high=high)


def _mean(found: dict[str, Any] | None) -> Estimate:
    return (
        Estimate(value=found["mean"], low=found["low"], high=found["high"]) if found else Estimate()
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
