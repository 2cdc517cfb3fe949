"""The cost per trait when there are many traits."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import yaml

from benchmarks.record import Figure, ratio
from traitvec_core.stage_names import STAGES
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.project import Project
from traitvec_dagster.runs.headless import run_trait, select_stages

PROJECT = Path(__file__).parent.parent
FEW, MANY = 3, 200
# Timed runs in each experiment; the others have a folder, a partition and a history.
TIMED = 5
# Little work per trait, so that anything that grows with the number of traits shows.
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


def figures() -> list[Figure]:
    """Time per trait in an experiment of 200 traits, divided by that in an experiment of 3.

    Both experiments take turns, trait by trait; the median counts.
    """
    with (
        tempfile.TemporaryDirectory() as scratch,
        _experiment(Path(scratch) / "few", FEW) as few,
        _experiment(Path(scratch) / "many", MANY) as many,
    ):
        # The first run loads the model and matplotlib.
        next(few)
        taken = [(next(few), next(many)) for _ in range(TIMED)]
    few_s, many_s = zip(*taken, strict=True)
    name = f"a trait among {MANY} / a trait among {FEW}"
    return [ratio(name, many_s, few_s, at_most=1.1)]


@contextmanager
def _experiment(folder: Path, n: int) -> Iterator[Iterator[float]]:
    """Create an experiment of n traits with a history; yield the seconds of run after run.

    The results of a trait that has already run are removed before its next run.
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
    graph = Graph(str(project.experiments), "many")
    instance.add_dynamic_partitions(str(graph.partitions.name), traits)
    # As after a run of each, which would take minutes.
    for trait in traits:
        for stage in STAGES:
            event = dg.AssetMaterialization(graph.key(stage), partition=trait)
            instance.report_runless_asset_event(event)

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
