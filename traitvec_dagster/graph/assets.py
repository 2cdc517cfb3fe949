"""The assets of an experiment."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.load import JudgeChoice
from traitvec_core.judging.models import Provider
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages.make import make
from traitvec_core.stages.provenance import STAGE_VERSIONS, UPSTREAM
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.provenance import content_hash
from traitvec_dagster.executors.kubernetes import gpu_pod
from traitvec_dagster.graph.drift import drift_metadata
from traitvec_dagster.graph.failures import one_line_failure
from traitvec_dagster.graph.metadata import definition_metadata, stage_metadata
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.graph.resources import SettingsOverrides, unload_models, workbench
from traitvec_dagster.runs.gpu_lease import Place, Step, is_queued_by_run, step_at
from traitvec_dagster.runs.ownership import GPUS_TAG, PID_TAG, sign_run

__all__ = ["build_assets"]

_DESCRIPTION: dict[Stage, str] = {
    "definition": "The trait as the user wrote it: instruction pairs, questions, rubric.",
    "responses": "Responses of the model under the positive and the negative instructions.",
    "judged_responses": "The same responses with a trait and a coherence score, or the reason why"
    " there is none.",
    "activations": "Mean residual stream over the tokens of every kept response, at every layer.",
    "vectors": "One direction per method and layer, with held-out figures.",
    "steering_evaluation": "What the vectors do when they are added to the model: layer, method and"
    " coefficient chosen on half of the questions, reported on the others.",
    "validation_report": "What was elicited, how it separates, what to trust: a page and its JSON.",
    "trait_dynamics": "The recommended vector token by token: answers to the monitoring prompts,"
    " without and with instructions, where they settle, and whether the prompt's last token"
    " foretells the score.",
}
_KINDS: dict[Stage, set[str]] = {
    "definition": {"json"},
    "responses": {"huggingface", "csv"},
    "judged_responses": {"csv"},
    "activations": {"pytorch"},
    "vectors": {"pytorch", "scikitlearn"},
    "steering_evaluation": {"huggingface", "csv"},
    "validation_report": {"html"},
    "trait_dynamics": {"huggingface", "html"},
}
_ON_GPU: tuple[Stage, ...] = (
    "responses",
    "activations",
    "steering_evaluation",
    "trait_dynamics",
)
_KIND_OF_JUDGE = {"openai": "openai", "anthropic": "anthropic", "local": "huggingface"}
# Of what can be done next, these come last: steering takes longer than all else and would keep the
# verdicts on the vectors waiting, and the report comes before what watches single texts.
_LAST: tuple[Stage, ...] = ("steering_evaluation", "trait_dynamics")


def build_assets(graph: Graph) -> list[dg.AssetsDefinition]:
    """Build the assets of one experiment."""
    return [
        _build_definition(graph),
        *(_build_stage(graph, s) for s in STAGES if s != "definition"),
    ]


def _build_definition(graph: Graph) -> dg.AssetsDefinition:
    @_decorated(graph, "definition")
    def definition(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with one_line_failure():
            folder = graph.trait(context)
            sign_run(context.instance, context.run)
            data = folder.read_definition_bytes()
        return dg.MaterializeResult(
            metadata=definition_metadata(folder, data),
            data_version=dg.DataVersion(_definition_version(folder, data)),
        )

    return definition


def _build_stage(graph: Graph, stage: Stage) -> dg.AssetsDefinition:
    place = _place(graph, stage)

    @_decorated(graph, stage)
    def made(
        context: dg.AssetExecutionContext, overrides: SettingsOverrides
    ) -> dg.MaterializeResult[None]:
        with one_line_failure():
            folder = graph.trait(context)
            sign_run(context.instance, context.run)
            settings = overrides.settings_of(graph)
            with step_at(place, _step(context, graph, stage, settings), unload_models) as step:
                if stage == "responses" and settings.engine == "vllm":
                    # It loads its model by itself.
                    step.take_seat()
                bench = workbench(context.log, before_load=step.take_seat)
                result = make(stage, folder, settings, bench)
            drift: dict[str, Any] = {}
            if result.is_reused:
                context.log.info(f"{stage} is fresh: its inputs and settings are unchanged")
            elif stage == "vectors":
                drift = drift_metadata(folder, settings)
            return dg.MaterializeResult(
                metadata=stage_metadata(stage, folder, settings, result) | drift,
                data_version=dg.DataVersion(result.provenance.content),
            )

    return made


def _decorated(graph: Graph, stage: Stage) -> Callable[..., dg.AssetsDefinition]:
    judge = _judge_provider(graph) if stage == "judged_responses" else None
    place = _place(graph, stage)
    on_gpu = place == "gpu"
    is_judged_elsewhere = judge is not None and not on_gpu
    return dg.asset(
        key=graph.key(stage),
        group_name=graph.group,
        partitions_def=graph.partitions,
        deps=[graph.key(upstream) for upstream in UPSTREAM[stage]],
        description=_DESCRIPTION[stage],
        kinds=_KINDS[stage] | ({_KIND_OF_JUDGE[judge]} if judge else set()),
        code_version=STAGE_VERSIONS[stage],
        pool="gpu" if on_gpu else "judge_api" if is_judged_elsewhere else None,
        op_tags=_op_tags(stage, on_gpu=on_gpu),
    )


def _op_tags(stage: Stage, *, on_gpu: bool) -> dict[str, Any]:
    tags: dict[str, Any] = {"dagster/priority": "-1"} if stage in _LAST else {}
    if on_gpu:
        # The same wish in the words of each engine; those that do not apply ignore it.
        tags |= {"dagster-ray/config": {"num_gpus": 1}, "dagster-k8s/config": gpu_pod()}
    return tags


def _place(graph: Graph, stage: Stage) -> Place:
    """Where a stage works: what works behind an API keeps no GPU from others."""
    if stage == "judged_responses":
        return "gpu" if _judge_provider(graph) == "local" else "elsewhere"
    if stage == "responses" and _engine(graph) == "server":
        return "elsewhere"
    return "gpu" if stage in _ON_GPU else "here"


def _step(
    context: dg.AssetExecutionContext, graph: Graph, stage: Stage, settings: ExperimentSettings
) -> Step:
    selected = context.run.asset_selection
    later = set(STAGES[STAGES.index(stage) + 1 :])
    if selected is not None:
        later &= {key.path[-1] for key in selected}
    if not settings.steering.evaluate:
        later.discard("steering_evaluation")
    if not settings.monitoring_prompts:
        later.discard("trait_dynamics")
    wants_gpu_again = any(_place(graph, s) == "gpu" for s in later)
    # A process of `traitvec run` may have other traits to do.
    is_alone = PID_TAG not in context.run.tags
    return Step(
        owner=f"{graph.experiment}/{context.partition_key}, run {context.run_id[:8]}",
        say=context.log.info,
        on_seat=lambda gpu: context.instance.add_run_tags(context.run_id, {GPUS_TAG: gpu}),
        keeps_gpu=is_queued_by_run(context.instance) and (wants_gpu_again or not is_alone),
    )


def _judge_provider(graph: Graph) -> Provider:
    """Who judges, as experiment.yaml says when the code location is loaded."""
    try:
        return JudgeChoice(graph.folder.settings()).provider
    except TraitvecError:
        # Each run says what is wrong with the file.
        return "local"


def _engine(graph: Graph) -> str:
    """What generates, as experiment.yaml says when the code location is loaded."""
    try:
        return graph.folder.settings().engine
    except TraitvecError:
        return "transformers"


def _definition_version(folder: TraitFolder, data: bytes) -> str:
    try:
        return folder.definition().content_hash
    except TraitvecError:
        return content_hash(data)
