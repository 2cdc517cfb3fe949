"""What Dagster calls stale is what `traitvec status` calls stale, stage by stage.

Dagster compares data versions along the edges of the graph, one per partition. A definition has
one, so an edited rubric would make the responses stale, which do not depend on it; and an edited
setting or file has none. So each stage also depends on an external asset, its inputs: everything
that `traitvec status` compares. Their data version is one of two, `AS_USED` or `CHANGED`. Steps
and the definitions sensor observe it, and a materialization points at an observation of `AS_USED`:
the stage is stale while the latest observation is another. Its other edges never make it stale.
"""

from collections.abc import Iterable, Mapping

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages import SPECS
from traitvec_core.stages.make import State, stage_states
from traitvec_core.storage.folders import TraitFolder
from traitvec_dagster.graph.names import Graph

__all__ = [
    "AS_USED",
    "CHANGED",
    "build_inputs",
    "changed_observations",
    "freshness_tags",
    "latest_versions",
    "report_freshness",
]

AS_USED = "as used"
"""The data version of a stage's inputs while they are what its result was made from."""

CHANGED = "changed"
"""Their data version while they are not, or while the result is not as it was made."""

_VERSION_TAG = "dagster/data_version"
_FEW = 10
_POINTER_TAG = "dagster/input_event_pointer"
# Dagster looks for newer versions after this event, and no event comes after it.
_BEYOND_ALL_EVENTS = 2**62
# Another experiment's assets have other partitions, so no edge can say it.
_OTHERS: dict[Stage, str] = {
    "validation_report": " and the results of the same trait in the experiment of"
    " second_elicitation, if there is one"
}
# What `partial` lacks is asked for again by the next run, but it was made from what there is.
_AS_MADE: frozenset[State] = frozenset({"fresh", "partial"})


def build_inputs(graph: Graph) -> list[dg.AssetSpec]:
    """Build the external assets that stand for what the stages of an experiment are made from."""
    return [
        dg.AssetSpec(
            graph.inputs_key(stage),
            group_name=graph.inputs_group,
            owners=graph.loaded.owners,
            partitions_def=graph.partitions,
            description=f"All that {stage} depends on: definitions (also of other traits whose"
            " rubrics it uses), settings, model, earlier stages, its own files"
            f"{_OTHERS.get(stage, '')}. The sensor"
            f" {graph.sensor} observes its data version: `{AS_USED}`, or `{CHANGED}` while"
            " `traitvec status` says that the stage is not fresh. Nothing to materialize.",
        )
        for stage in STAGES
    ]


def freshness_tags(
    instance: dg.DagsterInstance, graph: Graph, stage: Stage, folder: TraitFolder
) -> dict[str, str]:
    """Return tags for a stage's materialization, by which Dagster will know whether it is stale.

    Call it when the stage is on disk. With settings that are not those of `experiment.yaml`, or
    behind a stale stage, the materialization is stale from the start, as `traitvec status` says.
    """
    is_as_made = _is_as_made(graph, stage, folder)
    as_used = _latest_as_used(instance, graph, stage, folder.name)
    if as_used is None:
        instance.report_runless_asset_event(_observation(graph, stage, folder.name, AS_USED))
        as_used = _latest_as_used(instance, graph, stage, folder.name)
    states: dict[Stage, State] = {stage: "fresh" if is_as_made else "stale"}
    for observation in changed_observations(instance, graph, {folder.name: states}):
        instance.report_runless_asset_event(observation)
    pointers = dict.fromkeys(map(graph.key, SPECS[stage].upstream), _BEYOND_ALL_EVENTS)
    pointers[graph.inputs_key(stage)] = as_used or 0
    return {f"{_POINTER_TAG}/{key.to_user_string()}": str(n) for key, n in pointers.items()}


def changed_observations(
    instance: dg.DagsterInstance, graph: Graph, states: Mapping[str, Mapping[Stage, State]]
) -> list[dg.AssetObservation]:
    """Return the observations after which Dagster calls the same stages stale.

    Stages without an observation have not been materialized, and need none.

    Args:
        instance: The project's Dagster instance.
        graph: The experiment.
        states: By trait, states of its stages, as `stage_states` returns them.
    """
    observations = []
    for stage in STAGES:
        now = {trait: of_trait[stage] for trait, of_trait in states.items() if stage in of_trait}
        versions = latest_versions(instance, graph, stage, now) if now else {}
        for trait, state in now.items():
            version = AS_USED if state in _AS_MADE else CHANGED
            if versions.get(trait, version) != version:
                observations.append(_observation(graph, stage, trait, version))
    return observations


def report_freshness(instance: dg.DagsterInstance, graph: Graph, folder: TraitFolder) -> None:
    """Observe the inputs of a trait's stages, where no sensor may be running."""
    try:
        states = {folder.name: stage_states(folder, graph.folder.settings())}
    except TraitvecError:
        # Without usable settings nothing can be said; the run has said why.
        return
    for observation in changed_observations(instance, graph, states):
        instance.report_runless_asset_event(observation)


def latest_versions(
    instance: dg.DagsterInstance, graph: Graph, stage: Stage, traits: Iterable[str]
) -> dict[str, str]:
    """Return the latest data version of a stage's inputs, by trait; those never observed lack."""
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        graph.inputs_key(stage),
        dg.DagsterEventType.ASSET_OBSERVATION,
        [_VERSION_TAG],
        asset_partitions=list(traits),
    )
    return {trait: values[_VERSION_TAG] for trait, values in tags.items()}


def _is_as_made(graph: Graph, stage: Stage, folder: TraitFolder) -> bool:
    try:
        return stage_states(folder, graph.folder.settings())[stage] in _AS_MADE
    except TraitvecError:
        # experiment.yaml cannot be read: only the definition gets here.
        return False


def _latest_as_used(
    instance: dg.DagsterInstance, graph: Graph, stage: Stage, trait: str
) -> int | None:
    """Return the storage id of the latest observation that a materialization can point at."""
    # Newest first. The versions alternate, because only what differs is observed.
    observed = dg.AssetRecordsFilter(graph.inputs_key(stage), asset_partitions=[trait])
    for record in instance.fetch_observations(observed, limit=_FEW).records:
        observation = record.asset_observation
        if observation is not None and observation.tags.get(_VERSION_TAG) == AS_USED:
            return record.storage_id
    return None


def _observation(graph: Graph, stage: Stage, trait: str, version: str) -> dg.AssetObservation:
    said = "is" if version == AS_USED else "is no longer"
    return dg.AssetObservation(
        graph.inputs_key(stage),
        description=f"What {stage} of {trait} depends on {said} what it was made from.",
        partition=trait,
        tags={_VERSION_TAG: version},
    )
