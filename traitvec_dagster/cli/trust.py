"""`traitvec trust`: allow what an experiment's file would run or send."""

from typing import Annotated

import typer
from rich.text import Text

from traitvec_core.errors import TraitvecError
from traitvec_dagster.cli.terminal import Root, experiment_folder, open_project, out

__all__ = ["trust"]


def trust(
    experiment: Annotated[str, typer.Argument(help="Name of the experiment.")],
    show: Annotated[
        bool, typer.Option("--show", help="Only list what it asks for, with fingerprints.")
    ] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Forget what was allowed.")] = False,
    experiments_dir: Root = None,
) -> None:
    """Allow what an experiment from elsewhere runs or sends: its code, and keys to its servers.

    Prints what that is, one line per setting. A change of these settings, or of a scorer's file,
    asks again. The record is in your configuration folder, not in the project.

    With --show, exits with 1 if something is not allowed yet.

    Example: traitvec trust mine --show
    """
    from traitvec_core.trust import allow, grants_of, is_allowed, trust_file
    from traitvec_core.trust import revoke as forget

    if show and revoke:
        raise TraitvecError("use either --show or --revoke, not both")
    folder = experiment_folder(open_project(experiments_dir), experiment)
    if revoke:
        was_allowed = forget(folder)
        out.print(
            f"{experiment}: nothing is allowed any more"
            if was_allowed
            else f"{experiment}: nothing was allowed"
        )
        return
    grants = grants_of(folder, folder.settings())
    if not grants:
        allow(folder, ())
        out.print(f"{experiment}: runs no code of its own and sends no key; needs no trust")
        return
    if not show:
        allow(folder, grants)
    are_allowed = [is_allowed(folder, grant) for grant in grants]
    for grant, allowed in zip(grants, are_allowed, strict=True):
        state = Text("allowed", "green") if allowed else Text("not allowed", "yellow")
        out.print(state, f" {grant.setting} {grant.allows}")
        if show:
            out.print(f"         {grant.fingerprint}")
    if not show:
        out.print(f"recorded in {trust_file()}; `--revoke` takes it back")
    elif not all(are_allowed):
        raise typer.Exit(1)
