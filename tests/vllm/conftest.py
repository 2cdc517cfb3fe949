"""The Python that has vLLM, and a real model for it; without either, the reason to skip.

`make test-vllm` builds that Python's environment and names it in TRAITVEC_VLLM_PYTHON.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.real.model import get_model
from tests.projects import REPOSITORY
from traitvec_core.models.gguf_conversion import convert_gguf


@pytest.fixture(scope="session")
def vllm_python() -> Iterator[Path]:
    """The Python that has vLLM and interp-engine; with it, child processes find this checkout."""
    if not (named := os.environ.get("TRAITVEC_VLLM_PYTHON")):
        reason = os.environ.get("TRAITVEC_VLLM_MISSING")
        pytest.skip(f"no vLLM: {reason}" if reason else "TRAITVEC_VLLM_PYTHON is not set")
    try:
        command = [named, "-c", "import vllm, interp_engine"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"TRAITVEC_VLLM_PYTHON: {error}")
    if result.returncode:
        reason = result.stderr.strip().rpartition("\n")[2]
        pytest.skip(f"TRAITVEC_VLLM_PYTHON={named}: {reason}")
    # Many checkouts share the environment, so none is installed in it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)
        yield Path(named)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a plain folder in bfloat16, which vLLM can read."""
    try:
        return convert_gguf(get_model())
    except SystemExit as error:
        pytest.skip(str(error))
