"""One trait end to end: every stage of the graph, called without Dagster."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmarks.on_gpu.device import Device
from benchmarks.on_gpu.random_model import writes_texts
from benchmarks.on_gpu.roofline import count_passes
from benchmarks.record import Figure, figure
from traitvec_core.models.files import LoadOptions
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.stage_names import STAGES
from traitvec_core.stages.context import Workbench
from traitvec_core.stages.make import make
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder

__all__ = ["DEFINITION", "MEAN_TOKENS", "one_trait"]

DEFINITION = Path(__file__).parents[2] / "experiments/demo/refusal/trait_definition.json"
# Responses of the demo's models have 60 to 90 tokens on average.
MEAN_TOKENS = 75


def one_trait(device: Device, size: str, model: LanguageModel) -> Iterator[Figure]:
    """Yield the seconds of each stage, and what they show of it.

    Settings are the defaults: 100 responses per pole, four methods, all layers, steering included.
    The judge is the model that ships, in process. Random weights show no trait, so two settings
    are bent to let every stage do its work: the threshold is the median score, which keeps half of
    the responses, and steering is evaluated although nothing steers.
    """
    with tempfile.TemporaryDirectory() as scratch, writes_texts(model, MEAN_TOKENS):
        folder = _folder(Path(scratch), device, model)
        trait = folder.trait("refusal")
        bench = _workbench(model)
        total_s = 0.0
        for stage in STAGES[1:]:
            if stage == "activations":
                _keep_half(trait)

            def work(stage: Any = stage) -> None:
                make(stage, trait, folder.settings(), bench)

            with count_passes(device, model) as passes:
                seconds = device.time(work)
            total_s += seconds
            yield figure(f"{size}: one trait, {stage}", seconds, "s")
            if stage == "responses":
                tokens = _tokens(trait)
                yield figure(f"{size}: responses, mean length", sum(tokens) / len(tokens), "tokens")
                yield figure(f"{size}: responses, tokens per second", sum(tokens) / seconds,
                             "tokens/s")  # fmt: skip
            if passes.n_steps:
                least_s = passes.prefill_s + passes.decoding_s
                yield figure(f"{size}: {stage}, rows per decoding step",
                             passes.n_rows / passes.n_steps, "rows")  # fmt: skip
                yield figure(
                    f"{size}: {stage}, least time by the roofline / time", least_s / seconds,
                    "ratio", note="the stage's other work (judging, files) counts as time",
                )  # fmt: skip
        yield figure(f"{size}: one trait end to end", total_s, "s")


def _folder(scratch: Path, device: Device, model: LanguageModel) -> ExperimentFolder:
    settings: dict[str, Any] = {
        "model": model.name,
        "judge_model": "embedded",
        "min_coherence": 0,
        "steering": {"evaluate": True},
    }
    if device.is_toy:
        settings |= {
            "n_examples": 20,
            "sampling": {"max_new_tokens": 8},
            "steering": {"evaluate": True, "n_search": 4, "n_held_out": 8, "n_random": 2},
        }
    trait = scratch / "experiments/bench/refusal"
    trait.mkdir(parents=True)
    (trait.parent / "experiment.yaml").write_text(yaml.safe_dump(settings))
    (trait / DEFINITION.name).write_bytes(DEFINITION.read_bytes())
    return ExperimentFolder(scratch / "experiments", "bench")


def _workbench(model: LanguageModel) -> Workbench:
    loaded = {model.name: model}

    def load(name: str, options: LoadOptions) -> LanguageModel:
        if name not in loaded:
            loaded[name] = load_language_model(name, **vars(options))
        return loaded[name]

    return Workbench(load_model=load)


def _keep_half(trait: TraitFolder) -> None:
    """Set the threshold to the median score."""
    tables = [pd.read_csv(trait.path / f"responses/{pole}.csv") for pole in ("pos", "neg")]
    median = float(pd.concat(tables)["trait_score"].median())
    path = trait.path.parent / "experiment.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "threshold": median}))


def _tokens(trait: TraitFolder) -> list[int]:
    ids = json.loads((trait.path / "responses/token_ids.json").read_text())
    return [len(item) if isinstance(item, list) else len(item["ids"]) for item in ids.values()]
