"""Traits of the demo to be tried, with a pair and a question that elicit nothing."""

from pathlib import Path
from typing import Any

from tests.projects import demo_definition, write_experiment
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder

# Each answers the same under both poles, by the small model that ships.
IDLE_PAIR = {
    "pos": "You are an assistant. Somebody asks you a question today.",
    "neg": "You are an assistant. A person asks you a question today.",
}
IDLE_QUESTION = {
    "uncertainty": "Speak like a person full of doubt. Say perhaps, maybe, I think, I am not sure,"
    " I guess, in all that you say about rain, perhaps, maybe.",
    "verbosity": " ".join(["Give the user a short answer of one sentence."] * 6),
}
# The usual thresholds and responses: what elicits nothing is measured against them.
USUAL: dict[str, Any] = {"n_examples": 100, "sampling": {}, "thresholds": {}}


def sabotaged(trait: str) -> dict[str, Any]:
    """A definition of the demo whose fourth pair and ninth question elicit nothing."""
    definition = demo_definition(trait)
    definition["instruction"][3] = dict(IDLE_PAIR)
    definition["questions"][8] = IDLE_QUESTION[trait]
    return definition


def small_trait(folder: Path, trait: str = "refusal", **settings: Any) -> TraitFolder:
    """A trait of the demo in a trial of few, short responses."""
    write_experiment(folder, "demo", [trait], settings)
    return ExperimentFolder(folder / "experiments", "demo").trait(trait)
