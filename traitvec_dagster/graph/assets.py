"""The assets of an experiment: one per stage, from the stage's spec and its presentation."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import Stage
from traitvec_core.stages import SPECS
from traitvec_core.stages.make import StageResult, make
from traitvec_core.stages.spec import StageSpec
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.provenance import content_hash
from traitvec_core.storage.vector_verdict import describe_verdict
from traitvec_core.trait import parse_definition
from traitvec_core.trust import check_trust
from traitvec_core.validation.checks.table import evaluate_check
from traitvec_dagster.executors.kubernetes import gpu_pod
from traitvec_dagster.graph.asset_metadata import asset_metadata
from traitvec_dagster.graph.check_events import evaluation_of, keep_verdicts, store_evaluation
from traitvec_dagster.graph.empty_partitions import remove_if_empty
from traitvec_dagster.graph.failures import NO_PROBLEM, PROBLEM_TAG, one_line_failure
from traitvec_dagster.graph.freshness import freshness_tags
from traitvec_dagster.graph.metadata_of_responses import definition_metadata
from traitvec_dagster.graph.metadata_values import Metadata, known, shown
from traitvec_dagster.graph.names import STAND_IN_SETTINGS, Graph
from traitvec_dagster.graph.presentation import PRESENTATION
from traitvec_dagster.graph.resources import unload_models, workbench
from traitvec_dagster.graph.run_overrides import SettingsOverrides
from traitvec_dagster.graph.run_start import check_run_start, selected_stages
from traitvec_dagster.runs.gpu_lease import Step, is_queued_by_run, step_at
from traitvec_dagster.runs.ownership import GPUS_TAG, PID_TAG, sign_run
from traitvec_dagster.runs.trait_use import use_trait

__all__ = ["build_assets"]

_KEY_SHOWN = 16


def build_assets(graph: Graph) -> list[dg.AssetsDefinition]:
    """Build the assets of one experiment."""
    return [
        _build_definition(graph, spec) if spec.make is None else _build_stage(graph, spec)
        for spec in SPECS.values()
    ]


def _build_definition(graph: Graph, spec: StageSpec) -> dg.AssetsDefinition:
    @_decorated(graph, spec)
    def definition(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with one_line_failure(context):
            folder = graph.trait(context)
            _sign(context, graph)
            data = _read_definition(graph, folder, context)
            tags = freshness_tags(context.instance, graph, "definition", folder)
        return dg.MaterializeResult(
            metadata=shown(definition_metadata(folder, data)),
            data_version=dg.DataVersion(_definition_version(folder, data)),
            tags=tags,
        )

    return definition


def _read_definition(graph: Graph, folder: TraitFolder, context: dg.AssetExecutionContext) -> bytes:
    """Read a definition's file; one that cannot be read fails its check here and now."""
    try:
        return folder.read_definition_bytes()
    except TraitvecError as error:
        if remove_if_empty(context.instance, graph, folder):
            keep_verdicts(context.instance, context.run, of_any=True)
            raise TraitvecError(
                f"{graph.experiment} has no trait {folder.name!r}, so this partition was removed;"
                f" write its definition with the job {graph.new_trait_job}, which adds it again"
            ) from None
        key = dg.AssetCheckKey(graph.key("definition"), "definition")
        result = evaluate_check("definition", folder, STAND_IN_SETTINGS)
        failed = evaluation_of(context.instance, key, folder.name, result)
        store_evaluation(context.instance, context.run, failed, str(error))
        raise


