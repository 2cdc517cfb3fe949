"""Measure one trait end to end, capture and generation with random weights on a GPU.

`make bench-gpu` prints each figure as it is measured and writes it to
`benchmarks/results_<name of the GPU>.json` (`….unfinished.json` until the run is complete). The
model has the shape of Gemma 2 2B (26 blocks, hidden_dim 2,304, soft-capping, sliding windows), then
that of Llama 3.1 8B for capture and generation. Where vLLM is (`TRAITVEC_VLLM_PYTHON`, or this
Python), `engine: vllm` is checked and timed against transformers, with the smaller random model and
with SmolLM2 if it was downloaded. Nothing is downloaded and Dagster is not imported;
`benchmarks/README.md` says which packages a machine without network needs.

`--toy` runs the same code with a toy model on any device, to check that it works; its figures are
meaningless.
"""

import argparse
import platform
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

PROJECT = Path(__file__).parent.parent
# Lets `python benchmarks/gpu.py` run in a checkout that is not installed.
sys.path.insert(0, str(PROJECT))

# What the core needs beside torch and transformers, by the name that is imported.
NEEDED = (
    "jinja2", "matplotlib", "numpy", "pandas", "pydantic", "scipy", "sklearn",
    "threadpoolctl", "yaml",
)  # fmt: skip

PARTS = ("trait", "capture", "generation", "engines")
# The larger model is there to show how capture and generation scale; a trait takes long enough.
PARTS_OF = {"8B": ("capture", "generation")}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write the results; returns 1 if something is missing."""
    parser = argparse.ArgumentParser(description="Measure traitvec on a GPU, with random weights.")
    parser.add_argument(
        "--toy", action="store_true", help="use a toy model, which also runs on a CPU"
    )
    parser.add_argument("--sizes", nargs="+", choices=["2B", "8B"], default=["2B", "8B"])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="some parts")
    parser.add_argument("--out", type=Path, default=PROJECT / "benchmarks")
    chosen = parser.parse_args(arguments)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return _error(f"bench-gpu needs {', '.join(missing)}; benchmarks/README.md says how")
    import torch

    if not torch.cuda.is_available() and not chosen.toy:
        return _error("bench-gpu needs a GPU, and torch sees none")
    _measure(chosen.out, ["toy"] if chosen.toy else chosen.sizes, chosen.only, is_toy=chosen.toy)
    return 0


def _measure(out: Path, sizes: list[str], only: Sequence[str], *, is_toy: bool) -> None:
    from benchmarks.on_gpu.capture import capture
    from benchmarks.on_gpu.device import Device
    from benchmarks.on_gpu.engines import on_random_weights, on_smollm2
    from benchmarks.on_gpu.generation import generation
    from benchmarks.on_gpu.random_model import random_model
    from benchmarks.on_gpu.trait import one_trait
    from benchmarks.record import Record, figure

    parts = {
        "trait": one_trait, "capture": capture, "generation": generation,
        "engines": on_random_weights,
    }  # fmt: skip
    skipped = _skipped(only)
    device = Device(is_toy=is_toy)
    slug = re.sub(r"[^a-z0-9]+", "_", device.name.lower()).strip("_")
    # Some parts must never pass for all of them.
    kind = "" if [*only] == [*PARTS] else ".partial"
    names = ("torch", "transformers", "numpy", "pydantic")
    record = Record(
        out / f"results_{slug}{kind}.json",
        {
            "device": device.name,
            "machine": platform.machine(),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in names},
            },
            "skipped": skipped,
        },
    )
    record.add([
        figure("matrix product", device.peak_flops / 1e12, "TFLOP/s"),
        figure("copy, bytes read and written", device.bandwidth / 1e9, "GB/s"),
    ])  # fmt: skip
    for part, reason in skipped.items():
        sys.stdout.write(f"{part} skipped: {reason}\n")
    for size in sizes:
        model = random_model(device, size)
        kernels = model.model.config._attn_implementation
        sys.stdout.write(f"{size}: {model.model.config.model_type}, attention: {kernels}\n")
        for name, part in parts.items():
            if name in only and name not in skipped and name in PARTS_OF.get(size, PARTS):
                record.add(part(device, size, model))
        del model
        device.release()
    if "engines" in only and not skipped:
        record.add(on_smollm2(device))
    record.finish()
    sys.stdout.write(f"written to {record.path}\n")


def _skipped(only: Sequence[str]) -> dict[str, str]:
    """Return the parts that cannot run here, with the reason."""
    from benchmarks.engines import missing_vllm
    from benchmarks.on_gpu.engines import missing_smollm2

    if "engines" not in only:
        return {}
    if reason := missing_vllm():
        return {"engines": reason}
    reason = missing_smollm2()
    return {"engines on SmolLM2": reason} if reason else {}


def _error(text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
