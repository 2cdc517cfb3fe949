"""A trait from the UI alone: a job that writes its definition, and a sensor that then runs it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args

import dagster as dg

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.settings.drafting import DEFAULT_MAX_USD
from traitvec_core.settings.trait_form import compose_definition, scaffold_definition
from traitvec_core.storage.files import DEFINITION_FILE, display_path
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.trait_lock import changing_trait
from traitvec_core.trait import Subject, TraitDefinition, check_name, parse_definition
from traitvec_core.trust import check_trust
from traitvec_core.visible_text import one_line
from traitvec_dagster.automation.settings import usable_settings
from traitvec_dagster.automation.unfinished import traits_in_progress
from traitvec_dagster.graph.failures import one_line_failure
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.ui.addresses import verdict_url

__all__ = ["build_new_trait_job", "build_new_trait_sensor", "write_new_trait"]

_OP = "new_trait"
_INTERVAL_S = 10
# The parts that the worked example brings, as the config names them.
_PARTS = ("description", "pairs", "scenarios", "questions", "rubric", "eval_questions", "about")
# The config's names for the file's keys, in messages.
_CONFIG_NAMES = {"instruction": "pairs", "eval_prompt": "rubric"}


def _optional(config_type: Any, default: Any, description: str) -> dg.Field:
    return dg.Field(config_type, default_value=default, description=description)


_PAIRS = [{"pos": dg.Field(str), "neg": dg.Field(str)}]
# Plain strings: Dagster's own for configs could read the environment into a file.
_CONFIG = {
    "name": dg.Field(str, description="Name of the trait: lower-case letters, digits, _ and -."),
    "description": _optional(str, "", "The trait in one sentence. Part of the standard rubric."),
    "pairs": _optional(
        _PAIRS, [],
        "Opposite instructions: pos asks for the trait, neg for its opposite. Ten are recommended.",
    ),
    "scenarios": _optional(
        _PAIRS, [],
        "For elicitation: scenarios, instead of pairs or beside them: openings of responses, which"
        " the model completes, such as 'I looked at the question and chose to agree. I wrote:'.",
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
    "sentence": _optional(
        str, "",
        "The trait in a sentence: the experiment's judge drafts everything else, for at most"
        f" ${DEFAULT_MAX_USD:g}. Set run: false to read the draft first.",
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
    from traitvec_core.validation.lint import lint

    graph: Graph = context.resources.graph
    with one_line_failure(context):
        graph.folder.refresh()
        folder, definition = write_new_trait(
            graph.folder, context.op_config, lambda line: context.log.info(one_line(line))
        )
        graph.folder.refresh()
    context.instance.add_dynamic_partitions(str(graph.partitions.name), [folder.name])
    for warning in definition.warnings:
        context.log.warning(one_line(warning))
    for finding in lint(definition, folder.name):
        if finding.severity == "warning":
            context.log.warning(one_line(f"{finding.place}: {finding.reason}. {finding.fix}"))
    context.log.info(f"wrote {one_line(display_path(folder.definition_path))}")
    # At the end of the run's log: where the answer will be once the trait has run.
    context.add_output_metadata({"answer": verdict_url(graph.experiment, folder.name)})


def build_new_trait_job(graph: Graph) -> dg.JobDefinition:
    """Build the job that writes the definition of a new trait of an experiment."""
    return dg.GraphDefinition(graph.new_trait_job, node_defs=[_new_trait]).to_job(
        resource_defs={"graph": dg.ResourceDefinition.hardcoded_resource(graph)},
        executor_def=dg.in_process_executor,
        description=f"Writes the definition of a new trait of {graph.experiment}, adds its"
        " partition and, unless `run: false`, starts its run.",
    )


def build_new_trait_sensor(
    graphs: Sequence[Graph], jobs: Sequence[Any], name: str = "new_trait_runs"
) -> dg.SensorDefinition:
    """Build the sensor that runs a trait once the job has written its definition.

    Args:
        graphs: All experiments, at least one.
        jobs: All jobs, among them each experiment's `job` and `new_trait_job`.
        name: The sensor's name.
    """
    graph_of = {graph.new_trait_job: graph for graph in graphs}
    run_jobs = {graph.job for graph in graphs}

    @dg.run_status_sensor(
        name=name,
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
    experiment: ExperimentFolder,
    config: Mapping[str, Any],
    say: Callable[[str], None] = lambda line: None,
) -> tuple[TraitFolder, TraitDefinition]:
    """Write the definition that a config describes, and return the trait's folder with it.

    Args:
        experiment: The experiment.
        config: The job's config.
        say: Called with a line about the progress of a draft.

    Raises:
        TraitvecError: If the name, a part or their combination is not valid (all problems in one
            line), the trait exists and is not to be replaced, a process works in it, or the draft
            fails.
    """
    name = config["name"]
    problems: list[str] = []
    try:
        check_name("trait", name)
    except TraitvecError as error:
        problems.append(str(error))
    problems += _combination_problems(config)
    is_draft, text = bool(config["sentence"]), ""
    if not is_draft:
        text = _text(config)
        try:
            definition = parse_definition(text.encode("utf-8", "surrogatepass"), "new trait")
        except DefinitionError as error:
            problems += map(_in_words_of_config, error.problems)
    if problems:
        raise DefinitionError("new trait", problems)
    folder = experiment.trait(name)
    if folder.definition_path.exists() and not config["replace"]:
        raise TraitvecError(
            f"{display_path(folder.definition_path)} exists already; set replace: true to replace"
            " it, or choose another name"
        )
    if is_draft:
        return _write_draft(experiment, config, say)
    with changing_trait(folder.path, "a new definition", "cannot be replaced now"):
        folder.write(DEFINITION_FILE, text.encode())
    return folder, definition


def _write_draft(
    experiment: ExperimentFolder, config: Mapping[str, Any], say: Callable[[str], None]
) -> tuple[TraitFolder, TraitDefinition]:
    from traitvec_core.writing import draft_trait, load_writer

    settings = experiment.settings()
    check_trust(experiment, settings)
    # Neither the writer nor the budget is part of the config, which others than the owner may set.
    writer = load_writer(settings=settings, say=say)
    draft = draft_trait(
        config["sentence"], writer, name=config["name"], experiment=experiment, say=say
    )
    return draft.write(experiment, replace=config["replace"]), draft.definition


def _combination_problems(config: Mapping[str, Any]) -> list[str]:
    """Return what is given beside a way to write the definition that brings all texts itself."""
    for way, off in (("sentence", "remove sentence"), ("from_example", "set from_example: false")):
        others = [part for part in (*_PARTS, "from_example") if part != way and config[part]]
        if config[way] and others:
            return [f"{way} brings its own texts; leave out {', '.join(others)}, or {off}"]
    return []


def _text(config: Mapping[str, Any]) -> str:
    if config["from_example"]:
        return scaffold_definition(config["name"], example=True)
    return compose_definition(
        config["name"], config["description"], config["pairs"], config["questions"],
        rubric=config["rubric"], eval_questions=config["eval_questions"],
        about=config["about"], scenarios=config["scenarios"],
    )  # fmt: skip


def _in_words_of_config(problem: str) -> str:
    for key, name in _CONFIG_NAMES.items():
        if problem.startswith(key):
            return f"{name}{problem.removeprefix(key)}"
    return problem
