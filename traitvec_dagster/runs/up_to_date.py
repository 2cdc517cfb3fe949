"""Whether a run would change anything: on disk, or in what Dagster has recorded."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import dagster as dg
from dagster._core.event_api import PartitionKeyFilter

from traitvec_core.experiment import CheckName, ExperimentSettings
from traitvec_core.stage_names import Stage
from traitvec_core.stages import SPECS
from traitvec_core.stages.make import stage_states
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.provenance import content_hash
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.checks.stored import stored_checks
from traitvec_core.validation.checks.table import CHECKS, checks_of
from traitvec_dagster.graph.freshness import AS_USED, latest_versions
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.runs.headless import TraitRun

__all__ = ["finished_run"]

_VERSION, _CODE, _INPUT = (
    f"dagster/{name}" for name in ("data_version", "code_version", "input_data_version")
)


def finished_run(
    instance: dg.DagsterInstance,
    graph: Graph,
    trait: str,
    *,
    select: Sequence[dg.AssetKey],
    overrides: Mapping[str, Any],
) -> TraitRun | None:
    """Return the result of a run that would change nothing; None if a run is needed.

    A run is needed unless every selected stage is fresh and here, Dagster's latest materialization
    of it is of the same content, code and inputs, and its latest checks say what they would say
    now. So a stage that the UI shows as stale is run, even if nothing will be computed.

    Args:
        instance: The project's Dagster instance.
        graph: The experiment.
        trait: The trait.
        select: Stages, as returned by `headless.select_stages`.
        overrides: Settings that replace those of experiment.yaml.
    """
    stages = [cast(Stage, key.path[-1]) for key in select]
    folder = graph.folder.trait(trait)
    settings = graph.folder.settings(overrides)
    states = stage_states(folder, settings)
    if any(states[stage] != "fresh" for stage in stages) or not _are_here(folder, stages):
        return None
    if trait not in instance.get_dynamic_partitions(f"traits/{graph.experiment}"):
        return None
    materialized: dict[Stage, int] = {}
    for stage in stages:
        inputs = latest_versions(instance, graph, stage, [trait]).get(trait)
        # With other settings than the file's, a stage stays stale in the UI however often it runs.
        if inputs is None or (inputs != AS_USED and not overrides):
            return None
        storage_id = _recorded(instance, graph, folder, stage)
        if storage_id is None:
            return None
        materialized[stage] = storage_id
    checks = _checks_now(graph, folder, settings, stages)
    if not _are_recorded(instance, graph, trait, checks, materialized):
        return None
    verdicts: dict[str, str] = {name: check.verdict for name, check in checks.items()}
    run = TraitRun(trait, "", is_success=True, verdicts=verdicts, reused=list(stages))
    return run if run.is_good else None


def _are_here(folder: TraitFolder, stages: Sequence[Stage]) -> bool:
    # With an object storage a stage can be fresh before its files are here; a run fetches them.
    provenances = [folder.provenance(stage) for stage in stages]
    return all(folder.is_here(provenance) for provenance in provenances if provenance is not None)


def _recorded(
    instance: dg.DagsterInstance, graph: Graph, folder: TraitFolder, stage: Stage
) -> int | None:
    """Return the storage id of the latest materialization if it is of what is on disk."""
    record = instance.get_latest_data_version_record(graph.key(stage), partition_key=folder.name)
    materialization = record.asset_materialization if record is not None else None
    if record is None or materialization is None:
        return None
    expected = {_VERSION: _version(folder, stage), _CODE: SPECS[stage].version}
    for earlier in SPECS[stage].upstream:
        name = graph.key(earlier).to_user_string()
        # Dagster records the hash of the versions of all partitions that were read: here one.
        expected[f"{_INPUT}/{name}"] = content_hash(_version(folder, earlier))
    tags = materialization.tags or {}
    return record.storage_id if expected.items() <= tags.items() else None


def _version(folder: TraitFolder, stage: Stage) -> str:
    if SPECS[stage].make is None:
        return folder.definition().content_hash
    provenance = folder.provenance(stage)
    return provenance.content if provenance is not None else ""


def _checks_now(
    graph: Graph, folder: TraitFolder, settings: ExperimentSettings, stages: Sequence[Stage]
) -> dict[CheckName, CheckResult]:
    """Return what the graph's checks of these stages say now."""
    traits = map(graph.folder.trait, graph.folder.traits())
    names = [name for name in checks_of(settings, traits) if CHECKS[name].stage in stages]
    return stored_checks(names, folder, settings)


def _are_recorded(
    instance: dg.DagsterInstance,
    graph: Graph,
    trait: str,
    checks: Mapping[CheckName, CheckResult],
    materialized: Mapping[Stage, int],
) -> bool:
    """Whether Dagster's latest checks of these materializations say the same."""
    keys = {name: dg.AssetCheckKey(graph.key(CHECKS[name].stage), name) for name in checks}
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        list(keys.values()), partition_filter=PartitionKeyFilter(key=trait)
    )
    for name, check in checks.items():
        record = records.get(keys[name])
        event = record.event.dagster_event if record is not None and record.event else None
        if event is None or event.event_type_value != "ASSET_CHECK_EVALUATION":
            return False
        evaluation = event.asset_check_evaluation_data
        target = evaluation.target_materialization_data
        is_of_this = target is not None and target.storage_id == materialized[CHECKS[name].stage]
        is_warning = evaluation.severity == dg.AssetCheckSeverity.WARN
        said = evaluation.passed, is_warning and not evaluation.passed, evaluation.description
        if not is_of_this or said != (
            check.verdict == "pass", check.verdict == "warn", check.summary,
        ):  # fmt: skip
            return False
    return True
