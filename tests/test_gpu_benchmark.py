"""`make bench-gpu`: it refuses without a GPU, and its code runs as far as a CPU allows."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "benchmarks/gpu.py"


@pytest.fixture
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_one_line(
    gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu.main(["--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "bench-gpu needs a GPU, and torch sees none\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_toy_runs_through_all_of_it(gpu: ModuleType, tmp_path: Path) -> None:
    assert gpu.main(["--tiny", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "results_cpu.json").read_text())
    names = [figure["figure"] for figure in result["figures"]]
    assert names[0] == "matrix product peak"
    for part in ("capture", "capture / bare decoder forward", "generation"):
        assert f"tiny: {part}" in names
    assert all({"figure", "value", "unit"} <= figure.keys() for figure in result["figures"])
    assert len(set(names)) == len(names)


def test_it_imports_no_more_than_torch_and_transformers() -> None:
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='imported');"
        "print([m for m in ('dagster', 'pydantic', 'pandas', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(SCRIPT)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
