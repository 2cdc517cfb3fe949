"""Which vector steers, and at which coefficient: a search that needs few generations."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from traitvec_core.models.interventions import Addition
from traitvec_core.steering_evaluation.result import Scores
from traitvec_core.steering_evaluation.trials import Condition
from traitvec_core.validation.separation import Separation
from traitvec_core.vectors.extract import TraitVector

__all__ = ["MAX_TRIALS", "Dose", "choose", "dose_condition", "search_doses"]

_N_LAYERS = 6
# Of the residual norm. Nearer to 1, where what is added is as large as what was there, coherence
# breaks down, and random directions move the trait too.
_MOST_ADDED = 0.75
# In class separations. At one, most layers move little yet and cannot be compared.
_FIRST_DOSE = 2.0
# Vectors that continue in each further round; then other methods are tried.
_SURVIVORS = (3, 3, 1)
MAX_TRIALS = _N_LAYERS + sum(_SURVIVORS) + 3
# Near the highest score, more of the vector can only cost coherence.
_SATURATED = 95.0
# Scores closer than this count as equal, however narrow their intervals.
_LEAST_TIE = 3.0


@dataclass(frozen=True)
class Dose:
    """An amount of one vector.

    Attributes:
        vector: The vector.
        amount: In class separations along the vector: comparable between methods and layers,
            whatever the length of the vectors.
    """

    vector: TraitVector
    amount: float

    @property
    def coefficient(self) -> float:
        """The amount in units of the vector, to six digits."""
        exact = self.amount * self.vector.separation / self.vector.vector_norm
        return float(f"{exact:.6g}")

    @property
    def strength(self) -> float:
        """Norm of what is added over the mean activation norm of the layer."""
        return self.coefficient * self.vector.relative_norm

    def limited(self) -> "Dose":
        """Return the dose, or the largest one that adds at most this share of the residual norm."""
        return self if self.strength <= _MOST_ADDED else _largest(self.vector)


def _largest(vector: TraitVector) -> Dose:
    return Dose(vector, float(f"{_MOST_ADDED / Dose(vector, 1.0).strength:.6g}"))


@dataclass
class _Search:
    run: Callable[[list[Condition]], list[Scores]]
    min_coherence: float
    scores: dict[tuple[str, int], dict[float, Scores]] = field(default_factory=dict)
    tried: list[tuple[Dose, Scores]] = field(default_factory=list)

    def try_all(self, doses: Sequence[Dose]) -> None:
        new = [dose for dose in doses if dose.amount not in self._of(dose.vector)]
        if new:
            for dose, scores in zip(new, self.run([dose_condition(d) for d in new]), strict=True):
                self._of(dose.vector)[dose.amount] = scores
                self.tried.append((dose, scores))

    def best(self, n: int) -> list[TraitVector]:
        """The `n` vectors with the best doses."""
        ordered = sorted(self.tried, key=lambda item: self.rank(item[1]), reverse=True)
        distinct = {(dose.vector.method, dose.vector.layer): dose.vector for dose, _ in ordered}
        return list(distinct.values())[:n]

    def next_dose(self, vector: TraitVector) -> Dose:
        """A larger dose while that helps, a smaller one when it is too much, then one between."""
        tried = self._of(vector)
        amount = max(tried, key=lambda amount: self.rank(tried[amount]))
        scores = tried[amount]
        above = [other for other in tried if other > amount]
        below = [other for other in tried if other < amount]
        if not scores.is_coherent(self.min_coherence):
            return Dose(vector, min(tried) / 2)
        if above:
            return Dose(vector, (amount + min(above)) / 2)
        larger = Dose(vector, amount + 1).limited()
        is_saturated = scores.trait.value is None or scores.trait.value >= _SATURATED
        if not is_saturated and larger.amount > amount:
            return larger
        return Dose(vector, (amount + max(below, default=0.0)) / 2)

    def rank(self, scores: Scores) -> tuple[bool, float]:
        """Sort key: coherent conditions by trait score, above the others by coherence."""
        if scores.is_coherent(self.min_coherence) and scores.trait.value is not None:
            return True, scores.trait.value
        return False, -1.0 if scores.coherence.value is None else scores.coherence.value

    def _of(self, vector: TraitVector) -> dict[float, Scores]:
        return self.scores.setdefault((vector.method, vector.layer), {})


def search_doses(
    vectors: Sequence[TraitVector],
    separation: Separation,
    run: Callable[[list[Condition]], list[Scores]],
    *,
    min_coherence: float,
) -> list[tuple[Dose, Scores]]:
    """Try doses of some vectors, and further doses of those that do well.

    First the same dose of one method's vector at up to six layers, spread evenly over the model;
    then, for the three best (twice) and for the best, a dose that depends on the scores so far;
    last the other methods at the best layer with its best dose. At most `MAX_TRIALS`. No dose adds
    more than three quarters of the residual norm of its layer.

    Layers are compared with `mean_diff` where that was extracted: separation ranks methods
    differently than steering does (AxBench, arXiv:2501.17148), and the mean difference is the
    safest guess.

    Args:
        vectors: The vectors to choose from; row 0 and controls are skipped.
        separation: Held-out separation; the layer where it is best is always tried.
        run: Generates and judges responses under conditions and returns their scores.
        min_coherence: Smallest coherence of a dose that may be chosen.

    Returns:
        Every dose that was tried, in order.
    """
    usable = [v for v in vectors if v.layer > 0 and v.method != "random" and v.separation > 0]
    search = _Search(run, min_coherence)
    search.try_all(
        [Dose(vector, _FIRST_DOSE).limited() for vector in _shortlist(usable, separation)]
    )
    for n in _SURVIVORS:
        search.try_all([search.next_dose(vector) for vector in search.best(n)])
    for dose, _ in sorted(search.tried, key=lambda item: search.rank(item[1]))[-1:]:
        others = [
            v for v in usable if v.layer == dose.vector.layer and v.method != dose.vector.method
        ]
        others.sort(key=lambda v: -_effect_size(v, separation))
        search.try_all([Dose(vector, dose.amount).limited() for vector in others[:3]])
    return search.tried


def choose(tried: Sequence[tuple[Dose, Scores]], min_coherence: float) -> Dose | None:
    """Return the coherent dose with the highest trait score, or None if none raised it.

    Of the doses within a standard error of the highest, it is the one that changes the residual
    stream least: the more is added, the more a random direction does too.
    """
    good = [
        (dose, scores.trait.value, scores.trait.interval)
        for dose, scores in tried
        if scores.is_coherent(min_coherence)
        and scores.trait.value is not None
        and (scores.trait_moved.value or 0.0) > 0
    ]
    if not good:
        return None
    _, best, ends = max(good, key=lambda item: item[1])
    # An interval of 95% is four standard errors wide, and wider with few questions.
    tie = max(_LEAST_TIE, (ends[1] - ends[0]) / 4 if ends else 0.0)
    near = [(dose, score) for dose, score, _ in good if score >= best - tie]
    return min(near, key=lambda item: (item[0].strength, -item[1]))[0]


def dose_condition(dose: Dose, fraction: float = 1.0) -> Condition:
    """Return the condition that steers by a fraction of a dose."""
    method, layer = dose.vector.method, dose.vector.layer
    coefficient = float(f"{fraction * dose.coefficient:.6g}")
    return Condition(
        name=f"{method}_layer{layer}_c{coefficient!r}",
        interventions=(Addition(layer, dose.vector.vector, coefficient),),
        method=method,
        layer=layer,
        coefficient=coefficient,
    )


def _shortlist(vectors: Sequence[TraitVector], separation: Separation) -> list[TraitVector]:
    """One method's vectors at evenly spread layers, the best-separating layer included."""
    methods = [vector.method for vector in vectors]
    method = "mean_diff" if "mean_diff" in methods else next(iter(methods), None)
    by_layer = {vector.layer: vector for vector in vectors if vector.method == method}
    layers = sorted(by_layer)
    if len(layers) > _N_LAYERS:
        top = max(layers, key=lambda layer: _effect_size(by_layer[layer], separation))
        # Steering acts through the blocks above, and the last layers have few of them.
        places = np.linspace(0, len(layers) - 1, _N_LAYERS + 2).round().astype(int)[1:-1]
        spread = [layers[place] for place in places]
        if top not in spread:
            spread[int(np.abs(np.array(spread) - top).argmin())] = top
        # Of seven layers, rounding gives one place twice.
        layers = sorted(set(spread))
    return [by_layer[layer] for layer in layers]


def _effect_size(vector: TraitVector, separation: Separation) -> float:
    score = separation.of(vector.method, vector.layer)
    size = score.effect_size.value if score is not None else None
    return -math.inf if size is None else size
