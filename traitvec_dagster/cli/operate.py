"""Commands that look after a running project: remove a trait, look at the GPUs."""

import shutil
from typing import Annotated

import typer
from rich.markup import escape

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.files import display_path
from traitvec_dagster.cli.terminal import ExperimentName, Root, experiment_folder, out
from traitvec_dagster.project import Project

__all__ = ["gpus", "remove_trait"]


def remove_trait(
    experiment: ExperimentName,
    trait: Annotated[str, typer.Option("--trait", help="Name of the trait.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    experiments_dir: Root = None,
) -> None:
    """Delete a trait: its definition, its results and its partition, after a question.

    Judgements stay in the store, and Dagster keeps the history of its runs.
    """
    from traitvec_dagster.automation import traits_in_progress
    from traitvec_dagster.graph.names import Graph

    project = Project(experiments_dir)
    folder = experiment_folder(project, experiment)
    graph = Graph(str(project.experiments), folder.name)
    instance = project.instance()
    partitions = str(graph.partitions.name)
    is_partition = trait in instance.get_dynamic_partitions(partitions)
    # A partition may have been added under any name; only a usable one has a folder.
    path = folder.trait(trait).path if not is_partition or _is_usable(trait) else None
    is_there = path is not None and (path.is_symlink() or path.is_dir())
    if not is_partition and not is_there:
        raise TraitvecError(
            f"{display_path(folder.path)} has no trait {trait!r}; there are:"
            f" {', '.join(folder.traits())}"
        )
    if trait in traits_in_progress(instance, graph):
        raise TraitvecError(f"a run of {trait} is under way; end it first, or wait for it")
    if path is not None and is_there:
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
        megabytes = sum(file.lstat().st_size for file in files) / 1e6
        out.print(f"{escape(display_path(path))}: {len(files)} files, {megabytes:.1f} MB")
    if not yes and not typer.confirm(f"Delete {trait!r} of {folder.name} for good?"):
        raise typer.Exit(1)
    if path is not None:
        folder.trait(trait).remove_from_storage()
    if path is not None and is_there:
        if path.is_symlink():
            # What it leads to is not the experiment's.
            path.unlink()
        else:
            shutil.rmtree(path)
    # Last: if files cannot be deleted, the trait is still there to be removed again.
    if is_partition:
        instance.delete_dynamic_partition(partitions, trait)
    out.print(f"removed {escape(trait)} from {folder.name}")


def gpus(experiments_dir: Root = None) -> None:
    """Show every GPU that runs can lease on this machine, and who has it."""
    from traitvec_dagster.runs.gpu_lease import SEATS_VARIABLE, holder_of, seats

    project = Project(experiments_dir)
    project.enter()
    found = seats()
    if not found:
        out.print(f"leases are switched off: {SEATS_VARIABLE} is set and empty")
    for seat in found:
        holder = holder_of(seat)
        state = f"[yellow]{escape(holder)}[/]" if holder else "[green]free[/]"
        out.print(f"{escape(seat.name)}: {state}")
    if found and found[0].name == "cpu":
        out.print("no GPU is visible; runs share the CPU, one step with a model at a time")
    elif found:
        _note_limits(project, len(found))


def _note_limits(project: Project, n_seats: int) -> None:
    """Say when the queue lets in too few runs to keep all GPUs at work."""
    queue = project.instance().get_concurrency_config().run_queue_config
    # While a run makes vectors it needs no GPU, and another can have it.
    wanted = 2 * n_seats
    if queue is not None and 0 <= queue.max_concurrent_runs < wanted:
        out.print(
            f"[yellow]note:[/] {escape(str(project.dagster_home / 'dagster.yaml'))} lets"
            f" {queue.max_concurrent_runs} runs work at once; for these GPUs set"
            f" max_concurrent_runs and the pools' default_limit to {wanted} or more"
        )


def _is_usable(name: str) -> bool:
    from traitvec_core.trait import check_name

    try:
        check_name("trait", name)
    except TraitvecError:
        return False
    return True
