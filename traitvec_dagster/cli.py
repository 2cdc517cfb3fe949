"""The command `traitvec`."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from traitvec_core.embedded import EMBEDDED_MODEL
from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.experiment import infer_model, scaffold_experiment
from traitvec_core.judging import check_judge
from traitvec_core.pipeline import stage_states
from traitvec_core.provenance import STAGES, Stage
from traitvec_core.store import (
    DEFINITION_FILE,
    ExperimentFolder,
    TraitFolder,
    list_experiments,
    shown,
    write_atomically,
)
from traitvec_core.trait import scaffold_definition
from traitvec_dagster.checks import CHECKED_STAGE
from traitvec_dagster.project import Project

__all__ = ["main"]

app = typer.Typer(
    name="traitvec",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Turn a trait into a direction in a language model that you can trust, monitor and steer"
    " with.\n\nStart with `traitvec new-experiment mine` and `traitvec new-trait --experiment mine"
    " --trait sycophancy --example`, then `traitvec check` and `traitvec run`.",
)
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)
if not out.is_terminal:
    # A log has no edge to fold tables at.
    out = Console(soft_wrap=True, width=120)

_MARK = {"pass": "[green]pass[/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}
# What `run` shows of a check beside its verdict.
_SHOWN_FIGURE = {
    "contrast": ("contrast", ".1f"),
    "norm": ("vector_norm", ".1f"),
    "accuracy": ("held_out_accuracy", ".3f"),
}
_STATE = {
    "fresh": "[green]fresh[/]",
    "stale": "[yellow]stale[/]",
    "missing": "[dim]missing[/]",
    "broken": "[red]BROKEN[/]",
}

Root = Annotated[
    Path | None,
    typer.Option(
        "--experiments-dir",
        help="Folder of the experiments. Default: $TRAITVEC_EXPERIMENTS, else ./experiments",
    ),
]
ExperimentName = Annotated[str, typer.Option("--experiment", help="Name of the experiment.")]
OneTrait = Annotated[str | None, typer.Option("--trait", help="One trait.")]


def main() -> None:
    """Run the command; what a user can mend is one line, and never a traceback."""
    try:
        app()
    except TraitvecError as error:
        _complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("interrupted; what was finished is kept, and the same command goes on from there")
        sys.exit(130)
    except OSError as error:
        # A full disk or a read-only tree: the user's to mend.
        err.print(f"[red]error:[/] {escape(str(error))}")
        sys.exit(1)


@app.command("new-experiment")
def new_experiment(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, '_' and '-'.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Model to study: a Hugging Face id, a folder, or 'embedded'. Default: what the"
            " name stands for (gemma_2b_…, gemma_9b_…, llama_8b_…), else 'embedded'."
        ),
    ] = None,
    judge_model: Annotated[str, typer.Option(help="Model that scores responses.")] = "embedded",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    experiments_dir: Root = None,
) -> None:
    """Make an experiment: a folder with a commented experiment.yaml."""
    folder = ExperimentFolder(Project(experiments_dir).experiments, name)
    if folder.settings_path.exists():
        raise TraitvecError(
            f"{shown(folder.settings_path)} exists already; edit it, or choose another name"
        )
    chosen = model or infer_model(folder.name) or EMBEDDED_MODEL
    write_atomically(
        folder.settings_path, scaffold_experiment(chosen, judge_model, description).encode()
    )
    folder.settings()
    out.print(f"wrote {shown(folder.settings_path)}")
    out.print(f"next: traitvec new-trait --experiment {name} --trait my_trait")


@app.command("new-trait")
def new_trait(
    experiment: ExperimentName,
    trait: Annotated[str, typer.Option("--trait", help="Name of the trait.")],
    description: Annotated[str, typer.Option(help="What the trait is, in a sentence.")] = "",
    example: Annotated[
        bool, typer.Option("--example", help="A complete worked example in place of a form.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    experiments_dir: Root = None,
) -> None:
    """Write a trait definition: a form to fill in, or a worked example."""
    folder = _experiment(Project(experiments_dir), experiment).trait(trait)
    if folder.definition_path.exists() and not force:
        raise TraitvecError(f"{shown(folder.definition_path)} exists already; --force replaces it")
    text = scaffold_definition(trait, description, example=example)
    write_atomically(folder.definition_path, text.encode())
    out.print(f"wrote {shown(folder.definition_path)}")
    if not example:
        out.print(f"fill it in, then: traitvec check --experiment {experiment}")
    else:
        out.print(f"next: traitvec run --experiment {experiment} --trait {trait}")


@app.command()
def check(experiment: ExperimentName, trait: OneTrait = None, experiments_dir: Root = None) -> None:
    """Check an experiment's settings and definitions; every problem at once, with the mend."""
    folder = _experiment(Project(experiments_dir), experiment)
    problems = 0
    try:
        settings = folder.settings()
        out.print(f"{shown(folder.path)}: model {settings.model}, judge {settings.judge_model}")
        check_judge(settings.judge_model)
    except TraitvecError as error:
        problems += _complain(error)
    names = [folder.trait(trait).name] if trait else _trait_folders(folder)
    if not names:
        raise TraitvecError(
            f"{shown(folder.path)} has no trait; `traitvec new-trait --experiment {experiment}"
            " --trait NAME` makes one"
        )
    for name in names:
        try:
            definition = folder.trait(name).definition()
        except TraitvecError as error:
            problems += _complain(error)
            continue
        counts = f"{len(definition.instruction)} pairs, {len(definition.questions)} questions"
        out.print(f"{escape(name)}: [green]ok[/] ({counts})")
        for warning in definition.warnings:
            out.print(f"{escape(name)}: [yellow]note:[/] {escape(warning)}")
    if problems:
        err.print(f"{problems} problem{'s' if problems > 1 else ''}")
        raise typer.Exit(1)


