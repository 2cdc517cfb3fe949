"""A user's project on disk: experiments, Dagster's instance, keys."""

import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from traitvec_core.storage.files import write_atomically

if TYPE_CHECKING:
    import dagster as dg

__all__ = ["Project"]

# A project from elsewhere must not choose what runs here.
_OWNERS_ALONE = {"TRAITVEC_VLLM_PYTHON"}


class Project:
    """A folder with `experiments/`, an optional `.env`, and Dagster's instance in `.dagster/`.

    Loads `.env` from the working directory and from the project. Variables that are already set
    take precedence, and those that name a program are not taken from there.

    Args:
        experiments: Folder that holds the experiments. Default: `TRAITVEC_EXPERIMENTS`, else
            `experiments` in the working directory.

    Attributes:
        experiments: Folder that holds the experiments, absolute.
        path: The project's folder.
        dagster_home: Folder of Dagster's instance: `DAGSTER_HOME`, else `.dagster`.
    """

    def __init__(self, experiments: Path | None = None) -> None:
        _read_variables(Path(".env"))
        chosen = experiments or os.environ.get("TRAITVEC_EXPERIMENTS") or "experiments"
        self.experiments = Path(chosen).resolve()
        self.path = self.experiments.parent
        _read_variables(self.path / ".env")
        self.dagster_home = Path(os.environ.get("DAGSTER_HOME") or self.path / ".dagster").resolve()

    def enter(self) -> None:
        """Set up the project's instance, and the environment of this process and its children."""
        self.dagster_home.mkdir(parents=True, exist_ok=True)
        settings = self.dagster_home / "dagster.yaml"
        if not settings.exists():
            shipped = resources.files("traitvec_dagster") / "dagster.yaml"
            # Not through a link, which a project from elsewhere may contain.
            write_atomically(settings, shipped.read_bytes())
        os.environ["DAGSTER_HOME"] = str(self.dagster_home)
        os.environ["TRAITVEC_EXPERIMENTS"] = str(self.experiments)

    def instance(self) -> "dg.DagsterInstance":
        """Return the project's Dagster instance."""
        # Importing Dagster takes most of a second, and many commands never need it.
        import dagster as dg

        self.enter()
        return dg.DagsterInstance.get()


def _read_variables(file: Path) -> None:
    from dotenv import dotenv_values

    for name, value in dotenv_values(file).items():
        if value is not None and name not in _OWNERS_ALONE:
            os.environ.setdefault(name, value)
