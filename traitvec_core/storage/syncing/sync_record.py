"""Which version of each file a folder and the bucket last had in common."""

from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.provenance import content_hash
from traitvec_core.storage.tree import read_inside, write_inside

__all__ = ["SyncRecord"]

_RECORD_FILE = ".storage.json"


class _SyncedFile(BaseModel):
    etag: str
    hash: str
    size: int
    mtime_ns: int


class _RecordFile(BaseModel):
    storage: str
    files: dict[str, _SyncedFile]


class SyncRecord:
    """The files of one folder, as they were when folder and bucket last agreed.

    Args:
        home: The experiment's folder.
        trait: The trait whose folder it is; empty for the experiment's own.
        address: The storage's address. A record of another storage is ignored.
    """

    def __init__(self, home: Path, trait: str, address: str) -> None:
        self._home = home
        self._path = home / trait
        self._name = f"{trait}/{_RECORD_FILE}" if trait else _RECORD_FILE
        self._address = address
        self._is_unsaved = False
        self.files: dict[str, _SyncedFile] = {}
        # A record that cannot be read is ignored: contents are compared instead.
        with suppress(OSError, ValueError, TraitvecError):
            record = _RecordFile.model_validate_json(read_inside(home, self._name))
            if record.storage == self._address:
                self.files = record.files

    def is_changed(self, name: str) -> bool:
        """Whether the file exists and differs from the recorded version."""
        path, synced = self._path / name, self.files.get(name)
        try:
            status = path.stat()
            if synced is None:
                return True
            if (status.st_size, status.st_mtime_ns) == (synced.size, synced.mtime_ns):
                return False
            return content_hash(path.read_bytes()) != synced.hash
        except OSError:
            return False

    def note(self, name: str, data: bytes, etag: str) -> None:
        """Record that a file equals its object now."""
        status = (self._path / name).stat()
        self.files[name] = _SyncedFile(
            etag=etag, hash=content_hash(data), size=status.st_size, mtime_ns=status.st_mtime_ns
        )
        self._is_unsaved = True

    def forget(self, name: str) -> None:
        """Drop a file from the record."""
        self._is_unsaved = self.files.pop(name, None) is not None

    def write(self) -> None:
        """Save the record if it has changed."""
        if self._is_unsaved:
            record = _RecordFile(storage=self._address, files=self.files)
            write_inside(self._home, self._name, record.model_dump_json().encode())