@app.command()
def run(
    experiment: ExperimentName,
    trait: Annotated[
        str | None,
        typer.Option("--trait", "--traits", help="One trait, several (a,b,c), or 'all'."),
    ] = None,
    select: Annotated[
        str,
        typer.Option(
            help="Stages, in Dagster's selection syntax: 'vectors', 'activations+' (it and all"
            " after it), '+judged_responses'. Stages: " + ", ".join(STAGES)
        ),
    ] = "*",
    gen_model: Annotated[str | None, typer.Option("--gen-model", "--model", help="Model.")] = None,
    judge_model: Annotated[str | None, typer.Option(help="Judge.")] = None,
    n_examples: Annotated[int | None, typer.Option(help="Responses per pole.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows generated at once.")] = None,
    max_concurrent_judges: Annotated[int | None, typer.Option(help="Judgements at once.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Positives score at least this.")] = None,
    methods: Annotated[str | None, typer.Option(help="For example mean_diff,probe.")] = None,
    layers: Annotated[str | None, typer.Option(help="For example 5,10,16, or 'all'.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting: --set sampling.temperature=1.0"),
    ] = None,
    experiments_dir: Root = None,
) -> None:
    """Make the stages of one or more traits, through Dagster, without the UI.

    What is fresh is kept. A flag takes the place of the experiment.yaml's setting for this run.
    Exits with 1 when a run or a blocking check fails; the other traits run all the same.
    """
    from traitvec_dagster import headless

    project = Project(experiments_dir)
    folder = _experiment(project, experiment)
    overrides = _overrides(
        {
            "model": gen_model,
            "judge_model": judge_model,
            "n_examples": n_examples,
            "batch_size": batch_size,
            "max_concurrent_judges": max_concurrent_judges,
            "threshold": threshold,
            "methods": [name.strip() for name in methods.split(",")] if methods else None,
            "layers": _layers(layers),
        },
        set_ or [],
    )
    # Before anything is started: a misspelt setting should not fail once per trait.
    settings = folder.settings(overrides)
    check_judge(settings.judge_model)
    traits = _chosen_traits(folder, trait)
    chosen = headless.select_stages(project, experiment, select)
    instance = project.instance()
    for run_id in headless.close_dead_runs(instance):
        err.print(f"run {run_id[:8]} was left open by a process that died; it is closed now")
    started = time.monotonic()
    runs = []
    for name in traits:
        with _progress(name):
            result = headless.run_trait(
                project, instance, experiment, name, select=chosen, overrides=overrides
            )
        runs.append(result)
        _print_run(result)
    out.print()
    _print_table(folder, traits, overrides)
    _print_next(project, folder, traits, time.monotonic() - started, runs)
    if not all(result.is_good for result in runs):
        raise typer.Exit(1)


