"""The part of `make bench-gpu` on vLLM, with a toy model on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu
from tests.generation.parity import CHECKS

pytestmark = pytest.mark.vllm


def test_a_toy_is_checked_and_timed_on_both_engines(vllm_python: Path, tmp_path: Path) -> None:
    arguments = ["--toy", "--only", "engines", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, gpu.__file__, *arguments],
        capture_output=True, text=True, check=False,
        env={**os.environ, "TRAITVEC_MODEL": str(tmp_path / "absent")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.iterdir()
    result = json.loads(file.read_text())
    assert file.stem.endswith(".partial")
    assert [*result["skipped"]] == ["engines on SmolLM2"]
    values = {row["figure"]: row["value"] for row in result["figures"]}
    for check in CHECKS:
        assert values[f"random toy: parity of {check}"] == 1, done.stdout
    for engine in ("transformers", "vllm"):
        for work in ("generation", "generation steered by row", "means at all layers"):
            assert values[f"random toy: engine: {engine}, {work}"] > 0
