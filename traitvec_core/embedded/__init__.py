"""The small language model that ships with traitvec, and how it was made."""

from __future__ import annotations

from pathlib import Path

__all__ = ["EMBEDDED_MODEL", "embedded_model_path"]

EMBEDDED_MODEL = "embedded"
"""The name by which an experiment asks for the shipped model."""


def embedded_model_path() -> Path:
    """The folder of the shipped model; `AutoModelForCausalLM.from_pretrained` loads it."""
    return Path(__file__).resolve().parent / "model"
