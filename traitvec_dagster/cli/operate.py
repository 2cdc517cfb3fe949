"""`traitvec ui`, `doctor`, `gpus` and `remove-trait`: look after a project."""

import os
import socket
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from traitvec_core.errors import TraitvecError
from traitvec_core.visible_text import one_line
from traitvec_dagster.cli.terminal import ExperimentName, Root, experiment_folder, open_project, out

if TYPE_CHECKING:
    from traitvec_dagster.project import Project

__all__ = ["doctor", "gpus", "remove_trait", "ui"]


def ui(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Anyone who can reach it can start runs, and browsers must"
            " call it by this address, or by an origin in TRAITVEC_UI_ORIGINS."
        ),
    ] = "127.0.0.1",
    experiments_dir: Root = None,
) -> None:
    """Open Dagster on this project: lineage, traits as partitions, runs, checks and plots.

    Example: traitvec ui --port 3001
    """
    from traitvec_dagster.runs.ownership import close_dead_runs
    from traitvec_dagster.ui.addresses import PREFIX
    from traitvec_dagster.ui.origins import own_origins

    project = open_project(experiments_dir)
    own_origins(host)
    _check_port(host, port)
    instance = project.instance()
    close_dead_runs(instance)
    address = f"http://{host}:{port}"
    out.print(f"Dagster on {address} for {project.experiments} (Ctrl-C stops it)")
    out.print(f"reports on {address}{PREFIX}/")
    os.chdir(project.path)
    # Its servers take a second to import.
    from traitvec_dagster.ui.services import serve_project

    serve_project(instance, host, port)


def doctor(experiments_dir: Root = None) -> None:
    """Check GPU, keys, disk and Dagster; report what is missing, what for, and how to get it.

    Exits with 1 if something is broken. Shows no keys.

    Example: traitvec doctor
    """
    from traitvec_dagster.cli.doctor import examine
    from traitvec_dagster.project import Project

    marks = {"ok": ("ok    ", "green"), "absent": ("absent", "yellow"), "broken": ("BROKEN", "red")}
    is_broken = False
    for finding in examine(Project(experiments_dir)):
        what = one_line(f"{finding.what}: {finding.result}")
        out.print(Text.assemble(marks[finding.state], f"  {what}"))
        if finding.advice:
            out.print(Text(f"        {one_line(finding.advice)}", "dim"))
        is_broken = is_broken or finding.state == "broken"
    if is_broken:
        raise typer.Exit(1)


def gpus(experiments_dir: Root = None) -> None:
    """List the GPUs that runs on this machine can lease, and which run has each.

    Example: traitvec gpus
    """
    from traitvec_dagster.project import Project
    from traitvec_dagster.runs.gpu_lease import SEATS_VARIABLE, holder_of, seats

    project = Project(experiments_dir)
    project.enter()
    all_seats = seats()
    if not all_seats:
        out.print(f"leases are switched off: {SEATS_VARIABLE} is set but empty")
    for seat in all_seats:
        holder = holder_of(seat)
        state = (one_line(holder), "yellow") if holder else ("free", "green")
        out.print(Text.assemble(f"{seat.name}: ", state))
    if all_seats and all_seats[0].name == "cpu":
        out.print("no GPU is visible; runs share the CPU, one step with a model at a time")
    elif all_seats:
        _note_limits(project, len(all_seats))


def remove_trait(
    experiment: ExperimentName,
    trait: Annotated[str, typer.Option("--trait", help="Name of the trait.")],
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    experiments_dir: Root = None,
) -> None:
    """Delete a trait: its definition, its results and its partition. Asks first.

    Stored judgements and the history of runs in Dagster are kept. Refused while any process that
    shares the folder works in the trait, whatever its DAGSTER_HOME.

    Example: traitvec remove-trait --experiment mine --trait sycophancy
    """
    from traitvec_core.storage.files import display_path
    from traitvec_core.storage.removal import check_unused
    from traitvec_core.storage.removal import remove_trait as remove_folder
    from traitvec_dagster.automation import traits_in_progress
    from traitvec_dagster.graph.names import Graph
    from traitvec_dagster.project import Project

    project = Project(experiments_dir)
    folder = experiment_folder(project, experiment)
    graph = Graph(str(project.experiments), folder.name)
    instance = project.instance()
    partitions = str(graph.partitions.name)
    is_partition = trait in instance.get_dynamic_partitions(partitions)
    # A partition can have any name; only a valid one can have a folder.
    path = folder.trait(trait).path if not is_partition or _is_valid(trait) else None
    has_folder = path is not None and (path.is_symlink() or path.is_dir())
    if not is_partition and not has_folder:
        raise TraitvecError(
            f"{display_path(folder.path)} has no trait {trait!r}; its traits:"
            f" {', '.join(folder.traits()) or 'none'}"
        )
    if trait in traits_in_progress(instance, graph):
        raise TraitvecError(f"{trait} is being run; wait for the run to finish, or cancel it")
    if path is not None and has_folder:
        check_unused(path)
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
        megabytes = sum(file.lstat().st_size for file in files) / 1e6
        out.print(f"{display_path(path)}: {len(files)} files, {megabytes:.1f} MB")
    if not yes and not typer.confirm(f"Delete {trait!r} of {folder.name}? It cannot be undone."):
        raise typer.Exit(1)
    if path is not None:
        remove_folder(folder.trait(trait))
    # Last, so that if the files cannot be deleted, the trait can be removed again.
    if is_partition:
        instance.delete_dynamic_partition(partitions, trait)
    out.print(f"removed {one_line(trait)} from {folder.name}")


def _check_port(host: str, port: int) -> None:
    """Raise if the port is taken: Dagster would only log it, and run without its page."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            return
        except OSError as error:
            reason = error.strerror
    raise TraitvecError(
        f"cannot listen on {host}:{port}: {reason}. If Dagster already runs there, use that one;"
        f" or choose another port: `traitvec ui --port {port + 1}`"
    )


def _note_limits(project: "Project", n_seats: int) -> None:
    """Print a note if Dagster's queue admits too few runs to keep all GPUs busy."""
    queue = project.instance().get_concurrency_config().run_queue_config
    # A run that extracts vectors needs no GPU, so another run can use it meanwhile.
    n_needed = 2 * n_seats
    if queue is not None and 0 <= queue.max_concurrent_runs < n_needed:
        note = (
            f" {project.dagster_home / 'dagster.yaml'} allows"
            f" {queue.max_concurrent_runs} runs at once; to use all GPUs, set"
            f" max_concurrent_runs and the pools' default_limit to {n_needed} or more"
        )
        out.print(Text.assemble(("note:", "yellow"), note))


def _is_valid(name: str) -> bool:
    from traitvec_core.trait import check_name

    try:
        check_name("trait", name)
    except TraitvecError:
        return False
    return True
