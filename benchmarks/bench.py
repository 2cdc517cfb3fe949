"""Measure the promises about speed, mostly as ratios within one run.

`make bench` prints a table and writes `benchmarks/results.json`. Machines are noisy, so both sides
of a ratio run several times in turn, and the fastest run of each counts.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from traitvec_core.models.language_model import load_language_model
from traitvec_core.stage_names import STAGES
from traitvec_core.stages.context import Workbench
from traitvec_core.stages.make import make
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.provenance import library_versions

PROJECT = Path(__file__).parent.parent
# Lets `python benchmarks/bench.py` import its siblings and the tests' servers.
sys.path.insert(0, str(PROJECT))

from benchmarks import capture, command_line, generation, many_traits, vectors  # noqa: E402

REPEATS = 5


def main() -> None:
    """Measure everything, print a table, and write `results.json`."""
    parts: tuple[Callable[[], list[dict[str, Any]]], ...] = (
        _location_load,
        capture.figures,
        vectors.extraction,
        vectors.everything,
        generation.generation,
        _judging,
        _dagster_share,
        many_traits.figures,
        command_line.figures,
    )
    console = Console(width=110)
    figures: list[dict[str, Any]] = []
    started = time.monotonic()
    for part in parts:
        measured = part()
        figures += measured
        for figure in measured:
            console.print(f"{figure['figure']}: {figure['value']:.3f}", highlight=False)
    table = Table("figure", "value", "unit", "bar", "met")
    for figure in figures:
        bar, is_minimum = figure["bar"], figure.get("at_least", False)
        if bar is None:
            table.add_row(figure["figure"], f"{figure['value']:.3f}", figure["unit"], "", "")
            continue
        is_met = figure["value"] >= bar if is_minimum else figure["value"] <= bar
        table.add_row(
            figure["figure"], f"{figure['value']:.3f}", figure["unit"],
            f"{'≥' if is_minimum else '≤'} {bar:g}", "yes" if is_met else "NO",
        )  # fmt: skip
    console.print(table)
    console.print(f"in {time.monotonic() - started:.0f} s")
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": dict(library_versions()),
        "figures": figures,
    }
    target = PROJECT / "benchmarks/results.json"
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _location_load() -> list[dict[str, Any]]:
    """Time of importing the code location, divided by that of importing dagster alone."""
    ours, bare = _alternate(
        lambda: _python("import traitvec_dagster.definitions"), lambda: _python("import dagster")
    )
    return [_figure("location load / import dagster", ours / bare, 3.0)]


def _dagster_share() -> list[dict[str, Any]]:
    """Time of one trait's run through Dagster, divided by that of calling its stages directly."""
    from traitvec_dagster.project import Project
    from traitvec_dagster.runs.headless import run_trait, select_stages

    model = load_language_model("embedded")
    bench = Workbench(load_model=lambda name, options: model)
    with tempfile.TemporaryDirectory() as scratch:

        def fresh(name: str) -> Path:
            root = Path(scratch) / f"{name}-{time.monotonic_ns()}" / "experiments"
            (root / "demo/refusal").mkdir(parents=True)
            demo = PROJECT / "experiments/demo"
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

        def through_dagster() -> None:
            project = Project(fresh("dagster"))
            instance = project.instance()
            stages = select_stages(project, "demo", "*")
            run_trait(project, instance, "demo", "refusal", select=stages, overrides={})

        ours, bare = _alternate(through_dagster, direct, repeats=3)
    return [_figure("run through Dagster / same stages called directly", ours / bare, 1.25)]


def _judging() -> list[dict[str, Any]]:
    """Time of 400 judgements of 100 ms, 50 at once, divided by the ideal of 8 × 100 ms.

    They go through OpenAI's SDK to a server in its own process, and are saved as they arrive.
    """
    from traitvec_core.experiment import ExperimentSettings
    from traitvec_core.judging import JudgementStore, load_judge
    from traitvec_core.judging.judge import score_prompts

    with tempfile.TemporaryDirectory() as scratch:
        port_file, log = Path(scratch) / "port", Path(scratch) / "log"
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.providers.server", "--port-file", str(port_file),
             "--log", str(log), "--latency", "0.1", "--forgets-calls"],
            cwd=PROJECT,
        )  # fmt: skip
        try:
            while not port_file.exists():
                time.sleep(0.05)
            os.environ["OPENAI_API_KEY"] = "sk-of-the-benchmark"
            os.environ["OPENAI_BASE_URL"] = f"http://127.0.0.1:{port_file.read_text().strip()}/v1"
            settings = ExperimentSettings(
                model="embedded", judge_model="gpt-5-mini", max_concurrent_judges=50
            )
            store = JudgementStore(Path(scratch) / "judgements.sqlite")
            judge = load_judge(settings, store, load_model=load_language_model)
            times = []
            for repeat in range(REPEATS + 1):
                prompts = {
                    f"{repeat}.{i} Rate this. " + "Water runs to the sea. " * 40: ("trait", str(i))
                    for i in range(400)
                }
                started = time.perf_counter()
                judgements, _, _ = score_prompts(judge, prompts, store=store)
                times.append(time.perf_counter() - started)
                assert all(judgement.status == "ok" for judgement in judgements.values())
            store.close()
        finally:
            server.terminate()
            server.wait()
    # The first round imports the SDK.
    return [_figure("400 judgements of 0.1 s, 50 at once / ideal 0.8 s", min(times[1:]) / 0.8, 1.3)]


def _python(code: str) -> None:
    environment = {**os.environ, "TRAITVEC_EXPERIMENTS": str(PROJECT / "experiments")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def _alternate(
    first: Callable[[], object], second: Callable[[], object], repeats: int = REPEATS
) -> tuple[float, float]:
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        for side, work in enumerate((first, second)):
            started = time.perf_counter()
            work()
            best[side] = min(best[side], time.perf_counter() - started)
    return best[0], best[1]


def _figure(name: str, value: float, bar: float) -> dict[str, Any]:
    return {"figure": name, "value": round(value, 4), "unit": "ratio", "bar": bar}


if __name__ == "__main__":
    main()
