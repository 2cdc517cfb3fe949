"""The folder of an experiment, which holds those of its traits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from traitvec_core.errors import DefinitionError
from traitvec_core.experiment import ExperimentSettings, parse_experiment
from traitvec_core.storage.bucket_sync import configured_working_copy
from traitvec_core.storage.files import DEFINITION_FILE, SETTINGS_FILE, display_path, is_usable
from traitvec_core.storage.trait_folder import TraitFolder
from traitvec_core.trait import check_name
from traitvec_core.user_files import MAX_SETTINGS_BYTES, parse_text, read_file

__all__ = ["ExperimentFolder", "TraitFolder", "refresh"]


class ExperimentFolder:
    """One experiment on disk: `experiments/<experiment>/`.

    Args:
        root: The folder of all experiments.
        name: The experiment's name.

    Raises:
        TraitvecError: If the name cannot be used as a folder name.
    """

    def __init__(self, root: Path | str, name: str) -> None:
        self.name = check_name("experiment", name)
        self.path = Path(root) / self.name
        self.settings_path = self.path / SETTINGS_FILE

    def settings(self, overrides: Mapping[str, Any] | None = None) -> ExperimentSettings:
        """Read the experiment's settings; the file is optional."""
        where, text = display_path(self.settings_path), ""
        try:
            data = read_file(self.settings_path, where, MAX_SETTINGS_BYTES)
            text = parse_text(data, where, MAX_SETTINGS_BYTES)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise DefinitionError(where, [f"cannot be read: {error.strerror}"]) from None
        return parse_experiment(text, self.name, where, overrides)

    def refresh(self, patience_s: float | None = None) -> None:
        """Refresh this experiment only; see `refresh`."""
        if (copy := configured_working_copy(self.path.parent)) is not None:
            copy.refresh(self.name, patience_s)

    def trait(self, name: str) -> TraitFolder:
        """Return a trait's folder, which need not exist yet."""
        return TraitFolder(self.path, name)

    def traits(self) -> list[str]:
        """Return the names of the traits that have a definition file, sorted."""
        if not self.path.is_dir():
            return []
        return sorted(
            p.parent.name
            for p in self.path.glob(f"*/{DEFINITION_FILE}")
            if is_usable(p.parent.name)
        )


def refresh(root: Path | str, patience_s: float | None = None) -> None:
    """Sync a folder of experiments with the storage that `TRAITVEC_STORAGE` names.

    Fetches what is new there, and puts what users wrote here. No-op without that variable.

    Args:
        root: The folder of all experiments.
        patience_s: How long to retry while the storage is unreachable; two minutes by default.

    Raises:
        TraitvecError: If the storage refuses, or stays unreachable.
    """
    if (copy := configured_working_copy(Path(root))) is not None:
        copy.refresh(patience_s=patience_s)
