"""A user's project on disk: experiments, Dagster's instance, keys."""

import fcntl
import os
from contextlib import ExitStack, suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.files import display_path, write_atomically
from traitvec_core.storage.tree import open_in_place
from traitvec_core.visible_text import one_line
from traitvec_dagster.env_file import read_env_file
from traitvec_dagster.instance_file import check_instance_file, check_instance_folder

if TYPE_CHECKING:
    import dagster as dg

__all__ = ["LOCATION_MODULE", "LOCATION_NAME", "Project"]

LOCATION_MODULE = "traitvec_dagster.definitions"
# Dagster files switches, cursors and ticks under this name: it is the same in `traitvec ui`,
# workspace.yaml, pyproject.toml and deploy/, or each would have switches of its own.
LOCATION_NAME = "traitvec"


class Project:
    """A folder with `experiments/`, an optional `.env`, and Dagster's instance in `.dagster/`.

    Reads keys from `.env` in the working directory and in the project. Variables that are already
    set take precedence.

    Args:
        experiments: Folder that holds the experiments. Default: `TRAITVEC_EXPERIMENTS`, else
            `experiments` in the working directory.

    Attributes:
        experiments: Folder that holds the experiments, absolute.
        path: The project's folder.
        dagster_home: Folder of Dagster's instance: `DAGSTER_HOME`, else `.dagster`.
        notes: What the user should know about `.env`, one line each.
    """

    def __init__(self, experiments: Path | None = None) -> None:
        here = Path(".env").absolute()
        self.notes = read_env_file(here)
        chosen = experiments or os.environ.get("TRAITVEC_EXPERIMENTS") or "experiments"
        self.experiments = Path(chosen).resolve()
        self.path = self.experiments.parent
        if (file := self.path / ".env") != here:
            self.notes += read_env_file(file)
        self.dagster_home = Path(os.environ.get("DAGSTER_HOME") or self.path / ".dagster").resolve()

    def enter(self) -> None:
        """Set up the project's instance, and the environment of this process and its children.

        Raises:
            TraitvecError: If the project brings a `dagster.yaml` that can load code, or links
                through which Dagster would write elsewhere.
        """
        settings = self.dagster_home / "dagster.yaml"
        if not os.environ.get("DAGSTER_HOME"):
            check_instance_folder(self.path / ".dagster")
            check_instance_file(settings)
        self.dagster_home.mkdir(parents=True, exist_ok=True)
        if not settings.exists():
            shipped = resources.files("traitvec_dagster") / "dagster.yaml"
            # Not through a link, which a project from elsewhere may contain.
            write_atomically(settings, shipped.read_bytes())
        os.environ["DAGSTER_HOME"] = str(self.dagster_home)
        os.environ["TRAITVEC_EXPERIMENTS"] = str(self.experiments)

    def instance(self) -> "dg.DagsterInstance":
        """Return the project's Dagster instance.

        Raises:
            TraitvecError: As `enter`, or if its `dagster.yaml` has a value that Dagster refuses.
        """
        # Importing Dagster takes most of a second, and many commands never need it.
        import dagster as dg

        self.enter()
        try:
            # Two first commands at once would both create the tables, and one would fail.
            with ExitStack() as held:
                # A folder without locks, or that cannot be written, is no reason to stop.
                with suppress(OSError):
                    lock = held.enter_context(open_in_place(self.dagster_home, ".opening"))
                    fcntl.flock(lock, fcntl.LOCK_EX)
                return dg.DagsterInstance.get()
        except dg.DagsterInvalidConfigError as error:
            reason = one_line(error.errors[0].message.removesuffix(".")) if error.errors else error
            file = display_path(self.dagster_home / "dagster.yaml")
            raise TraitvecError(f"{file}: {reason}; fix it, or delete it to start anew") from None
