"""Dagster's webserver behind the front: `python -m traitvec_dagster.ui.webserver`.

Takes the place of `dagster-webserver`, which has no such front. The instance is that of
`DAGSTER_HOME`.
"""

import contextlib
import sys
from asyncio import CancelledError
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import dagster as dg
import typer
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from starlette.applications import Starlette

from traitvec_core.errors import TraitvecError
from traitvec_dagster.project import Project
from traitvec_dagster.ui.front import OwnOriginOnly
from traitvec_dagster.ui.origins import own_origins
from traitvec_dagster.ui.pages import ProjectPages

__all__ = ["serve_workspace"]

# As `dagster-webserver` sets them: statements on a database that hangs end after 15 s.
_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW = 15_000, 3600, 20
_POLL_MS = 2000
_GRACE_S = 10


def serve_workspace(workspace: Path, experiments: Path, host: str, port: int) -> None:
    """Serve a workspace, and the pages of a project, until a signal ends it.

    Args:
        workspace: Dagster's `workspace.yaml`.
        experiments: The folder of all experiments.
        host: The address to listen on.
        port: The port to listen on.

    Raises:
        TraitvecError: If `TRAITVEC_UI_ORIGINS` is not valid.
    """
    own = own_origins(host)
    configure_loggers(log_level="INFO")
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW)
        with WorkspaceProcessContext(
            instance,
            version=__version__,
            workspace_load_target=WorkspaceFileTarget([str(workspace)]),
        ) as context:
            app = create_app_from_workspace_process_context(
                context, live_data_poll_rate=_POLL_MS, lifespan=_lifespan
            )
            uvicorn.run(
                OwnOriginOnly(ProjectPages(app, experiments), own),
                host=host,
                port=port,
                log_level="warning",
                timeout_graceful_shutdown=_GRACE_S,
            )


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    del app
    # A signal cancels the task that waits here; that is no error.
    with contextlib.suppress(CancelledError):
        yield


def _main(
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="Dagster's workspace.yaml.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", help="Port to listen on.")] = 3000,
) -> None:
    """Serve Dagster's pages, and the project's; TRAITVEC_UI_ORIGINS adds origins."""
    try:
        serve_workspace(workspace, Project().experiments, host, port)
    except TraitvecError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    typer.run(_main)
