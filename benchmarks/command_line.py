"""What the command line costs, with three traits and with two hundred.

Times are CPU time of the process, as shares of `import dagster` or multiples of `python -c pass`,
so that a busy machine changes them little. The best of a few runs counts.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parent.parent
FEW, MANY = 3, 200
REPEATS = 2
TICKS = 5


def figures() -> list[dict[str, Any]]:
    """Time of each command with 3 traits, and of what grows with their number with 200."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        project = _Project(folder)
        bare = project.cpu_s("-c", "pass")
        dagster = project.cpu_s("-c", "import dagster")
        rows: list[dict[str, Any]] = []

        def add(what: str, seconds: float, bar: float | None) -> None:
            rows.append(_figure(f"{what} / import dagster", seconds / dagster, bar))
            rows.append(_figure(f"{what} / python -c pass", seconds / bare, None))

        add("traitvec --help", project.command_s("--help"), 0.5)
        add("traitvec run --help", project.command_s("run", "--help"), 0.5)
        growth = project.run_few()
        rows.append(_figure("Dagster's database per run of a trait", growth / 1e6, 2.0, "MB"))
        size = _size(project.trait(0))
        rows.append(_figure("files of a trait of the demo", size / 1e6, None, "MB"))
        name = ("--experiment", "many")
        add(f"check, {FEW} traits", project.command_s("check", *name), 1.0)
        add(f"estimate, {FEW} traits", project.command_s("estimate", *name), 1.7)
        add(f"status, {FEW} traits", project.command_s("status"), 1.0)
        fresh = project.command_s("run", *name, "--traits", "all")
        add(f"run with nothing to do, {FEW} traits", fresh, 4.0)
        project.copy_to_many()
        first = project.command_s("status", repeats=1)
        add(f"first status, {MANY} traits", first, None)
        add(f"status, {MANY} traits", project.command_s("status"), 4.4)
        add(f"location load, {MANY} traits", project.cpu_s("-c", _LOAD), 3.0)
        tick = float(project.output("-c", _TICKS))
        rows.append(_figure(f"sensor tick, {MANY} traits / import dagster", tick / dagster, 0.5))
        return rows


_LOAD = "import traitvec_dagster.definitions"
# A tick after the first, which sees every definition for the first time.
_TICKS = f"""
import time, warnings
warnings.simplefilter("ignore")
import dagster as dg
from traitvec_dagster.automation import build_sensor
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.project import Project
from traitvec_dagster.runs.headless import definitions_of
project = Project()
instance, cursor, times = project.instance(), None, []
graph = Graph(str(project.experiments), "many")
instance.add_dynamic_partitions(str(graph.partitions.name), graph.folder.traits())
for _ in range({TICKS} + 1):
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=definitions_of(project)
    )
    started = time.process_time()
    cursor = build_sensor(graph)(context).cursor
    times.append(time.process_time() - started)
print(min(times[1:]))
"""


class _Project:
    """A project with the demo's definition under many names, and settings of the demo."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / ".dagster"
        self._experiment = folder / "experiments/many"
        self._folder = folder
        self._environment = {
            **os.environ,
            "DAGSTER_HOME": str(self._home),
            "TRAITVEC_EXPERIMENTS": str(self._experiment.parent),
            "PYTHONPATH": str(PROJECT),
        }
        demo = PROJECT / "experiments/demo"
        settings = yaml.safe_load((demo / "experiment.yaml").read_text())
        # Steering takes minutes, and changes nothing in what is measured here.
        settings |= {"steering": {"evaluate": False}, "monitoring_prompts": []}
        for k in range(FEW):
            self.trait(k).mkdir(parents=True)
            name = "trait_definition.json"
            (self.trait(k) / name).write_bytes((demo / "refusal" / name).read_bytes())
        (self._experiment / "experiment.yaml").write_text(yaml.safe_dump(settings))

    def trait(self, k: int) -> Path:
        """Return the folder of a trait."""
        return self._experiment / f"refusal_{k:03}"

    def run_few(self) -> float:
        """Run the few traits; returns by how many bytes Dagster's storage grows with each."""
        self._run_trait(0)
        before = _size(self._home)
        for k in range(1, FEW):
            self._run_trait(k)
        # Hashes of files that have just been written are not remembered.
        time.sleep(4)
        return (_size(self._home) - before) / (FEW - 1)

    def copy_to_many(self) -> None:
        """Give every other trait a copy of a finished one's files, which is fresh like it."""
        for k in range(FEW, MANY):
            shutil.copytree(self.trait(0), self.trait(k), ignore=shutil.ignore_patterns(".cache"))
        time.sleep(4)

    def command_s(self, *arguments: str, repeats: int = REPEATS) -> float:
        """Return the CPU time of a command of traitvec."""
        code = "from traitvec_dagster.cli.main import main; main()"
        return self.cpu_s("-c", code, *arguments, repeats=repeats)

    def cpu_s(self, *arguments: str, repeats: int = REPEATS) -> float:
        """Return the CPU time of a Python process."""
        times = []
        for _ in range(repeats):
            before = _children_s()
            self.output(*arguments)
            times.append(_children_s() - before)
        return min(times)

    def output(self, *arguments: str) -> str:
        """Return what a Python process prints."""
        command: Sequence[str] = [sys.executable, *arguments]
        done = subprocess.run(
            command, check=True, env=self._environment, cwd=self._folder,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        return done.stdout

    def _run_trait(self, k: int) -> None:
        code = "from traitvec_dagster.cli.main import main; main()"
        self.output("-c", code, "run", "--experiment", "many", "--trait", self.trait(k).name)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _figure(name: str, value: float, bar: float | None, unit: str = "ratio") -> dict[str, Any]:
    return {"figure": name, "value": round(value, 3), "unit": unit, "bar": bar}


if __name__ == "__main__":
    for row in figures():
        sys.stdout.write(f"{row}\n")
