"""Build the environment in which `make test-vllm` runs vLLM, once for all checkouts.

vLLM pins its torch, so it gets a Python environment beside `.venv`:
`$XDG_CACHE_HOME/traitvec/vllm-HASH`, named after `constraints-vllm.txt` and the Python version.
traitvec is not installed there, because many checkouts share it: the process that starts a child
in it puts its checkout on PYTHONPATH (`tests/vllm/conftest.py`).

Prints one assignment for `env`: `TRAITVEC_VLLM_PYTHON=…/bin/python`, or `TRAITVEC_VLLM_MISSING=`
with the reason. A TRAITVEC_VLLM_PYTHON that is set already is left as it is.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PINS = Path(__file__).resolve().parents[1] / "constraints-vllm.txt"


def main() -> None:
    """Print the assignment; everything else goes to stderr."""
    python = os.environ.get("TRAITVEC_VLLM_PYTHON")
    try:
        print(f"TRAITVEC_VLLM_PYTHON={python or get_environment(environment_folder(PINS), PINS)}")
    except EnvironmentMissingError as error:
        print(f"no vLLM: {error}", file=sys.stderr)
        print(f"TRAITVEC_VLLM_MISSING={error}")


class EnvironmentMissingError(Exception):
    """The packages cannot be had; the message is the reason, in one line."""


def environment_folder(pins: Path) -> Path:
    """Return where the environment with these pins is kept, whether it exists or not."""
    version = "{}.{}".format(*sys.version_info[:2])
    digest = hashlib.sha256(version.encode() + pins.read_bytes()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "traitvec" / f"vllm-{digest[:12]}"


def get_environment(folder: Path, pins: Path, check: str = "import vllm, interp_engine") -> Path:
    """Return the environment's Python; builds it if it is missing or fails the check.

    Two callers wait for each other. An environment is built beside its place and renamed, so what
    is in place is whole, and a failed build leaves the one before.

    Raises:
        EnvironmentMissingError: If a package cannot be installed, or fails the check.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    python = folder / "bin/python"
    # Released by the kernel if this process dies.
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if python.exists() and not _failure(python, "-c", check):
            return python
        for remains in folder.parent.glob(f"{folder.name}.part-*"):
            shutil.rmtree(remains)
        print(f"building {folder} from {pins.name} (3 GB, some minutes)", file=sys.stderr)
        with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=f"{folder.name}.part-", ignore_cleanup_errors=True
        ) as part:
            new, old = Path(part) / "new", Path(part) / "old"
            _build(new, pins, check)
            if folder.exists():
                folder.rename(old)
            # Scripts in bin/ name the old path; only bin/python is used.
            new.rename(folder)
    return python


def _build(folder: Path, pins: Path, check: str) -> None:
    """Install the pins into a new environment and check it."""
    pip = ["-m", "pip", "--disable-pip-version-check", "--quiet", "--python", str(folder)]
    python = Path(sys.executable)
    failure = (
        _failure(python, "-m", "venv", "--without-pip", str(folder))
        or _failure(python, *pip, "install", "--no-deps", "--no-compile", "-r", str(pins))
        or _failure(folder / "bin/python", "-c", check)
    )
    if failure:
        raise EnvironmentMissingError(failure)


def _failure(python: Path, *arguments: str) -> str:
    """Run a Python; returns the last line of its complaint, or nothing if it succeeds."""
    result = subprocess.run(
        [python, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = [line for line in result.stdout.splitlines() if line.strip()]
    if not result.returncode:
        return ""
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return errors[-1].strip() if errors else f"{python} ended with code {result.returncode}"


if __name__ == "__main__":
    main()
