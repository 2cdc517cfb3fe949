"""The environment that runs vLLM also imports the core of this checkout."""

import subprocess
from pathlib import Path

import pytest

from tests.projects import REPOSITORY

pytestmark = pytest.mark.vllm


def test_the_environment_imports_this_checkout(vllm_python: Path, tmp_path: Path) -> None:
    code = "import traitvec_core; print(traitvec_core.__file__)"
    # Not from the repository, whose folder would be found without PYTHONPATH.
    found = subprocess.check_output([vllm_python, "-c", code], cwd=tmp_path, text=True)

    assert Path(found.strip()).parent == REPOSITORY / "traitvec_core"


def test_a_model_for_vllm_is_a_plain_folder(smollm2: Path) -> None:
    assert (smollm2 / "config.json").exists()
    assert list(smollm2.glob("*.safetensors"))
