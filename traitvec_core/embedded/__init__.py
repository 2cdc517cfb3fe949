"""The small language model that is included in traitvec."""

from __future__ import annotations

from pathlib import Path

__all__ = ["EMBEDDED_MODEL", "embedded_model_path"]

EMBEDDED_MODEL = "embedded"
"""The name of this model in `experiment.yaml`."""


def embedded_model_path() -> Path:
    """Return the model's folder; `AutoModelForCausalLM.from_pretrained` loads it."""
    return Path(__file__).resolve().parent / "model"
