"""Settings of models and engines that cannot work here are refused before anything runs."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.projects import write_experiment


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engine": "server"}, "go together"),
        ({"engine_reads": True}, "set engine_url too"),
        ({"engine_url": "http://me:secret@127.0.0.1/v1"}, "GENERATION_API_KEY"),
        ({"engine": "vllm"}, "traitvec[vllm]"),
        ({"engine": "vllm", "quantization": "4bit"}, "does not quantize"),
        ({"quantization": "8bit"}, "traitvec[quantization]"),
        ({"positions": ["last"]}, "unknown position"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_anything_runs(
    tmp_path: Path, settings: dict[str, Any], said: str, traitvec: Command
) -> None:
    write_experiment(tmp_path / "project", "demo", ["refusal"], settings)
    for command in ("check", "run"):
        found = traitvec(command, "--experiment", "demo")
        assert found.code == 1
        assert any(said in line for line in found.error_lines)
        assert "secret" not in found.out + found.err