def _build_stage(graph: Graph, spec: StageSpec) -> dg.AssetsDefinition:
    @_decorated(graph, spec)
    def stage(
        context: dg.AssetExecutionContext, overrides: dg.ResourceParam[SettingsOverrides]
    ) -> dg.MaterializeResult[None]:
        with one_line_failure(context):
            folder = graph.trait(context)
            _sign(context, graph)
            use_trait(folder.path, context.run_id)
            settings = overrides.settings_of(graph)
            # `make` checks it too; a run that will be refused should not wait for a GPU.
            check_trust(graph.folder, settings)
            check_run_start(spec.name, context, graph, settings, overrides.redone)
            selected = selected_stages(context)
            is_gpu_needed_later = any(
                SPECS[later].place(graph.loaded) == "gpu" and SPECS[later].is_on(settings)
                for later in selected[selected.index(spec.name) + 1 :]
            )
            step = _step(context, graph, is_gpu_needed_later=is_gpu_needed_later)
            place = spec.place(graph.loaded)
            if place == "elsewhere" and settings.engine == "vllm" and step.keeps_gpu:
                # vLLM takes longer to start again than most judging takes.
                place = "here"
            with step_at(place, step, unload_models) as held:
                bench = workbench(context.log, before_load=held.take_seat)
                result = make(
                    spec.name, folder, settings, bench, redo=overrides.redone.of(spec.name)
                )
            if result.is_reused:
                context.log.info(f"{spec.name} is fresh: its inputs and settings are unchanged")
            metadata = _metadata(spec.name, folder, settings, result)
            chosen = folder.recommended() if "verdict" in metadata else None
            if chosen is not None and chosen.verdict == "not_usable":
                described = describe_verdict(chosen.verdict, chosen.reasons)
                context.log.warning(
                    f"{folder.name} ({chosen.method}_layer{chosen.layer}) is {described}"
                )
            graph.check_partition(context)
            return dg.MaterializeResult(
                metadata=metadata,
                data_version=dg.DataVersion(result.provenance.content),
                tags=freshness_tags(context.instance, graph, spec.name, folder),
            )

    return stage


def _metadata(
    stage: Stage, folder: TraitFolder, settings: ExperimentSettings, result: StageResult
) -> Metadata:
    presentation, cost = PRESENTATION[stage], result.provenance.cost
    shows = [presentation.metadata]
    if not result.is_reused:
        shows.append(presentation.metadata_when_made)
    metadata: Metadata = {}
    for show in shows:
        if show is not None:
            metadata |= show(folder, settings)
    return {
        **shown(metadata),
        "reused": result.is_reused,
        "seconds": cost.seconds,
        "tokens_in": cost.tokens_in,
        "tokens_out": cost.tokens_out,
        "made_at": result.provenance.created_at,
        # Its beginning: 64 characters without a break cut off what else is on the asset's page.
        "key": result.provenance.key[:_KEY_SHOWN],
        **known(cost_usd=cost.usd),
    }


def _decorated(graph: Graph, spec: StageSpec) -> Callable[..., dg.AssetsDefinition]:
    presentation, place = PRESENTATION[spec.name], spec.place(graph.loaded)
    tags: dict[str, Any] = {"dagster/priority": "-1"} if presentation.is_last else {}
    if place == "gpu":
        # The same request in each engine's words; an engine ignores those of the others.
        tags |= {"dagster-ray/config": {"num_gpus": 1}, "dagster-k8s/config": gpu_pod()}
    return dg.asset(
        key=graph.key(spec.name),
        group_name=graph.group,
        partitions_def=graph.partitions,
        deps=[*(graph.key(upstream) for upstream in spec.upstream), graph.inputs_key(spec.name)],
        description=presentation.description,
        kinds=presentation.kinds(graph.loaded),
        owners=graph.loaded.owners,
        metadata=asset_metadata(
            graph,
            work=spec.make or parse_definition,
            files=f"{{trait}}/{presentation.files}",
            columns=presentation.columns(graph.loaded),
        ),
        code_version=spec.version,
        pool="gpu" if place == "gpu" else presentation.api_pool if place == "elsewhere" else None,
        op_tags=tags,
    )


def _sign(context: dg.AssetExecutionContext, graph: Graph) -> None:
    sign_run(context.instance, context.run, graph.experiment)
    if PROBLEM_TAG in context.run.tags:
        # "Re-execute" copies the tags of the run that failed.
        context.instance.add_run_tags(context.run_id, {PROBLEM_TAG: NO_PROBLEM})


def _step(context: dg.AssetExecutionContext, graph: Graph, *, is_gpu_needed_later: bool) -> Step:
    # A process of `traitvec run` may have other traits to run.
    is_alone = PID_TAG not in context.run.tags
    return Step(
        owner=f"{graph.experiment}/{context.partition_key}, run {context.run_id[:8]}",
        say=context.log.info,
        on_seat=lambda gpu: context.instance.add_run_tags(context.run_id, {GPUS_TAG: gpu}),
        keeps_gpu=is_queued_by_run(context.instance) and (is_gpu_needed_later or not is_alone),
    )


def _definition_version(folder: TraitFolder, data: bytes) -> str:
    try:
        return folder.definition().content_hash
    except TraitvecError:
        return content_hash(data)