@app.command()
def status(
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="One experiment; by default all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    experiments_dir: Root = None,
) -> None:
    """Tell of every trait what is fresh or stale, its checks, and its recommended vector."""
    project = Project(experiments_dir)
    names = [experiment] if experiment else list_experiments(project.experiments)
    if not names:
        raise TraitvecError(
            f"no experiments under {project.experiments}; `traitvec new-experiment NAME` makes one"
        )
    found = {name: _status_of(_experiment(project, name)) for name in names}
    if as_json:
        print(json.dumps(found, indent=2))  # noqa: T201  # for machines, not for the terminal
        return
    for name, traits in found.items():
        out.print(_status_table(name, traits))


@app.command()
def doctor(experiments_dir: Root = None) -> None:
    """Look at GPU, keys, disk and Dagster, and say what each missing thing would allow."""
    from traitvec_dagster.doctor import examine

    marks = {"ok": "[green]ok[/]    ", "absent": "[yellow]absent[/]", "broken": "[red]BROKEN[/]"}
    is_broken = False
    for finding in examine(Project(experiments_dir)):
        out.print(f"{marks[finding.state]}  {escape(finding.what)}: {escape(finding.found)}")
        if finding.mend:
            out.print(f"        [dim]{escape(finding.mend)}[/]")
        is_broken = is_broken or finding.state == "broken"
    if is_broken:
        raise typer.Exit(1)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port.")] = 3000,
    host: Annotated[
        str, typer.Option(help="Address. Anyone who reaches it can start runs.")
    ] = "127.0.0.1",
    experiments_dir: Root = None,
) -> None:
    """Open Dagster over this project: lineage, partitions, runs, checks and plots."""
    from traitvec_dagster.headless import close_dead_runs

    project = Project(experiments_dir)
    close_dead_runs(project.instance())
    out.print(f"Dagster on http://{host}:{port} over {project.experiments} (Ctrl-C stops it)")
    command = [
        # `dg dev` would want a project folder with its own pyproject.toml.
        sys.executable, "-W", "ignore:Function `dev_command`", "-m", "dagster",
        "dev", "-m", "traitvec_dagster.definitions", "-h", host, "-p", str(port),
    ]  # fmt: skip
    os.chdir(project.path)
    # In place of this process, so that whatever stops it stops Dagster.
    os.execv(command[0], command)  # noqa: S606


# -- what the commands share --------------------------------------------------------------------


def _experiment(project: Project, name: str) -> ExperimentFolder:
    folder = ExperimentFolder(project.experiments, name)
    if not folder.path.is_dir():
        there = list_experiments(project.experiments)
        known = f"there are: {', '.join(there)}" if there else "there are none yet"
        raise TraitvecError(
            f"there is no experiment {name!r} under {project.experiments} ({known});"
            f" `traitvec new-experiment {name}` makes it"
        )
    return folder


def _trait_folders(folder: ExperimentFolder) -> list[str]:
    """Every folder that has a definition, whatever its name, or results without one."""
    signs = (DEFINITION_FILE, "responses", "vectors")
    return sorted({path.parent.name for sign in signs for path in folder.path.glob(f"*/{sign}")})


