"""The folder of a trait: reading and writing its files, and what a user writes there."""

from pathlib import Path

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.storage.files import DEFINITION_FILE, HUMAN_SCORES_FILE, display_path
from traitvec_core.storage.tree import path_to_read, read_inside, write_inside
from traitvec_core.trait import TraitDefinition, check_name, parse_definition
from traitvec_core.user_files import MAX_DEFINITION_BYTES, MAX_HUMAN_SCORES_BYTES, read_file

__all__ = ["TraitFiles"]


class TraitFiles:
    """A trait's folder: its path, its files as bytes, and what a user writes there.

    Args:
        experiment: The experiment's folder, which no link below may leave.
        name: The trait's name.

    Raises:
        TraitvecError: If the name cannot be used as a folder name.
    """

    def __init__(self, experiment: Path, name: str) -> None:
        self.name = check_name("trait", name)
        self.experiment = experiment.name
        self.path = experiment / self.name
        self.definition_path = self.path / DEFINITION_FILE
        self.human_scores_path = self.path / HUMAN_SCORES_FILE

    def read(self, name: str) -> bytes:
        """Read a file below the folder.

        Raises:
            OSError: If it cannot be read.
            TraitvecError: If a link to it leads out of the tree.
        """
        return read_inside(self.path.parent, f"{self.name}/{name}")

    def write(self, name: str, data: bytes) -> None:
        """Replace a file below the folder, atomically.

        Raises:
            TraitvecError: If a link on the way leads out of the experiment's folder.
        """
        write_inside(self.path.parent, f"{self.name}/{name}", data)

    def read_definition_bytes(self) -> bytes:
        """Return the definition file's bytes.

        Raises:
            DefinitionError: If the file is missing or cannot be read.
        """
        where = display_path(self.definition_path)
        try:
            return read_file(self._path_to_read(DEFINITION_FILE), where, MAX_DEFINITION_BYTES)
        except FileNotFoundError:
            raise DefinitionError(
                where,
                [
                    f"is missing; `traitvec new-trait --experiment {self.experiment} --trait"
                    f" {self.name}` creates a form to fill in"
                ],
            ) from None
        except OSError as error:
            raise DefinitionError(where, [f"cannot be read: {error.strerror}"]) from None

    def definition(self) -> TraitDefinition:
        """Read and check the definition."""
        return parse_definition(self.read_definition_bytes(), display_path(self.definition_path))

    def human_scores(self) -> bytes | None:
        """Return the bytes of the table of human scores, or None if there is none."""
        where = display_path(self.human_scores_path)
        try:
            path = self._path_to_read(HUMAN_SCORES_FILE)
            return read_file(path, where, MAX_HUMAN_SCORES_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TraitvecError(f"{where} cannot be read: {error.strerror}") from None

    def _path_to_read(self, name: str) -> Path:
        return path_to_read(self.path.parent, f"{self.name}/{name}")
