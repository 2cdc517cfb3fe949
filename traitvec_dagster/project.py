"""Where a user's project lies: experiments, Dagster's instance, keys."""

import os
from importlib import resources
from pathlib import Path

import dagster as dg
from dotenv import load_dotenv

__all__ = ["Project"]


class Project:
    """A folder with `experiments/`, an optional `.env`, and Dagster's instance in `.dagster/`.

    Args:
        experiments: The folder that holds the experiments; by default `TRAITVEC_EXPERIMENTS`, else
            `experiments` in the working directory.
    """

    def __init__(self, experiments: Path | None = None) -> None:
        # What is set in the environment wins over the file.
        load_dotenv(Path(".env"))
        named = experiments or os.environ.get("TRAITVEC_EXPERIMENTS") or "experiments"
        self.experiments = Path(named).resolve()
        self.path = self.experiments.parent
        load_dotenv(self.path / ".env")
        self.dagster_home = Path(os.environ.get("DAGSTER_HOME") or self.path / ".dagster").resolve()

    def enter(self) -> None:
        """Point this process, and those it starts, at the project."""
        self.dagster_home.mkdir(parents=True, exist_ok=True)
        settings = self.dagster_home / "dagster.yaml"
        if not settings.exists():
            shipped = resources.files("traitvec_dagster") / "dagster.yaml"
            settings.write_bytes(shipped.read_bytes())
        os.environ["DAGSTER_HOME"] = str(self.dagster_home)
        os.environ["TRAITVEC_EXPERIMENTS"] = str(self.experiments)

    def instance(self) -> dg.DagsterInstance:
        """The project's Dagster instance."""
        self.enter()
        return dg.DagsterInstance.get()
