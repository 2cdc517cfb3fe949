"""What a model's own files say of it, if they are on this machine; makes no network calls."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from traitvec_core.models.files import resolve_model

__all__ = ["model_file", "model_shape", "model_type_of"]

# Architectures name their numbers differently; most follow the first.
_BLOCKS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_WIDTHS = ("hidden_size", "n_embd", "d_model")


def model_file(model: str, name: str) -> Path | None:
    """Return a file of a model if it is on this machine, else None."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    local = Path(resolve_model(model)) / name
    if local.is_file():
        return local
    with suppress(HFValidationError):
        cached = try_to_load_from_cache(model, name)
        return Path(cached) if isinstance(cached, str) else None
    return None


def model_type_of(model: str) -> str:
    """Return the architecture ("llama"), by which readers match vectors to models, else `model`."""
    return str(_config(model).get("model_type", model))


def model_shape(model: str) -> tuple[int, int] | None:
    """Return (n_layers, hidden_dim), with the embedding output among the layers, else None."""
    config = _config(model)
    text = config.get("text_config")
    config = text if isinstance(text, dict) else config
    n_blocks = next((config[name] for name in _BLOCKS if name in config), None)
    width = next((config[name] for name in _WIDTHS if name in config), None)
    if not isinstance(n_blocks, int) or not isinstance(width, int):
        return None
    return n_blocks + 1, width


def _config(model: str) -> dict[str, Any]:
    path = model_file(model, "config.json")
    with suppress(OSError, ValueError):
        config = json.loads(path.read_bytes()) if path else None
        return config if isinstance(config, dict) else {}
    return {}
