"""`traitvec run`: run the stages of traits, and print what came out."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import STAGES
from traitvec_core.storage.vector_verdict import warn_if_not_usable, warn_if_stale
from traitvec_core.visible_text import one_line
from traitvec_dagster.cli.status import VERDICT_MARKS, status_of, verdict_cell
from traitvec_dagster.cli.terminal import (
    ExperimentName,
    Root,
    chosen_traits,
    err,
    experiment_folder,
    note_retirement,
    open_project,
    out,
    read_layers,
    read_overrides,
    trusted_settings,
)

if TYPE_CHECKING:
    import dagster as dg

    from traitvec_core.experiment import ExperimentSettings
    from traitvec_core.stage_names import Stage
    from traitvec_core.stages.redo import Redo
    from traitvec_core.storage.folders import ExperimentFolder
    from traitvec_dagster.project import Project
    from traitvec_dagster.runs.headless import TraitRun

__all__ = ["run"]

# Checks whose figure gets a column: the figure's name, and its number format.
_FIGURES = {
    "contrast": ("contrast", ".1f"),
    "agreement": ("same_side", ".2f"),
    "norm": ("vector_norm", ".1f"),
    "accuracy": ("held_out_accuracy", ".3f"),
}


def run(
    experiment: ExperimentName,
    trait: Annotated[
        str | None,
        typer.Option("--trait", "--traits", help="One trait, several (a,b,c), or 'all'."),
    ] = None,
    select: Annotated[
        str,
        typer.Option(
            help="Stages to run, with commas or in Dagster's selection syntax: 'vectors';"
            " 'judged_responses,activations'; 'activations+' (it and everything after it);"
            " '+judged_responses' (it and everything before it). Stages: " + ", ".join(STAGES)
        ),
    ] = "*",
    gen_model: Annotated[
        str | None, typer.Option("--gen-model", "--model", help="Model to study.")
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option(help="Model that scores the responses.")
    ] = None,
    n_examples: Annotated[int | None, typer.Option(help="Number of responses per pole.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Responses that are generated at once.")
    ] = None,
    max_concurrent_judges: Annotated[
        int | None, typer.Option(help="Calls to the judge that run at once.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Trait score that separates the poles, 0 to 100."),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Extraction methods, for example mean_diff,probe.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers, for example 5,10,16, or 'all'.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, for example sampling.temperature=1.0."),
    ] = None,
    redo: Annotated[
        list[str] | None,
        typer.Option(
            help="A stage to make again although it is fresh; may be repeated. What depends on it"
            " follows if its content has changed. 'responses' generates again with the same seed:"
            " the same model in this process writes the same responses (other ones: --set"
            " sampling.seed=1), a server may write others. 'judged_responses' asks, and pays, for"
            " all judgements again; all other stages use the stored ones. The earlier result stays"
            " until the new one is complete. A redo that was interrupted continues with the same"
            " command; without --redo, the earlier result is used."
        ),
    ] = None,
    only_missing: Annotated[
        bool,
        typer.Option(
            "--only-missing",
            help="With --redo judged_responses: ask again only for the judgements without a usable"
            " answer (unusable or failed; a refusal is an answer).",
        ),
    ] = False,
    max_judge_usd: Annotated[
        float | None,
        typer.Option(help="Dollars that this experiment's judging may cost, all runs together."),
    ] = None,
    parallel: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of traits to run at once, each in a process with its own share of the"
            " GPUs. A process loads its model once and keeps it for all its traits.",
        ),
    ] = 1,
    experiments_dir: Root = None,
) -> None:
    """Run the stages of one or more traits through Dagster, without the UI.

    Fresh stages are reused. Options override experiment.yaml for this run only. Traits run one
    after the other and share one loaded model; --parallel runs several at once.

    Exits with 1 if a run or a blocking check fails; the other traits still run.

    Example: traitvec run --experiment demo --traits refusal,verbosity --select activations+
    """
    from traitvec_core.generation.engine_process import check_engine
    from traitvec_core.models.files import check_model
    from traitvec_core.stages import SPECS
    from traitvec_core.stages.redo import parse_redo
    from traitvec_dagster.cli.progress import live_progress, live_progress_of_many
    from traitvec_dagster.graph.names import Graph
    from traitvec_dagster.runs import headless
    from traitvec_dagster.runs.parallel import (
        longest_first,
        raise_pool_limit,
        run_traits,
        split_gpus,
    )
    from traitvec_dagster.runs.up_to_date import finished_run

    project = open_project(experiments_dir)
    folder = experiment_folder(project, experiment)
    overrides = read_overrides(
        {
            "model": gen_model,
            "judge_model": judge_model,
            "n_examples": n_examples,
            "batch_size": batch_size,
            "max_concurrent_judges": max_concurrent_judges,
            "threshold": threshold,
            "max_judge_usd": max_judge_usd,
            "methods": [name.strip() for name in methods.split(",")] if methods else None,
            "layers": read_layers(layers),
        },
        set_ or [],
    )
    # Before anything starts: a misspelt setting should not fail once per trait.
    settings = trusted_settings(folder, overrides)
    check_engine(settings)
    check_model(settings.model)
    redone = parse_redo(redo or [], only_missing=only_missing)
    traits = chosen_traits(folder, trait)
    stages = headless.select_stages(project, experiment, select)
    _check_selected(redone, stages, select)
    names = [stage for stage in STAGES if stage in {key.path[-1] for key in stages}]
    if any(SPECS[name].estimate for name in names):
        _check_judges(folder, settings, traits, names, redone)
    instance = project.instance()
    _close_dead_runs(instance)
    started = time.monotonic()
    graph = Graph(str(project.experiments), experiment)
    # What is redone is run, however finished it is.
    results = (
        []
        if redone.stages
        else [
            run
            for name in traits
            if (run := finished_run(instance, graph, name, select=stages, overrides=overrides))
        ]
    )
    for done in results:
        _print_run(done)
    is_finished = {result.trait for result in results}
    left = [name for name in traits if name not in is_finished]
    if parallel > 1 and len(left) > 1:
        shares = split_gpus(min(parallel, len(left)))
        if raise_pool_limit(instance, len(shares)):
            err.print(f"raised the limit of the pool gpu to {len(shares)} runs at once")
        with live_progress_of_many() as on_event:
            for result in run_traits(
                project, experiment, longest_first(folder, left),
                selection=select, overrides=overrides, redo=redone, shares=shares,
                on_event=on_event,
            ):  # fmt: skip
                results.append(result)
                _print_run(result)
    else:
        for name in left:
            with live_progress(name):
                result = headless.run_trait(
                    project, instance, experiment, name,
                    select=stages, overrides=overrides, redo=redone,
                )  # fmt: skip
            results.append(result)
            _print_run(result)
    out.print()
    _print_checks(folder, traits, overrides)
    _print_next(project, folder, traits, time.monotonic() - started, results)
    if not all(result.is_good for result in results):
        raise typer.Exit(1)


def _check_judges(
    folder: "ExperimentFolder",
    settings: "ExperimentSettings",
    traits: list[str],
    stages: "list[Stage]",
    redo: "Redo",
) -> None:
    """Check judges that will be needed, before any cost; a note of those that will be shut down."""
    from traitvec_core.stages.judge_check import check_judges_ahead

    note_retirement(settings)
    check_judges_ahead(folder, settings, traits, stages, redo, err.print)


def _close_dead_runs(instance: "dg.DagsterInstance") -> None:
    from traitvec_dagster.automation.ended_runs import settle_run
    from traitvec_dagster.runs.ownership import close_dead_runs

    for run_id in close_dead_runs(instance):
        # The sensor does it too, where Dagster's daemon runs.
        if run := instance.get_run_by_id(run_id):
            settle_run(instance, run)
        err.print(f"closed run {run_id[:8]}: its process died without ending it")


def _check_selected(redo: "Redo", stages: "Sequence[dg.AssetKey]", select: str) -> None:
    """Raise if a stage is to be redone that is not run."""
    selected = {key.path[-1] for key in stages}
    for stage in redo.stages:
        if stage not in selected:
            raise TraitvecError(
                f"--redo {stage}: --select {select!r} leaves it out; select it too, or leave out"
                " --select"
            )


def _print_run(result: "TraitRun") -> None:
    """Print what one run made, reused, and failed at."""
    if result.made:
        times = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in result.made.items())
        reused = f"; reused: {', '.join(result.reused)}" if result.reused else ""
        out.print(f"{result.trait}: {times}{reused}")
    elif result.reused and result.is_success:
        out.print(f"{result.trait}: everything is fresh, nothing was recomputed")
    for problem in result.problems:
        err.print(Text.assemble((f"{result.trait} failed:", "red"), f" {one_line(problem)}"))
    if not result.is_success and not result.problems:
        what = f" see run {result.run_id[:8]} in the UI"
        err.print(Text.assemble((f"{result.trait} failed:", "red"), what))


def _print_checks(folder: "ExperimentFolder", traits: list[str], overrides: dict[str, Any]) -> None:
    """Print the checks of the traits that ran, and the advice for those that did not pass."""
    rows = status_of(folder, overrides, traits)
    table = Table(
        title=folder.name,
        title_justify="left",
        caption="contrast: mean score, positive − negative; norm: of the recommended vector, as"
        " thresholds.norm measures it; accuracy: of a probe on held-out questions",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("trait", no_wrap=True)
    table.add_column("recommended", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    checked = {name for row in rows.values() for name in row["checks"]}
    figures = {name: figure for name, figure in _FIGURES.items() if name in checked}
    for name in figures:
        table.add_column(name, no_wrap=True)
    table.add_column("other checks")
    for trait, row in rows.items():
        vector = row["recommended"]
        table.add_row(
            trait,
            f"layer {vector['layer']} {vector['method']}" if vector else "–",
            verdict_cell(row),
            *(_figure_cell(row["checks"].get(name), *figure) for name, figure in figures.items()),
            _other_checks(row["checks"]),
        )
    out.print(table)
    for trait, row in rows.items():
        if vector := row["recommended"]:
            what = f"{trait} ({vector['method']}_layer{vector['layer']})"
            warn_if_not_usable(what, vector["verdict"], vector["reasons"])
            warn_if_stale(what, row["stale"])
        for name, check in row["checks"].items():
            if check["verdict"] != "pass" or check["accepted"]:
                advice = f" {check['advice']}" if check["advice"] else ""
                out.print(
                    Text.assemble(
                        f"{trait}: {name} ",
                        VERDICT_MARKS[check["verdict"]],
                        one_line(f": {check['summary']}.{advice}"),
                    )
                )


def _figure_cell(check: dict[str, Any] | None, figure: str, style: str) -> Text:
    """A check's figure, if it has one, and its verdict."""
    if check is None:
        return Text("–")
    value = check["figures"].get(check["figures"].get("held", figure))
    number = "" if value is None else f"{value:{style}} "
    return Text.assemble(number, VERDICT_MARKS[check["verdict"]])


