"""How often random directions in a trait's place are called steering, with the model that ships.

    python -m benchmarks.calibrate.random_vectors --sets 20 --seconds 600

Each set puts random directions of the same norms in place of a demo trait's vectors and evaluates
them as an experiment would: search, choice, and test with the embedded model and judge.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from traitvec_core.estimate import Estimate
from traitvec_core.experiment import Sampling, VectorMethod
from traitvec_core.generation import generate_responses, plan_responses
from traitvec_core.judging import JudgementStore, LocalJudge
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.steering_evaluation.evaluate import SteeringPlan, evaluate_steering
from traitvec_core.steering_evaluation.result import SteeringEvaluation, SteeringOptions
from traitvec_core.steering_evaluation.trials import TrialSetup
from traitvec_core.trait import TraitDefinition, parse_definition
from traitvec_core.validation.elicitation import question_of
from traitvec_core.validation.separation import Separation
from traitvec_core.vectors.extract import TraitVector, extract_vectors

__all__ = ["evaluate_random_vectors"]

_DEMO = Path(__file__).resolve().parents[2] / "experiments" / "demo"
_TRAITS = ("refusal", "uncertainty", "verbosity")
_METHODS: tuple[VectorMethod, ...] = ("mean_diff", "probe", "ica", "gradient")
# Long enough for every trait; the 150 tokens of an experiment take twice as long.
_SAMPLING = Sampling(max_new_tokens=80)
_PER_POLE = 20
# Nothing is known of random directions: the search spreads its trials over the layers.
_UNKNOWN = Separation(scores=[], probe_accuracy=Estimate(), n_folds=0, n_held_out=0)


def evaluate_random_vectors(
    n_sets: int, options: SteeringOptions, first: int = 0
) -> Iterator[dict[str, Any]]:
    """Evaluate sets of random directions, the demo's traits in turn, and yield each one's figures.

    Args:
        n_sets: Number of sets.
        options: Numbers of responses.
        first: Number of the first set to evaluate.
    """
    model = load_language_model("embedded")
    extracted: dict[str, tuple[TraitDefinition, list[TraitVector]]] = {}
    for number in range(first, n_sets):
        trait = _TRAITS[number % len(_TRAITS)]
        if trait not in extracted:
            extracted[trait] = _extracted(model, trait)
        definition, vectors = extracted[trait]
        setup = TrialSetup(
            model, LocalJudge(model), definition,
            _SAMPLING.model_copy(update={"seed": number}), JudgementStore(),
            is_about_refusing=trait == "refusal",
        )  # fmt: skip
        plan = SteeringPlan(_randomised(vectors, number), _UNKNOWN, options)
        yield {"set": number, "trait": trait, **_figures(evaluate_steering(setup, plan))}


def _extracted(model: LanguageModel, trait: str) -> tuple[TraitDefinition, list[TraitVector]]:
    """A trait's mean differences at every layer: norms and separations to be matched."""
    path = _DEMO / trait / "trait_definition.json"
    definition = parse_definition(path.read_bytes(), str(path))
    table = generate_responses(model, plan_responses(trait, definition, _PER_POLE), _SAMPLING)
    activations = capture_means(model, list(zip(table["prompt"], table["response"], strict=True)))
    is_positive = (table["pole"] == "pos").to_numpy()
    groups = np.array([question_of(name) for name in table["question_id"]])
    layers = list(range(1, model.n_layers))
    return definition, extract_vectors(
        activations, is_positive, groups, layers=layers, methods=["mean_diff"]
    )


def _randomised(vectors: Sequence[TraitVector], seed: int) -> list[TraitVector]:
    """A random direction of each vector's norm in the place of each of the four methods."""
    generator = torch.Generator().manual_seed(seed)
    replaced = []
    for vector in vectors:
        for method in _METHODS:
            drawn = torch.randn(len(vector.vector), generator=generator)
            matched = drawn * (vector.vector.norm() / drawn.norm())
            replaced.append(dataclasses.replace(vector, method=method, vector=matched))
    return replaced


def _figures(evaluation: SteeringEvaluation) -> dict[str, Any]:
    chosen = evaluation.tested
    return {
        "steers": evaluation.test.steers,
        **evaluation.test.model_dump(exclude={"steers", "untested"}),
        "added_norm": chosen.added_norm if chosen else None,
        "random": [scores.trait_moved.value for scores in evaluation.random],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--n-search", type=int, default=10)
    parser.add_argument("--n-held-out", type=int, default=20)
    given = parser.parse_args()
    numbers = SteeringOptions(n_search=given.n_search, n_held_out=given.n_held_out)
    started, n_done, n_steer = time.monotonic(), 0, 0
    for result in evaluate_random_vectors(given.sets, numbers):
        print(json.dumps(result), flush=True)  # noqa: T201
        n_done, n_steer = n_done + 1, n_steer + result["steers"]
        if time.monotonic() - started > given.seconds:
            break
    print(f"{n_steer} of {n_done} sets are called steering")  # noqa: T201
