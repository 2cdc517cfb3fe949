"""`make bench-gpu`: what it refuses, and its code as far as a CPU allows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.engines import missing_vllm
from benchmarks.on_gpu.device import Device
from benchmarks.on_gpu.random_model import random_model, writes_texts
from benchmarks.on_gpu.roofline import count_passes
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts

pytestmark = pytest.mark.slow

SCRIPT = Path(gpu.__file__)
# What a machine with torch and transformers alone may lack.
ABSENT = ("dagster", "openai", "anthropic", "genai_prices", "dotenv", "gguf", "upath")
BLOCKING = """
import runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@without_gpu
def test_without_a_gpu_it_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "bench-gpu needs a GPU, and torch sees none\n"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_one_line(tmp_path: Path) -> None:
    code = "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]\n" + BLOCKING
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"BLOCKED = ()\n{code}", str(SCRIPT), "--toy"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "pydantic" in done.stderr
    assert "benchmarks/README.md" in done.stderr


@without_gpu
def test_a_toy_runs_through_all_of_it_without_dagster(tmp_path: Path) -> None:
    code = f"BLOCKED = {ABSENT}\n{BLOCKING}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(SCRIPT), "--toy", "--out", str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "TRAITVEC_VLLM_PYTHON": "/nowhere/bin/python"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["results_cpu.json"]
    result = json.loads((tmp_path / "results_cpu.json").read_text())
    assert result["started"] <= result["finished"]
    values = {row["figure"]: row["value"] for row in result["figures"]}
    assert len(values) == len(result["figures"])
    for stage in ("responses", "judged_responses", "activations", "vectors", "steering_evaluation"):
        assert values[f"toy: one trait, {stage}"] > 0
    for part in ("capture", "capture / bare decoder forward", "generation"):
        assert values[f"toy: {part}"] > 0
    # Each is printed as well.
    assert all(name in done.stdout for name in values)
    assert [*result["skipped"]] == ["engines"]
    assert "/nowhere/bin/python" in result["skipped"]["engines"]
    assert f"engines skipped: {result['skipped']['engines']}\n" in done.stdout
    assert not any("vllm" in name for name in values)


def test_a_python_without_vllm_is_named_with_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "python"
    empty.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    empty.chmod(0o755)
    monkeypatch.setenv("TRAITVEC_VLLM_PYTHON", str(empty))
    reason = missing_vllm()
    assert reason is not None
    assert f"{empty} lacks vllm, interp_engine" in reason
    assert "\n" not in reason


def test_random_weights_end_their_texts_at_the_rate_asked_for() -> None:
    model = random_model(Device(is_toy=True), "toy")
    lengths: list[int] = []
    names = [str(i) for i in range(400)]
    prompts = [model.prompt(f"What is {i}?") for i in range(400)]
    with writes_texts(model, mean_tokens=5):
        texts = generate_texts(
            model, names, prompts, Sampling(max_new_tokens=60),
            on_finished=lambda new: lengths.extend(text.response_tokens for text in new),
        )  # fmt: skip
    # The end token is not counted: 4 tokens before it on average, with a deviation of 4.5.
    assert 3 < sum(lengths) / len(lengths) < 5
    assert max(lengths) > 8
    assert all(len(model.tokenizer(text)["input_ids"]) > 0 for text in texts.values() if text)


def test_the_roofline_counts_prompts_and_steps() -> None:
    device = Device(is_toy=True)
    model = random_model(device, "toy")
    model.model.generation_config.eos_token_id = []
    with count_passes(device, model) as passes:
        generate_texts(model, ["a", "b"], ["Tell me."] * 2, Sampling(max_new_tokens=4))
    # Both share one prompt, which is read once; the first token follows from it.
    n_prompt = len(model.encode_prompt("Tell me."))
    assert passes.n_prefill_tokens == n_prompt
    assert (passes.n_steps, passes.n_rows) == (3, 6)
    assert passes.n_attended == 2 * sum(n_prompt + k for k in (1, 2, 3))
    assert passes.prefill_s > 0
    assert passes.decoding_s > 0