def _chosen_traits(folder: ExperimentFolder, wanted: str | None) -> list[str]:
    there = folder.traits()
    if wanted is None:
        raise TraitvecError(
            "name what to run: --trait NAME, --traits a,b,c or --traits all"
            + (f" (there are: {', '.join(there[:20])})" if there else "")
        )
    if wanted.strip() == "all":
        if not there:
            raise TraitvecError(
                f"{shown(folder.path)} has no trait; `traitvec new-trait` makes one"
            )
        return there
    names = list(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    for name in names:
        folder.trait(name).read_definition_bytes()
    if not names:
        raise TraitvecError("--trait names nothing")
    return names


def _layers(text: str | None) -> Any:
    if text is None or text.strip() == "all":
        return text
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise TraitvecError(f"--layers {text!r}: give numbers such as 5,10,16, or 'all'") from None


def _overrides(flags: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    import yaml

    overrides = {name: value for name, value in flags.items() if value is not None}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip():
            raise TraitvecError(f"--set {assignment!r}: write --set name=value")
        try:
            overrides[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise TraitvecError(f"--set {assignment!r}: the value cannot be read") from None
    return overrides


def _complain(error: TraitvecError) -> int:
    lines = (
        [f"{error.where}: {problem}" for problem in error.problems]
        if isinstance(error, DefinitionError)
        else [str(error)]
    )
    for line in lines:
        err.print(f"[red]error:[/] {escape(line)}")
    return len(lines)


@contextmanager
def _progress(trait: str) -> Iterator[None]:
    """A live bar in a terminal; a line per finished stage elsewhere."""
    from traitvec_dagster.resources import set_progress_sink

    with _own_stderr() as console, ExitStack() as stack:
        if console.is_terminal:
            bar = stack.enter_context(
                Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeElapsedColumn(),
                    console=console,
                    transient=True,
                )
            )
            task = bar.add_task(f"{trait}: starting", total=None)

            def show(stage: Stage, done: int, total: int) -> None:
                bar.update(task, description=f"{trait}: {stage}", completed=done, total=total)
        else:

            def show(stage: Stage, done: int, total: int) -> None:
                if done == total:
                    console.print(f"{trait}: {stage} {done}/{total}")

        stack.callback(set_progress_sink, None)
        set_progress_sink(show)
        yield


@contextmanager
def _own_stderr() -> Iterator[Console]:
    """A console on a descriptor of its own.

    While a step runs, Dagster points the process's descriptors at its log files; a bar that wrote
    to them would only be seen when the step is over.
    """
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):
        # Nobody's terminal: a test or a program has put something else in its place.
        yield err
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        yield Console(file=stream, soft_wrap=True)


def _print_run(result: Any) -> None:
    if result.made:
        spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in result.made.items())
        kept = f"; fresh and kept: {', '.join(result.reused)}" if result.reused else ""
        out.print(f"{result.trait}: {spent}{kept}")
    elif result.reused and result.is_success:
        out.print(f"{result.trait}: everything is fresh, nothing was recomputed")
    for problem in result.problems:
        err.print(f"[red]{escape(result.trait)} failed:[/] {escape(problem)}")
    if not result.is_success and not result.problems:
        err.print(f"[red]{escape(result.trait)} failed:[/] see run {result.run_id[:8]} in the UI")


def _verdicts(
    folder: TraitFolder, settings: Any, states: Mapping[Stage, str]
) -> dict[str, dict[str, Any]]:
    from traitvec_core.validation.verdicts import evaluate

    return {
        name: evaluate(name, folder, settings).model_dump()
        for name, stage in CHECKED_STAGE.items()
        if states[stage] != "missing"
    }


