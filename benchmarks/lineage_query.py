"""How long Dagster's lineage page takes with 200 traits in a browser.

`python benchmarks/lineage_query.py` records a history of every stage and check of 200 traits,
serves it with `traitvec ui`, opens the page several times in Chromium, and prints how long its
queries take.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg
import yaml
from rich.console import Console
from rich.table import Table

PROJECT = Path(__file__).parent.parent
# Lets `python benchmarks/lineage_query.py` import the tests' browser.
sys.path.insert(0, str(PROJECT))

from tests.browser.screen import Screen, chromium, traitvec_ui  # noqa: E402
from traitvec_core.stage_names import STAGES  # noqa: E402
from traitvec_dagster.graph.checks import CHECKED_STAGE  # noqa: E402
from traitvec_dagster.graph.names import Graph  # noqa: E402
from traitvec_dagster.project import Project  # noqa: E402

TRAITS = 200
REPEATS = 5
_QUERIES = """return performance.getEntriesByType('resource')
    .filter(entry => entry.name.includes('/graphql'))
    .map(entry => [new URL(entry.name).searchParams.get('op') || 'unnamed', entry.duration / 1000])
"""


def main() -> None:
    """Record the history, serve it, open the page, and print the times."""
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["DAGSTER_HOME"] = str(folder / ".dagster")
        events = _record(folder)
        with (
            traitvec_ui(folder, folder / "ui.log") as address,
            chromium(folder / "chromium") as driver,
        ):
            screen = Screen(driver, address, folder)
            seconds: dict[str, list[float]] = {}
            for _ in range(REPEATS):
                started = time.monotonic()
                screen.open_lineage("many")
                total_s = time.monotonic() - started
                seconds.setdefault("(until the graph is complete)", []).append(total_s)
                for name, took in driver.execute_script(_QUERIES):
                    seconds.setdefault(name, []).append(took)
    table = Table("query", "times", "fastest, s", "median, s", "slowest, s")
    for name, times in sorted(seconds.items(), key=lambda item: -max(item[1])):
        times.sort()
        figures = (times[0], times[len(times) // 2], times[-1])
        table.add_row(name, str(len(times)), *(f"{figure:.3f}" for figure in figures))
    load = os.getloadavg()[0]
    console.print(f"{TRAITS} traits, {events} events; {os.cpu_count()} cores, load {load:.1f}")
    console.print(table)


def _record(folder: Path) -> int:
    """Write an experiment of many traits, with a history of every stage and check."""
    experiment = folder / "experiments/many"
    form = (PROJECT / "experiments/demo/refusal/trait_definition.json").read_bytes()
    traits = [f"refusal_{k}" for k in range(TRAITS)]
    for trait in traits:
        (experiment / trait).mkdir(parents=True)
        (experiment / trait / "trait_definition.json").write_bytes(form)
    (experiment / "experiment.yaml").write_text(yaml.safe_dump({"model": "embedded"}))
    project = Project(folder / "experiments")
    graph = Graph(str(project.experiments), "many")
    with project.instance() as instance:
        instance.add_dynamic_partitions(str(graph.partitions.name), traits)
        events: list[dg.AssetMaterialization | dg.AssetCheckEvaluation] = []
        for trait in traits:
            for stage in STAGES:
                events.append(
                    dg.AssetMaterialization(
                        graph.key(stage), partition=trait, metadata={"seconds": 1.0}
                    )
                )
            for name, stage in CHECKED_STAGE.items():
                events.append(
                    dg.AssetCheckEvaluation(
                        asset_key=graph.key(stage), check_name=name, partition=trait,
                        passed=name != "norm", metadata={"figure": 1.0},
                    )
                )  # fmt: skip
        for event in events:
            instance.report_runless_asset_event(event)
    return len(events)


if __name__ == "__main__":
    main()
