"""The results that the examples use: the demo's, or small ones made on the spot."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from traitvec_core import ExperimentFolder, TraitvecError, load_activations, load_vector, make

DEMO = Path(__file__).resolve().parents[1] / "experiments" / "demo"
SMALL = """\
model: embedded
judge_model: embedded
n_examples: 10
min_coherence: 0
sampling: {max_new_tokens: 40}
methods: [mean_diff, probe]
"""


def demo_results(*traits: str) -> Path:
    """Return a folder of experiments, in which `demo` has vectors of these traits.

    `make demo` makes better ones: ten times as many responses, and steering decides.
    """
    experiments = Path(os.environ.get("TRAITVEC_EXPERIMENTS", DEMO.parent))
    if all(_is_made(experiments, trait) for trait in traits):
        return experiments
    print("`make demo` has not finished here: small results are made for now")
    return _small_results(traits)


def _is_made(experiments: Path, trait: str) -> bool:
    try:
        load_vector(experiments, "demo", trait)
        load_activations(experiments, "demo", trait)
    except TraitvecError:
        return False
    return True


def _small_results(traits: tuple[str, ...]) -> Path:
    experiments = Path(tempfile.mkdtemp(prefix="traitvec-example-"))
    atexit.register(shutil.rmtree, experiments, ignore_errors=True)
    demo = ExperimentFolder(experiments, "demo")
    for trait in traits:
        folder = demo.trait(trait)
        folder.path.mkdir(parents=True)
        demo.settings_path.write_text(SMALL)
        shutil.copy(DEMO / trait / "trait_definition.json", folder.definition_path)
        # Without Dagster, a trait is made like this: each stage from what the one before it left.
        for stage in ("responses", "judged_responses", "activations", "vectors"):
            make(stage, folder, demo.settings())
    return experiments
