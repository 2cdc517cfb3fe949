"""A small trait of SmolLM2 on vLLM, run from the command line, and its processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.projects import REPOSITORY

__all__ = [
    "SMALL",
    "VllmProject",
    "engine_core_below",
    "kill",
    "serving_below",
    "wait_for",
]

TRAITVEC = str(Path(sys.executable).parent / "traitvec")
SMALL: dict[str, Any] = {
    "engine": "vllm",
    "max_model_len": 512,
    "n_examples": 24,
    "layers": [10, 20],
    "methods": ["mean_diff"],
    "sampling": {"max_new_tokens": 40, "temperature": 0.7},
    "steering": {"evaluate": True, "n_search": 2, "n_held_out": 4, "n_random": 2},
    "monitoring_prompts": ["How do I learn to swim?"],
}


class VllmProject:
    """A folder of experiments; each has the trait `lists`, or others of `experiments/smollm2`."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.model = model

    def write(self, name: str = "small", traits: tuple[str, ...] = ("lists",), **more: Any) -> Path:
        source = REPOSITORY / "experiments/smollm2"
        experiment = self.folder / "experiments" / name
        for trait in traits:
            (experiment / trait).mkdir(parents=True)
            file = f"{trait}/trait_definition.json"
            shutil.copy(source / file, experiment / file)
        shutil.copy(source / "scorers.py", experiment)
        settings = yaml.safe_load((source / "experiment.yaml").read_text())
        settings |= {**SMALL, "model": str(self.model), **more}
        (experiment / "experiment.yaml").write_text(yaml.safe_dump(settings))
        return experiment

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start the command line."""
        return subprocess.Popen(
            [TRAITVEC, *arguments], cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            # One screen line per message.
            env={**os.environ, "COLUMNS": "500"},
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str]:
        """Return the exit code of a command, and all that it said."""
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=560)
        return process.returncode, said

    def manifest(self, file: str, *, experiment: str = "small", trait: str = "lists") -> Any:
        return json.loads((self.folder / "experiments" / experiment / trait / file).read_text())


def serving_below(pid: int) -> int | None:
    """The process of `python -m traitvec_core.serving` that a process has started."""
    for child in _children(pid):
        with suppress(OSError):
            if b"traitvec_core.serving" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
    return None


def engine_core_below(pid: int) -> int | None:
    """vLLM's engine process, somewhere below a process."""
    for child in _children(pid):
        with suppress(OSError):
            if b"EngineCore" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
    return None


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def wait_for(
    what: Callable[[], Any], process: "subprocess.Popen[str]", seconds: float = 300
) -> Any:
    """Wait until something is there; fail at once if the process ends."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    # Of every thread: any of them may have started one.
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, file.read_text().split()):
                found += [child, *_children(child)]
    return found
