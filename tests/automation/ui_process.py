"""`traitvec ui` over a project: its webserver, its code server and its daemon."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.projects import SmallProject

__all__ = ["traitvec_ui", "wait_for"]


@contextmanager
def traitvec_ui(folder: Path, port: int | None = None) -> Iterator[SmallProject]:
    """Run `traitvec ui` over the project in a folder, on a port or on any."""
    os.environ["TMPDIR"] = str(folder)
    with SmallProject(folder) as project, (folder / "dev.log").open("w") as log:
        project.instance.get_runs_count()
        process = subprocess.Popen(
            [sys.executable, "-c", "from traitvec_dagster.cli.main import main; main()",
             "ui", "--port", str(port or free_port())],
            cwd=folder, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            yield project
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=240)
            finally:
                # Its servers would wait for a heartbeat; they are all of one session.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def wait_for(condition: Callable[[], Any], patience_s: float = 240) -> Any:
    """Wait until a condition holds, and return what it returned."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {patience_s} s")