def _other_checks(checks: dict[str, Any]) -> Text:
    """The checks without their own column, by verdict; the worst first."""
    from traitvec_core.validation.checks.table import CHECKS

    others = {name: checks[name] for name in CHECKS if name in checks and name not in _FIGURES}
    parts = []
    for verdict in ("fail", "warn", "pass"):
        names = [name for name, check in others.items() if check["verdict"] == verdict]
        if names:
            shown = len(names) if verdict == "pass" else ", ".join(names)
            parts.append(Text.assemble(VERDICT_MARKS[verdict], f" {shown}"))
    return Text("; ").join(parts) or Text("–")


def _print_next(
    project: "Project",
    folder: "ExperimentFolder",
    traits: list[str],
    seconds: float,
    results: "Sequence[TraitRun]",
) -> None:
    """Print where the reports are, and what to do next."""
    from traitvec_core.storage.files import display_path

    out.print()
    for trait in traits:
        page = folder.trait(trait).path / "validation/report.html"
        if page.exists():
            out.print(f"report: {display_path(page)}")
        page = folder.trait(trait).path / "dynamics/dynamics.html"
        if page.exists():
            out.print(f"token by token: {display_path(page)}")
    failed = [result.trait for result in results if not result.is_good]
    out.print(
        f"{len(results) - len(failed)} of {len(results)} traits in {seconds:.0f} s"
        + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    has_makefile = (project.path / "Makefile").exists()
    out.print(
        f"next: `{'make ui' if has_makefile else 'traitvec ui'}` shows lineage, checks and plots;"
        " `traitvec new-experiment mine` starts your own (docs/creating_traits.md)"
    )
