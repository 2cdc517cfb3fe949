"""The processes behind `traitvec ui`: code server, daemon, and the webserver behind its front.

They are those of `dagster dev`, which offers no way to put anything before its webserver.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import yaml
from dagster._cli.proxy_server_manager import ProxyServerManager
from dagster._core.workspace.load_target import ModuleTarget
from dagster._utils.interrupts import setup_interrupt_handlers
from dagster._utils.log import configure_loggers

import traitvec_dagster
from traitvec_core.errors import TraitvecError
from traitvec_dagster.project import LOCATION_MODULE, LOCATION_NAME

__all__ = ["serve_project"]

_CHECK_EVERY_S = 1.0
_GRACE_S = 60.0


def serve_project(instance: dg.DagsterInstance, host: str, port: int) -> None:
    """Serve the project in the working directory until Ctrl-C or `kill`, or until a server ends.

    Args:
        instance: The project's instance, the one that `DAGSTER_HOME` names.
        host: The address to listen on.
        port: The port to listen on.

    Raises:
        TraitvecError: If a server ended by itself; the others have been ended, too.
    """
    # Dagster shortens some messages for users who develop.
    os.environ["DAGSTER_IS_DEV_CLI"] = "1"
    configure_loggers(log_level="INFO")
    setup_interrupt_handlers()
    with suppress(KeyboardInterrupt), _workspace(instance) as workspace:
        commands = {
            "webserver": [
                "traitvec_dagster.ui.webserver",
                "--host", host, "--port", str(port), "--workspace", str(workspace),
            ],
            "daemon": [
                "dagster._daemon", "run", "--log-level", "info",
                "--code-server-log-level", "warning", "--workspace", str(workspace),
            ],
        }  # fmt: skip
        with _running(commands) as processes:
            while True:
                for name, process in processes.items():
                    if (code := process.poll()) is not None:
                        raise TraitvecError(
                            f"Dagster's {name} ended by itself (exit code {code}); its last lines"
                            " above say why. Runs continue; start `traitvec ui` again"
                        )
                time.sleep(_CHECK_EVERY_S)


@contextmanager
def _workspace(instance: dg.DagsterInstance) -> Iterator[Path]:
    """Start the code server, which is started again if it dies; yields its `workspace.yaml`."""
    target = ModuleTarget(
        module_name=LOCATION_MODULE, attribute=None,
        # Not the project's folder: Dagster imports from here first, and a project from elsewhere
        # could bring a module of the same name.
        working_directory=str(Path(traitvec_dagster.__file__).parents[1]),
        location_name=LOCATION_NAME,
    )  # fmt: skip
    with (
        ProxyServerManager(instance, target, code_server_log_level="warning") as servers,
        tempfile.TemporaryDirectory() as folder,
    ):
        workspace = Path(folder) / "workspace.yaml"
        workspace.write_text(yaml.safe_dump({"load_from": list(servers.get_code_server_specs())}))
        yield workspace


@contextmanager
def _running(commands: dict[str, list[str]]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Run Python modules as processes; at the end they are asked to stop, then killed."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            processes[name] = subprocess.Popen([sys.executable, "-m", *command])  # noqa: S603
        yield processes
    finally:
        for process in processes.values():
            process.terminate()
        deadline = time.monotonic() + _GRACE_S
        for process in processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
