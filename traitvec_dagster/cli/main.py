"""The command `traitvec`."""

import json
import os
import socket
import sys
import time
from typing import Annotated

import typer
from rich.markup import escape

from traitvec_core.embedded import EMBEDDED_MODEL
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import infer_model, scaffold_experiment
from traitvec_core.judging import check_judge
from traitvec_core.models.files import check_installed
from traitvec_core.stage_names import STAGES
from traitvec_core.storage.files import (
    DEFINITION_FILE,
    display_path,
    list_experiments,
    write_atomically,
)
from traitvec_core.storage.folders import ExperimentFolder, refresh
from traitvec_core.trait import scaffold_definition
from traitvec_dagster.cli.compare import atlas, compare
from traitvec_dagster.cli.exchange import export, import_persona_vectors, push
from traitvec_dagster.cli.judging import estimate, judgements
from traitvec_dagster.cli.monitor import monitor
from traitvec_dagster.cli.operate import gpus, remove_trait
from traitvec_dagster.cli.status import (
    print_checks,
    print_next,
    print_run,
    status_of,
    status_table,
)
from traitvec_dagster.cli.terminal import (
    ExperimentName,
    Root,
    chosen_traits,
    complain,
    err,
    experiment_folder,
    live_progress,
    live_progress_of_many,
    note_retirement,
    out,
    read_layers,
    read_overrides,
    restore_interrupts,
)
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
app.command("estimate")(estimate)
app.command("export")(export)
app.command("push")(push)
app.command("monitor")(monitor)
app.command("atlas")(atlas)
app.command("compare")(compare)
app.command("import-persona-vectors")(import_persona_vectors)
app.command("gpus")(gpus)
app.command("remove-trait")(remove_trait)
app.add_typer(judgements, name="judgements")
OneTrait = Annotated[str | None, typer.Option("--trait", help="One trait.")]


def main() -> None:
    """Run the command; what a user can mend is one line, and never a traceback."""
    restore_interrupts()
    try:
        app()
    except TraitvecError as error:
        complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("interrupted; what was finished is kept, and the same command goes on from there")
        sys.exit(130)
    except OSError as error:
        # A full disk or a read-only tree: the user's to mend.
        err.print(f"[red]error:[/] {escape(str(error))}")
        sys.exit(1)
    except _database_error() as error:
        # Dagster's own storage: a full disk, a read-only folder, a database that is away.
        home = os.environ.get("DAGSTER_HOME", "DAGSTER_HOME")
        said = str(getattr(error, "orig", error)).strip().splitlines()[0]
        err.print(
            f"[red]error:[/] {escape(home)}: Dagster's history cannot be used ({escape(said)});"
            " mend that and run again, what is finished is kept"
        )
        sys.exit(1)


def _database_error() -> type[Exception]:
    # Called when something is raised: a command that goes well need not wait for the import.
    from sqlalchemy.exc import DBAPIError

    return DBAPIError


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
    judge_model: Annotated[
        str | None,
        typer.Option(
            help="Model that scores responses: gpt-…, claude-…, a Hugging Face id, 'embedded'."
            " Default: 'embedded' for the embedded model, else gpt-5-mini."
        ),
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    experiments_dir: Root = None,
) -> None:
    """Make an experiment: a folder with a commented experiment.yaml."""
    folder = ExperimentFolder(Project(experiments_dir).experiments, name)
    folder.refresh()
    if folder.settings_path.exists():
        raise TraitvecError(
            f"{display_path(folder.settings_path)} exists already; edit it, or choose another name"
        )
    chosen = model or infer_model(folder.name) or EMBEDDED_MODEL
    judge = judge_model or (EMBEDDED_MODEL if chosen == EMBEDDED_MODEL else "gpt-5-mini")
    write_atomically(folder.settings_path, scaffold_experiment(chosen, judge, description).encode())
    folder.refresh()
    note_retirement(folder.settings())
    out.print(f"wrote {display_path(folder.settings_path)}")
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
    whole = experiment_folder(Project(experiments_dir), experiment)
    folder = whole.trait(trait)
    if folder.definition_path.exists() and not force:
        raise TraitvecError(
            f"{display_path(folder.definition_path)} exists already; --force replaces it"
        )
    text = scaffold_definition(trait, description, example=example)
    write_atomically(folder.definition_path, text.encode())
    whole.refresh()
    out.print(f"wrote {display_path(folder.definition_path)}")
    if not example:
        out.print(f"fill it in, then: traitvec check --experiment {experiment}")
    else:
        out.print(f"next: traitvec run --experiment {experiment} --trait {trait}")


