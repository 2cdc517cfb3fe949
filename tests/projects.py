"""Small projects to run: the demo's traits, few and short responses, a real Dagster instance."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import yaml
from dagster import AssetCheckEvaluation

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.generation.plan import plan_responses
from traitvec_core.models.files import model_fingerprint
from traitvec_core.stage_names import Stage
from traitvec_core.stages.make import stage_states
from traitvec_core.stages.provenance import stage_key, stage_settings
from traitvec_core.stages.redo import parse_redo
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.formats import response_csvs
from traitvec_core.storage.provenance import Provenance
from traitvec_core.validation.response_counts import count_responses
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.project import Project
from traitvec_dagster.runs.headless import TraitRun, definitions_of, run_trait, select_stages

REPOSITORY = Path(__file__).resolve().parents[1]
DEMO = REPOSITORY / "experiments" / "demo"

# Two seconds a trait. What is checked here is the wiring, so every threshold is one that passes.
SMALL: dict[str, Any] = {
    "model": "embedded",
    "judge_model": "embedded",
    "n_examples": 8,
    "min_coherence": 0,
    "sampling": {"max_new_tokens": 24},
    # It would take longer than all the rest; `tests/graph/test_steering.py` is about it.
    "steering": {"evaluate": False},
    "thresholds": {
        "contrast": 5,
        "contrast_warning": 0,
        "accuracy": 0.1,
        "norm": {"kind": "absolute", "minimum": 0, "maximum": 10000},
    },
}
# For runs that are about something else than vectors.
FEW_VECTORS: dict[str, Any] = {"methods": ["mean_diff"], "layers": [3]}


def write_experiment(
    folder: Path, name: str, traits: list[str], settings: dict[str, Any] | None = None
) -> Path:
    """Write an experiment with traits of the demo; returns its folder."""
    experiment = folder / "experiments" / name
    experiment.mkdir(parents=True)
    text = yaml.safe_dump({**SMALL, **(settings or {})}, sort_keys=False)
    (experiment / "experiment.yaml").write_text(text)
    for trait in traits:
        (experiment / trait).mkdir()
        shutil.copy(DEMO / trait / "trait_definition.json", experiment / trait)
    return experiment


def put_responses(
    folder: TraitFolder, settings: ExperimentSettings, texts: Callable[[int], str]
) -> None:
    """Write responses as if the model had given them: the n-th row's is `texts(n)`."""
    definition = folder.definition()
    planned = plan_responses(folder.name, definition, settings.n_examples, settings.elicitation)
    frame = pd.DataFrame(
        {
            "question": row.question,
            "instruction": row.instruction,
            "prompt": f"{row.instruction}\n\n{row.question}\n",
            "response": texts(number),
            "question_id": row.question_id,
            "prompt_tokens": 40,
            "response_tokens": 20,
            "finish_reason": "stop",
            "pole": row.pole,
        }
        for number, row in enumerate(planned)
    )
    inputs = {
        "elicitation": definition.elicitation_hash(settings.elicitation),
        "model": model_fingerprint(settings.model, settings.revision),
    }
    chosen = stage_settings("responses", settings)
    key = stage_key("responses", inputs, chosen)
    metadata = {
        "model": settings.model, "engine": settings.engine, "instruction_role": "system",
        "counts": count_responses(frame), "resumed_from": 0, "model_load_seconds": 0.0,
    }  # fmt: skip
    made = Provenance(stage="responses", key=key, inputs=inputs, settings=chosen)
    folder.commit("responses", response_csvs(frame, "raw_"), metadata, made)


def demo_definition(trait: str = "refusal") -> dict[str, Any]:
    """A definition of the demo, to be changed."""
    found: dict[str, Any] = json.loads((DEMO / trait / "trait_definition.json").read_text())
    return found


