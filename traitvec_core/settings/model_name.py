"""The models that names of experiments imply."""

__all__ = ["infer_model"]

# An experiment named gemma_2b_… needs no experiment.yaml.
_MODELS_BY_PREFIX = {
    "gemma_2b": "google/gemma-2-2b-it",
    "gemma_9b": "google/gemma-2-9b-it",
    "llama_8b": "meta-llama/Llama-3.1-8B-Instruct",
}


def infer_model(experiment: str) -> str | None:
    """Return the Hugging Face id that an experiment's name implies, or None."""
    for prefix, model in _MODELS_BY_PREFIX.items():
        if experiment == prefix or experiment.startswith(f"{prefix}_"):
            return model
    return None
