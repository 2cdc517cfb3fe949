"""The model that an experiment's name implies."""

__all__ = ["infer_model"]

# The guide's names: an experiment called gemma_2b_… needs no experiment.yaml.
_MODEL_OF_PREFIX = {
    "gemma_2b": "google/gemma-2-2b-it",
    "gemma_9b": "google/gemma-2-9b-it",
    "llama_8b": "meta-llama/Llama-3.1-8B-Instruct",
}


def infer_model(experiment: str) -> str | None:
    """Return the model that an experiment's name stands for, or None."""
    for prefix, model in _MODEL_OF_PREFIX.items():
        if experiment == prefix or experiment.startswith(f"{prefix}_"):
            return model
    return None
