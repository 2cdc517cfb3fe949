"""What a trait costs when there are many of them."""

import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from traitvec_dagster.headless import run_trait, select_stages
from traitvec_dagster.project import Project

PROJECT = Path(__file__).parent.parent
FEW, MANY = 3, 200
# Of many, only the last are run whole; the others have a folder, a partition and a history.
TIMED = 15
# Small work, so that what grows with the number of traits would show.
SETTINGS = {
    "model": "embedded",
    "judge_model": "embedded",
    "n_examples": 8,
    "min_coherence": 0,
    "sampling": {"max_new_tokens": 12},
    "methods": ["mean_diff"],
    "layers": [3],
}


def figures() -> list[dict[str, Any]]:
    """Seconds for a trait when there are 200 in the experiment, over those when there are 3."""
    with tempfile.TemporaryDirectory() as scratch:
        # The first loads the model and draws the first picture, whichever it is.
        _seconds_of_traits(Path(scratch) / "first", 1)
        few = [s for k in range(5) for s in _seconds_of_traits(Path(scratch) / f"few{k}", FEW)]
        many = _seconds_of_traits(Path(scratch) / "many", MANY)
    ratio = median(many) / median(few)
    name = f"a trait among {MANY} / a trait among {FEW}"
    return [{"figure": name, "value": round(ratio, 4), "unit": "ratio", "bar": 1.1}]


def _seconds_of_traits(folder: Path, n: int) -> list[float]:
    os.environ["DAGSTER_HOME"] = str(folder / ".dagster")
    experiment = folder / "experiments/many"
    form = (PROJECT / "experiments/demo/refusal/trait_definition.json").read_bytes()
    traits = [f"refusal_{k}" for k in range(n)]
    for trait in traits:
        (experiment / trait).mkdir(parents=True)
        (experiment / trait / "trait_definition.json").write_bytes(form)
    (experiment / "experiment.yaml").write_text(yaml.safe_dump(SETTINGS))
    project = Project(folder / "experiments")
    instance = project.instance()
    stages = select_stages(project, "many", "*")
    definition = select_stages(project, "many", "definition")
    for trait in traits[:-TIMED]:
        run_trait(project, instance, "many", trait, select=definition, overrides={})
    seconds = []
    for trait in traits[-TIMED:]:
        started = time.perf_counter()
        run_trait(project, instance, "many", trait, select=stages, overrides={})
        seconds.append(time.perf_counter() - started)
    instance.dispose()
    return seconds
