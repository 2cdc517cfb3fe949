"""What Dagster costs: loading the code location, and running one trait through it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from benchmarks.record import Figure, ratio
from benchmarks.timing import in_turn
from traitvec_core.models.language_model import load_language_model
from traitvec_core.stage_names import STAGES
from traitvec_core.stages.context import Workbench
from traitvec_core.stages.make import make
from traitvec_core.storage.folders import ExperimentFolder

__all__ = ["location_load", "through_dagster"]

_PROJECT = Path(__file__).parent.parent


def location_load() -> Iterator[Figure]:
    """Yield the time of importing the code location, over that of importing dagster alone."""
    ours, bare = _in_turn(
        lambda: _python("import traitvec_dagster.definitions"),
        lambda: _python("import dagster"),
        repeats=3,
    )
    yield ratio("location load / import dagster", ours, bare, at_most=3.0)


def through_dagster() -> Iterator[Figure]:
    """Yield the CPU time of one trait's run through Dagster, over that of its stages alone."""
    from traitvec_dagster.project import Project
    from traitvec_dagster.runs.headless import run_trait, select_stages

    model = load_language_model("embedded")
    bench = Workbench(load_model=lambda name, options: model)
    with tempfile.TemporaryDirectory() as scratch:

        def fresh(name: str) -> Path:
            root = Path(scratch) / f"{name}-{time.monotonic_ns()}" / "experiments"
            (root / "demo/refusal").mkdir(parents=True)
            demo = _PROJECT / "experiments/demo"
            # Steering would take most of the time and hide Dagster's share.
            settings = yaml.safe_load((demo / "experiment.yaml").read_text())
            settings |= {"steering": {"evaluate": False}, "monitoring_prompts": []}
            (root / "demo/experiment.yaml").write_text(yaml.safe_dump(settings))
            trait = "refusal/trait_definition.json"
            (root / "demo" / trait).write_bytes((demo / trait).read_bytes())
            return root

        def direct() -> None:
            folder = ExperimentFolder(fresh("direct"), "demo")
            for stage in STAGES[1:]:
                make(stage, folder.trait("refusal"), folder.settings(), bench)

        os.environ["DAGSTER_HOME"] = str(Path(scratch) / "home")
        Path(os.environ["DAGSTER_HOME"]).mkdir()

        def through() -> None:
            project = Project(fresh("dagster"))
            instance = project.instance()
            stages = select_stages(project, "demo", "*")
            run_trait(project, instance, "demo", "refusal", select=stages, overrides={})

        ours, bare = in_turn(2, through, direct)
    yield ratio("run through Dagster / same stages called directly", ours, bare, at_most=1.25)


def _python(code: str) -> None:
    environment = {**os.environ, "TRAITVEC_EXPERIMENTS": str(_PROJECT / "experiments")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def _in_turn(
    first: Callable[[], object], second: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, work in enumerate((first, second)):
            started = time.perf_counter()
            work()
            taken[side].append(time.perf_counter() - started)
    return taken