@app.command()
def check(experiment: ExperimentName, trait: OneTrait = None, experiments_dir: Root = None) -> None:
    """Check an experiment's settings and definitions; every problem at once, with the mend."""
    folder = experiment_folder(Project(experiments_dir), experiment)
    problems = 0
    try:
        settings = folder.settings()
        out.print(
            f"{display_path(folder.path)}: model {settings.model}, judge {settings.judge_model}"
        )
        note_retirement(settings)
        check_judge(settings)
        check_installed(engine=settings.engine, quantization=settings.quantization)
    except TraitvecError as error:
        problems += complain(error)
    names = [folder.trait(trait).name] if trait else _trait_folders(folder)
    if not names:
        raise TraitvecError(
            f"{display_path(folder.path)} has no trait; `traitvec new-trait --experiment"
            f" {experiment}"
            " --trait NAME` makes one"
        )
    for name in names:
        try:
            definition = folder.trait(name).definition()
        except TraitvecError as error:
            problems += complain(error)
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
    parallel: Annotated[
        int,
        typer.Option(
            min=1,
            help="Traits at once, each in a process with its share of the GPUs, which keeps its"
            " model from trait to trait.",
        ),
    ] = 1,
    experiments_dir: Root = None,
) -> None:
    """Make the stages of one or more traits, through Dagster, without the UI.

    What is fresh is kept. A flag takes the place of the experiment.yaml's setting for this run.
    Traits share one loaded model and run one after the other, unless --parallel says otherwise.
    Exits with 1 when a run or a blocking check fails; the other traits run all the same.
    """
    from traitvec_dagster.runs import headless, ownership
    from traitvec_dagster.runs.parallel import (
        allow_at_once,
        longest_first,
        run_traits,
        shares_of_gpus,
    )

    project = Project(experiments_dir)
    folder = experiment_folder(project, experiment)
    overrides = read_overrides(
        {
            "model": gen_model,
            "judge_model": judge_model,
            "n_examples": n_examples,
            "batch_size": batch_size,
            "max_concurrent_judges": max_concurrent_judges,
            "threshold": threshold,
            "methods": [name.strip() for name in methods.split(",")] if methods else None,
            "layers": read_layers(layers),
        },
        set_ or [],
    )
    # Before anything is started: a misspelt setting should not fail once per trait.
    settings = folder.settings(overrides)
    check_installed(engine=settings.engine, quantization=settings.quantization)
    traits = chosen_traits(folder, trait)
    chosen = headless.select_stages(project, experiment, select)
    if any(key.path[-1] == "judged_responses" for key in chosen):
        check_judge(settings)
        note_retirement(settings)
    instance = project.instance()
    for run_id in ownership.close_dead_runs(instance):
        err.print(f"run {run_id[:8]} was left open by a process that died; it is closed now")
    started = time.monotonic()
    runs = []
    if parallel > 1 and len(traits) > 1:
        shares = shares_of_gpus(min(parallel, len(traits)))
        if allow_at_once(instance, len(shares)):
            err.print(f"the pool gpu now lets {len(shares)} runs work at once")
        with live_progress_of_many() as tell:
            for result in run_traits(
                project, experiment, longest_first(folder, traits),
                selection=select, overrides=overrides, shares=shares, tell=tell,
            ):  # fmt: skip
                runs.append(result)
                print_run(result)
    else:
        for name in traits:
            with live_progress(name):
                result = headless.run_trait(
                    project, instance, experiment, name, select=chosen, overrides=overrides
                )
            runs.append(result)
            print_run(result)
    out.print()
    print_checks(folder, traits, overrides)
    print_next(project, folder, traits, time.monotonic() - started, runs)
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
    if not experiment:
        refresh(project.experiments)
    names = [experiment] if experiment else list_experiments(project.experiments)
    if not names:
        raise TraitvecError(
            f"no experiments under {project.experiments}; `traitvec new-experiment NAME` makes one"
        )
    found = {name: status_of(experiment_folder(project, name)) for name in names}
    if as_json:
        print(json.dumps(found, indent=2))  # noqa: T201  # for machines, not for the terminal
        return
    for name, traits in found.items():
        out.print(status_table(name, traits))


@app.command()
def doctor(experiments_dir: Root = None) -> None:
    """Look at GPU, keys, disk and Dagster, and say what each missing thing would allow."""
    from traitvec_dagster.cli.doctor import examine

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
    from traitvec_dagster.runs.ownership import close_dead_runs

    project = Project(experiments_dir)
    _check_port(host, port)
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


def _check_port(host: str, port: int) -> None:
    """Dagster itself would go on without its page, and say so in one line among many."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            return
        except OSError as error:
            why = error.strerror
    raise TraitvecError(
        f"{host}:{port} cannot be opened: {why}. Perhaps Dagster runs there"
        f" already: use that one, or `traitvec ui --port {port + 1}`"
    )


def _trait_folders(folder: ExperimentFolder) -> list[str]:
    """Every folder that has a definition, whatever its name, or results without one."""
    signs = (DEFINITION_FILE, "responses", "vectors")
    return sorted({path.parent.name for sign in signs for path in folder.path.glob(f"*/{sign}")})
