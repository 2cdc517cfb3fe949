"""A trait from the UI alone: a job that writes its definition, and a sensor that then runs it."""

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

import dagster as dg

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.settings.trait_form import compose_definition, scaffold_definition
from traitvec_core.storage.files import DEFINITION_FILE, display_path
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.trait_lock import changing_trait
from traitvec_core.trait import Subject, TraitDefinition, check_name, parse_definition
from traitvec_core.validation.lint import lint
from traitvec_core.visible_text import one_line
from traitvec_dagster.automation.settings import usable_settings
from traitvec_dagster.automation.unfinished import traits_in_progress
from traitvec_dagster.graph.failures import one_line_failure
from traitvec_dagster.graph.names import Graph

__all__ = ["build_new_trait_job", "build_new_trait_sensor", "write_new_trait"]

_OP = "new_trait"
_INTERVAL_S = 10
# The parts that the worked example brings, as the config names them.
_PARTS = ("description", "pairs", "questions", "rubric", "eval_questions", "about")
# The config's names for the file's keys, in messages.
_CONFIG_NAMES = {"instruction": "pairs", "eval_prompt": "rubric"}


def _optional(config_type: Any, default: Any, description: str) -> dg.Field:
    return dg.Field(config_type, default_value=default, description=description)


# Plain strings: Dagster's own for configs could read the environment into a file.
_CONFIG = {
    "name": dg.Field(str, description="Name of the trait: lower-case letters, digits, _ and -."),
    "description": _optional(str, "", "The trait in one sentence. Part of the standard rubric."),
    "pairs": _optional(
        [{"pos": dg.Field(str), "neg": dg.Field(str)}], [],
        "Opposite instructions: pos asks for the trait, neg for its opposite. Ten are recommended.",
    ),
    "questions": _optional([str], [], "Neutral questions, at least 2; 20 are usual."),
    "rubric": _optional(
        str, "",
        "What the judge is asked, with {question} and {answer}. Empty: a standard rubric from name"
        " and description.",
    ),
    "eval_questions": _optional(
        [str], [], "Held-out questions for steering, on other topics; at least 10 are recommended."
    ),
    "about": _optional(
        [dg.Enum("Subject", [dg.EnumValue(subject) for subject in get_args(Subject)])], [],
        "What the trait is about, where that would otherwise count as another explanation.",
    ),
    "from_example": _optional(
        bool, False, "Write the worked example (sycophancy) under this name, without other texts."
    ),
    "replace": _optional(bool, False, "Replace the definition if the trait has one."),
    "run": _optional(bool, True, "Start a run of the trait once its definition is written."),
}  # fmt: skip


@dg.op(
    name=_OP,
    config_schema=_CONFIG,
    required_resource_keys={"graph"},
    # A value would be pickled.
    out=dg.Out(dg.Nothing),
    description="Writes a trait's definition and adds its partition.",
)
def _new_trait(context: dg.OpExecutionContext) -> None:
    graph: Graph = context.resources.graph
    with one_line_failure(context):
        graph.folder.refresh()
        folder, definition = write_new_trait(graph.folder, context.op_config)
        graph.folder.refresh()
    context.instance.add_dynamic_partitions(str(graph.partitions.name), [folder.name])
    for warning in definition.warnings:
        context.log.warning(one_line(warning))
    for finding in lint(definition, folder.name):
        if finding.severity == "warning":
            context.log.warning(one_line(f"{finding.place}: {finding.reason}. {finding.fix}"))
    context.log.info(f"wrote {one_line(display_path(folder.definition_path))}")


def build_new_trait_job(graph: Graph) -> dg.JobDefinition:
    """Build the job that writes the definition of a new trait of an experiment."""
    return dg.GraphDefinition(graph.new_trait_job, node_defs=[_new_trait]).to_job(
        resource_defs={"graph": dg.ResourceDefinition.hardcoded_resource(graph)},
        executor_def=dg.in_process_executor,
        description=f"Writes the definition of a new trait of {graph.experiment}, adds its"
        " partition and, unless `run: false`, starts its run.",
    )


def build_new_trait_sensor(graphs: Sequence[Graph], jobs: Sequence[Any]) -> dg.SensorDefinition:
    """Build the sensor that runs a trait once the job has written its definition.

    Args:
        graphs: All experiments, at least one.
        jobs: All jobs, among them each experiment's `job` and `new_trait_job`.
    """
    graph_of = {graph.new_trait_job: graph for graph in graphs}
    run_jobs = {graph.job for graph in graphs}

    @dg.run_status_sensor(
        name="new_trait_runs",
        run_status=dg.DagsterRunStatus.SUCCESS,
        monitored_jobs=[job for job in jobs if job.name in graph_of],
        request_jobs=[job for job in jobs if job.name in run_jobs],
        minimum_interval_seconds=_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs a new trait once the job <experiment>_new_trait has written it.",
    )
    def new_trait_runs(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
        run = context.dagster_run
        graph, run_config = graph_of[run.job_name], cast(dict[str, Any], run.run_config)
        config = run_config["ops"][_OP]["config"]
        trait = config["name"]
        if not config.get("run", True):
            return dg.SkipReason(f"{trait}: no run was asked for")
        settings = usable_settings(graph)
        if settings is not None and settings.auto_run:
            return dg.SkipReason(f"{trait}: auto_run is on, so the other sensor runs it")
        if trait in traits_in_progress(context.instance, graph):
            return dg.SkipReason(f"{trait} is already running")
        return dg.RunRequest(run.run_id, job_name=graph.job, partition_key=trait)

    return new_trait_runs


def write_new_trait(
    experiment: ExperimentFolder, config: Mapping[str, Any]
) -> tuple[TraitFolder, TraitDefinition]:
    """Write the definition that a config describes, and return the trait's folder with it.

    Raises:
        TraitvecError: If the name, a part or their combination is not valid (all problems in one
            line), the trait exists and is not to be replaced, or a process works in it.
    """
    name = config["name"]
    problems, definition = [], None
    try:
        check_name("trait", name)
    except TraitvecError as error:
        problems.append(str(error))
    text = _text(config, problems)
    try:
        definition = parse_definition(text.encode("utf-8", "surrogatepass"), "new trait")
    except DefinitionError as error:
        problems += map(_in_words_of_config, error.problems)
    if problems or definition is None:
        raise DefinitionError("new trait", problems)
    folder = experiment.trait(name)
    if folder.definition_path.exists() and not config["replace"]:
        raise TraitvecError(
            f"{display_path(folder.definition_path)} exists already; set replace: true to replace"
            " it, or choose another name"
        )
    with changing_trait(folder.path, "a new definition", "cannot be replaced now"):
        folder.write(DEFINITION_FILE, text.encode())
    return folder, definition


def _text(config: Mapping[str, Any], problems: list[str]) -> str:
    name = config["name"]
    if not config["from_example"]:
        return compose_definition(
            name, config["description"], config["pairs"], config["questions"],
            rubric=config["rubric"], eval_questions=config["eval_questions"],
            about=config["about"],
        )  # fmt: skip
    if given := [part for part in _PARTS if config[part]]:
        problems.append(
            f"from_example brings its own texts; leave out {', '.join(given)}, or set from_example:"
            " false"
        )
    return scaffold_definition(name, example=True)


def _in_words_of_config(problem: str) -> str:
    for key, name in _CONFIG_NAMES.items():
        if problem.startswith(key):
            return f"{name}{problem.removeprefix(key)}"
    return problem
