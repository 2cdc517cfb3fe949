"""The folder of an experiment, which holds those of its traits."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.experiment import ExperimentSettings, parse_experiment
from traitvec_core.storage.bucket_sync import configured_working_copy
from traitvec_core.storage.files import DEFINITION_FILE, SETTINGS_FILE, display_path, is_usable
from traitvec_core.storage.trait_folder import TraitFolder
from traitvec_core.storage.tree import path_to_read, read_inside, write_inside
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

    def settings(
        self, overrides: Mapping[str, Any] | None = None, *, are_owners: bool = True
    ) -> ExperimentSettings:
        """Read the experiment's settings; the file is optional.

        Args:
            overrides: Settings that replace those of the file; see `parse_experiment`.
            are_owners: Whether the owner of this machine gave them.
        """
        where, text = display_path(self.settings_path), ""
        try:
            path = path_to_read(self.path, SETTINGS_FILE)
            text = parse_text(read_file(path, where, MAX_SETTINGS_BYTES), where, MAX_SETTINGS_BYTES)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise DefinitionError(where, [f"cannot be read: {error.strerror}"]) from None
        return parse_experiment(text, self.name, where, overrides, are_owners=are_owners)

    def read(self, name: str) -> bytes:
        """Read a file below the folder.

        Raises:
            OSError: If it cannot be read.
            TraitvecError: If a link to it leads out of the tree.
        """
        return read_inside(self.path, name)

    def write(self, name: str, data: bytes) -> None:
        """Replace a file below the folder, atomically.

        Raises:
            TraitvecError: If a link on the way leads out of the folder.
        """
        write_inside(self.path, name, data)

    def refresh(self, patience_s: float | None = None) -> None:
        """Refresh this experiment, and the one of its `second_elicitation`; see `refresh`."""
        if (copy := configured_working_copy(self.path.parent)) is not None:
            copy.refresh(self.name, patience_s)
            second = None
            # Settings that cannot be used are the caller's to report.
            with suppress(TraitvecError):
                second = self.settings().second_elicitation
            if second is not None and second != self.name:
                copy.refresh(second, patience_s)

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


def refresh(root: Path | str, patience_s: float | None = None, *, below: str = "") -> None:
    """Sync a folder of experiments with the storage that `TRAITVEC_STORAGE` names.

    Fetches what is new there, and puts what users wrote here. No-op without that variable.

    Args:
        root: The folder of all experiments.
        patience_s: How long to retry while the storage is unreachable; two minutes by default.
        below: `experiment` or `experiment/trait` to sync only that.

    Raises:
        TraitvecError: If the storage refuses, or stays unreachable.
    """
    if (copy := configured_working_copy(Path(root))) is not None:
        copy.refresh(below, patience_s)
