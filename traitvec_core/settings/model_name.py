"""The models that an experiment has where it names none."""

from traitvec_core.embedded import EMBEDDED_MODEL

__all__ = ["DEFAULT_JUDGE", "default_judge", "infer_model"]

DEFAULT_JUDGE = "gpt-6.1-terra"
"""What OpenAI recommends in place of gpt-5-mini, which it shuts down on 2026-12-11."""

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


def default_judge(model: str) -> str:
    """Return the judge of a new experiment: the embedded model judges itself, without a key."""
    return EMBEDDED_MODEL if model == EMBEDDED_MODEL else DEFAULT_JUDGE
