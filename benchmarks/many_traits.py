"""What a trait costs when there are many of them."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from traitvec_dagster.project import Project
from traitvec_dagster.runs.headless import run_trait, select_stages

PROJECT = Path(__file__).parent.parent
FEW, MANY = 3, 200
# Whole runs of each; all other traits have a folder, a partition and a history.
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
    "steering": {"evaluate": False},
}


def figures() -> list[dict[str, Any]]:
    """Seconds for a trait when there are 200 in the experiment, over those when there are 3.

    Both experiments stand open and take turns, trait by trait; the fastest of each counts.
    """
    with (
        tempfile.TemporaryDirectory() as scratch,
        _experiment(Path(scratch) / "few", FEW) as few,
        _experiment(Path(scratch) / "many", MANY) as many,
    ):
        # The first loads the model and draws the first picture.
        next(few)
        best = [float("inf"), float("inf")]
        for _ in range(TIMED):
            best = [min(old, next(side)) for old, side in zip(best, (few, many), strict=True)]
    name = f"a trait among {MANY} / a trait among {FEW}"
    return [{"figure": name, "value": round(best[1] / best[0], 4), "unit": "ratio", "bar": 1.1}]


@contextmanager
def _experiment(folder: Path, n: int) -> Iterator[Iterator[float]]:
    """An experiment of n traits with a history; gives the seconds of one whole run after another.

    A trait that was run before is emptied and run again.
    """
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
    for trait in traits:
        run_trait(project, instance, "many", trait, select=definition, overrides={})

    def seconds() -> Iterator[float]:
        for turn in range(n * (TIMED + 1)):
            trait = traits[-1 - turn % n]
            for part in ("responses", "activations", "vectors", "validation"):
                shutil.rmtree(experiment / trait / part, ignore_errors=True)
            started = time.perf_counter()
            run_trait(project, instance, "many", trait, select=stages, overrides={})
            yield time.perf_counter() - started

    try:
        yield seconds()
    finally:
        instance.dispose()