def edit_metadata(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a stage's metadata as if a version before 0.9 had written them: without their hash."""
    record = json.loads(path.read_bytes())
    edit(record)
    record["provenance"].pop("metadata", None)
    path.write_text(json.dumps(record))


class SmallProject:
    """A project folder, its Dagster instance, and what tests ask of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = Project(folder / "experiments")

    @cached_property
    def instance(self) -> dg.DagsterInstance:
        return self.project.instance()

    def __enter__(self) -> "SmallProject":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if "instance" in self.__dict__:
            self.instance.dispose()

    def graph(self, experiment: str = "demo") -> Graph:
        return Graph(str(self.project.experiments), experiment)

    def trait(self, trait: str, experiment: str = "demo") -> TraitFolder:
        return ExperimentFolder(self.project.experiments, experiment).trait(trait)

    def settings(self, experiment: str = "demo", **overrides: Any) -> ExperimentSettings:
        return ExperimentFolder(self.project.experiments, experiment).settings(overrides)

    def set(self, experiment: str = "demo", **settings: Any) -> None:
        """Edit `experiment.yaml`."""
        path = self.project.experiments / experiment / "experiment.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}))

    def define(self, trait: str, definition: dict[str, Any], experiment: str = "demo") -> None:
        """Write a definition."""
        folder = self.trait(trait, experiment)
        folder.path.mkdir(exist_ok=True)
        folder.definition_path.write_text(json.dumps(definition))

    def states(self, trait: str, **overrides: Any) -> dict[Stage, Any]:
        return dict(stage_states(self.trait(trait), self.settings(**overrides)))

    def run(
        self,
        trait: str,
        select: str = "*",
        experiment: str = "demo",
        redo: Sequence[str] = (),
        only_missing: bool = False,
        **overrides: Any,
    ) -> TraitRun:
        """Run as `traitvec run` does."""
        return run_trait(
            self.project, self.instance, experiment, trait,
            select=select_stages(self.project, experiment, select), overrides=overrides,
            redo=parse_redo(redo, only_missing=only_missing),
        )  # fmt: skip

    def run_job(
        self, job: str, partition: str, redo: Sequence[str] = (), **overrides: Any
    ) -> dg.ExecuteInProcessResult:
        """Run a job for a partition that is there already, as the UI does."""
        return (
            definitions_of(self.project)
            .resolve_job_def(job)
            .execute_in_process(
                instance=self.instance,
                partition_key=partition,
                run_config={
                    "resources": {
                        "overrides": {"config": {"settings": overrides, "redo": list(redo)}}
                    },
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                raise_on_error=False,
            )
        )

    def materializations(self, stage: Stage, trait: str) -> list[dg.AssetMaterialization]:
        """The history of one stage of one trait, newest first."""
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=self.graph().key(stage), asset_partitions=[trait]),
            limit=100,
        ).records
        return [record.asset_materialization for record in records if record.asset_materialization]

    def evaluations(self, run_id: str) -> list[AssetCheckEvaluation]:
        """What the checks of one run found."""
        return [
            entry.dagster_event.asset_check_evaluation_data
            for entry in self.instance.all_logs(run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
            if entry.dagster_event is not None
        ]


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Put a constant in place of every plot of the reports."""
    from traitvec_core.report import plots, plots_of_steering, plots_of_vectors

    for module in (plots, plots_of_steering, plots_of_vectors):
        for name in module.__all__:
            patch.setattr(module, name, lambda *arguments, **options: b"\x89PNG")


def start_traitvec(experiments: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start `traitvec …` on a folder of experiments, in a process that a test may kill."""
    return subprocess.Popen(
        [
            sys.executable, "-W", "ignore", "-c",
            "from traitvec_dagster.cli.main import main; main()",
            *arguments, "--experiments-dir", str(experiments),
        ],
        cwd=experiments, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time of change and bytes of every file below, but locks and caches, which are no results."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {".locks", ".cache"} & set(path.parts)
    }


def results(folder: Path) -> dict[str, bytes]:
    """Bytes of what must be equal between equal runs: tables and tensors."""
    return {
        name: data for name, (_, data) in snapshot(folder).items() if name.endswith((".csv", ".pt"))
    }