def _status_of(
    folder: ExperimentFolder, overrides: dict[str, Any] | None = None, only: list[str] | None = None
) -> dict[str, dict[str, Any]]:
    settings = folder.settings(overrides)
    found: dict[str, dict[str, Any]] = {}
    for name in only or folder.traits():
        trait = folder.trait(name)
        states = stage_states(trait, settings)
        found[name] = {
            "stages": states,
            "checks": _verdicts(trait, settings, states),
            "recommended": _recommended(trait),
            "report": str(trait.path / "validation/report.html")
            if states["validation_report"] != "missing"
            else None,
        }
    return found


def _recommended(trait: TraitFolder) -> dict[str, Any] | None:
    """What the last report recommends; nothing while there is none, or one that was cut short."""
    with suppress(TraitvecError):
        chosen: dict[str, Any] | None = trait.metadata("validation_report")["recommended"]
        return chosen
    return None


def _status_table(experiment: str, traits: dict[str, dict[str, Any]]) -> Table:
    table = Table(title=f"{experiment}", title_justify="left")
    table.add_column("trait")
    for stage in STAGES:
        table.add_column(stage.replace("_", " "))
    table.add_column("checks")
    table.add_column("recommended")
    for name, row in traits.items():
        failed = [n for n, c in row["checks"].items() if c["verdict"] != "pass"]
        passed = f"{len(row['checks']) - len(failed)} pass"
        notes = " ".join(f"{n} {_MARK[row['checks'][n]['verdict']]}" for n in failed)
        chosen = row["recommended"]
        table.add_row(
            escape(name),
            *(_STATE[row["stages"][stage]] for stage in STAGES),
            f"{passed} {notes}".strip(),
            f"{chosen['method']}, layer {chosen['layer']}" if chosen else "–",
        )
    if not traits:
        table.add_row("(no traits yet)")
    return table


def _print_table(folder: ExperimentFolder, traits: list[str], overrides: dict[str, Any]) -> None:
    found = _status_of(folder, overrides, traits)
    table = Table(
        title=folder.name,
        title_justify="left",
        caption="contrast: mean score, positive − negative; norm: as thresholds.norm holds it;"
        " accuracy: of a probe on held-out questions",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("trait", no_wrap=True)
    table.add_column("recommended", no_wrap=True)
    for name in CHECKED_STAGE:
        table.add_column(name, no_wrap=True)
    for trait, row in found.items():
        chosen = row["recommended"]
        table.add_row(
            escape(trait),
            f"layer {chosen['layer']} {chosen['method']}" if chosen else "–",
            *(
                _cell(row["checks"].get(name), *_SHOWN_FIGURE.get(name, ()))
                for name in CHECKED_STAGE
            ),
        )
    out.print(table)
    for trait, row in found.items():
        for name, verdict in row["checks"].items():
            if verdict["verdict"] != "pass":
                advice = f" {verdict['advice']}" if verdict["advice"] else ""
                out.print(
                    f"{escape(trait)}: {name} {_MARK[verdict['verdict']]}:"
                    f" {escape(verdict['summary'])}.{escape(advice)}"
                )


def _cell(verdict: dict[str, Any] | None, figure: str = "", style: str = "") -> str:
    """A check's figure, if it has one to show, and its verdict."""
    if verdict is None:
        return "–"
    value = verdict["figures"].get(verdict["figures"].get("held", figure))
    shown_figure = "" if value is None else f"{value:{style}} "
    return shown_figure + _MARK[verdict["verdict"]]


def _print_next(
    project: Project, folder: ExperimentFolder, traits: list[str], seconds: float, runs: list[Any]
) -> None:
    out.print()
    for trait in traits:
        page = folder.trait(trait).path / "validation/report.html"
        if page.exists():
            out.print(f"report: {shown(page)}")
    failed = [result.trait for result in runs if not result.is_good]
    out.print(
        f"{len(runs) - len(failed)} of {len(runs)} traits in {seconds:.0f} s"
        + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    has_makefile = (project.path / "Makefile").exists()
    out.print(
        f"next: `{'make ui' if has_makefile else 'traitvec ui'}` shows lineage, checks and plots;"
        " `traitvec new-experiment mine` starts your own (docs/creating_traits.md)"
    )
