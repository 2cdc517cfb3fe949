"""Hashes of files are remembered, and never wrong."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.projects import SmallProject
from traitvec_core.storage.file_hashes import FileHashes

pytestmark = pytest.mark.slow

# How long after a change a file counts as settled, and some more.
SETTLED_S = 3.3
# Prints every file that `status` opens.
STATUS = """
import sys
sys.addaudithook(lambda event, args: event == "open" and print("OPEN", args[0], file=sys.stderr))
from traitvec_dagster.cli.main import main
sys.argv = ["traitvec", "status"]
main()
"""


def true_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_change_within_the_same_instant_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "file"
    hashes = FileHashes(tmp_path)
    for turn in range(200):
        # Same size, and often within one tick of the file system's clock.
        path.write_text(f"{turn:04}")
        assert hashes.of("file") == true_hash(path)


def test_a_change_that_keeps_size_and_time_is_seen_by_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    time.sleep(SETTLED_S)
    hashes = FileHashes(tmp_path)
    assert hashes.of("file") == true_hash(path)
    hashes.save()
    assert (tmp_path / ".cache/hashes.json").is_file()
    status = path.stat()
    path.write_text("after!")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert FileHashes(tmp_path).of("file") == true_hash(path)
    assert hashes.of("file") == true_hash(path)


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileHashes(tmp_path).of("file")


def test_an_edited_cache_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    time.sleep(SETTLED_S)
    hashes = FileHashes(tmp_path)
    hashes.of("file")
    hashes.save()
    cache = tmp_path / ".cache/hashes.json"
    edited = cache.read_text().replace(true_hash(path), "0" * 64)
    assert edited != cache.read_text()
    cache.write_text(edited)
    assert FileHashes(tmp_path).of("file") == true_hash(path)


def test_status_opens_no_tensor_that_it_has_hashed(finished: SmallProject) -> None:
    def opened() -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", STATUS],
            cwd=finished.folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return {line for line in done.stderr.splitlines() if line.startswith("OPEN")}

    time.sleep(SETTLED_S)
    assert any("all_layers.pt" in line for line in opened())
    assert not any(".pt" in line for line in opened())
