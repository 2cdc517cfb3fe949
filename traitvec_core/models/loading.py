"""Loads a model's weights and tokenizer; errors say why that failed and what to do.

The revision is resolved to a commit once, and everything is loaded from that commit. So weights and
tokenizer belong together, and the commit can be recorded.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_token, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
)
from transformers.utils.logging import disable_progress_bar

from traitvec_core.errors import TraitvecError
from traitvec_core.models.files import LoadOptions, check_installed, resolve_model
from traitvec_core.models.gguf_file import find_gguf, gguf_revision
from traitvec_core.models.memory import is_out_of_memory

__all__ = [
    "choose_dtype",
    "device_arguments",
    "explain_loading",
    "load_pretrained",
    "model_class",
    "weight_arguments",
]

_MAX_REASON_CHARS = 300
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_ATTENTION = ("auto", "sdpa", "eager", "flash_attention_2")
_QUANTIZATION = ("none", "8bit", "4bit")


def load_pretrained(
    name: str, options: LoadOptions, *, has_weights: bool = True
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str | None]:
    """Return a model, its tokenizer, and their revision.

    The revision is the commit on the hub or the hash of a GGUF file; None for a local folder.

    Args:
        name: `embedded`, a Hugging Face id, a local folder, or a GGUF file.
        options: See `LoadOptions`.
        has_weights: False loads only configuration and tokenizer, enough to render and encode
            prompts, for engines that keep the weights elsewhere.

    Raises:
        TraitvecError: If the model cannot be loaded; says why, and what to do.
    """
    if has_weights:
        _check(name, options)
    # The progress bar over tensors is noise; those of downloads and of conversions stay.
    disable_progress_bar()
    gguf = find_gguf(name)
    if gguf:
        # The package gguf is needed for such a file alone.
        from traitvec_core.models.gguf_conversion import convert_gguf

        where = str(convert_gguf(gguf))
    else:
        where = resolve_model(name)
    try:
        commit = None if Path(where).is_dir() else _commit(where, options.revision)
        source = {"revision": commit, "trust_remote_code": options.trust_remote_code}
        config = AutoConfig.from_pretrained(where, **source)
        tokenizer = AutoTokenizer.from_pretrained(where, **source)
        if has_weights:
            model = model_class(config).from_pretrained(
                where, **source, **device_arguments(options), **weight_arguments(options, config)
            )
        else:
            model = _without_weights(where, config, source)
    except Exception as error:  # the many readers below transformers raise errors of any type
        raise TraitvecError(explain_loading(name, error, options)) from error
    if not tokenizer.is_fast:
        raise TraitvecError(
            f"model {name!r} has only a slow tokenizer, which does not report where the response"
            " begins; use a model with a tokenizer.json"
        )
    return model, tokenizer, gguf_revision(gguf) if gguf else commit


def _check(name: str, options: LoadOptions) -> None:
    choices = {
        "dtype": (options.dtype, ("auto", *_DTYPES)),
        "attention": (options.attention, _ATTENTION),
        "quantization": (options.quantization, _QUANTIZATION),
    }
    for setting, (value, values) in choices.items():
        if value not in values:
            raise TraitvecError(
                f"{setting}: unknown value {value!r}; choose one of: {', '.join(values)}"
            )
    if options.quantization == "none":
        return
    if not torch.cuda.is_available():
        raise TraitvecError(
            f"model {name!r}: quantization: {options.quantization} needs a GPU, and torch sees"
            " none; set quantization: none"
        )
    check_installed(quantization=options.quantization)


def _commit(where: str, revision: str | None) -> str | None:
    path = Path(hf_hub_download(where, "config.json", revision=revision))
    # …/snapshots/<commit>/config.json
    return path.parent.name


def _without_weights(where: str, config: PreTrainedConfig, source: dict[str, Any]) -> Any:
    with torch.device("meta"):
        model = model_class(config).from_config(
            config, trust_remote_code=source["trust_remote_code"]
        )
    # Not every model has a generation_config.json; the default of `from_config` stays then.
    with suppress(OSError):
        model.generation_config = GenerationConfig.from_pretrained(
            where, revision=source["revision"]
        )
    return model


def model_class(config: PreTrainedConfig) -> Any:
    """Return the auto class of a model; multimodal ones are loaded completely, decoder and all."""
    has_text_only = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    if not has_text_only and type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def device_arguments(options: LoadOptions) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that say where the weights go."""
    if options.device is not None:
        return {"device_map": {"": options.device}}
    # As many GPUs as needed, then the CPU's memory.
    return {"device_map": "auto"} if torch.cuda.is_available() else {}


def weight_arguments(options: LoadOptions, config: PreTrainedConfig) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` for dtype, attention and quantization."""
    dtype = choose_dtype(options, config)
    arguments: dict[str, Any] = {"dtype": dtype}
    if options.attention != "auto":
        arguments["attn_implementation"] = options.attention
    if options.quantization != "none":
        from transformers import BitsAndBytesConfig

        arguments["quantization_config"] = (
            BitsAndBytesConfig(load_in_8bit=True)
            if options.quantization == "8bit"
            else BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
            )
        )
    return arguments


def choose_dtype(options: LoadOptions, config: PreTrainedConfig) -> torch.dtype:
    """Return the dtype of the weights; see `LoadOptions` for `auto`."""
    if options.dtype != "auto":
        return _DTYPES[options.dtype]
    is_on_cpu = options.device is not None and torch.device(options.device).type == "cpu"
    if is_on_cpu or not torch.cuda.is_available():
        # On a CPU, half precision is slower and less exact.
        return torch.float32
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    # float16 only for checkpoints made in it: others may overflow. bfloat16 is emulated here.
    is_half = getattr(config.get_text_config(), "dtype", None) == torch.float16
    return torch.float16 if is_half else torch.bfloat16


def explain_loading(name: str, error: Exception, options: LoadOptions = LoadOptions()) -> str:
    """Return one line that says why loading failed, and what to do."""
    causes = list(_chain(error))

    def is_any(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    text = " ".join(str(error).split())
    start = f"model {name!r} could not be loaded"
    statuses = {
        getattr(cause.response, "status_code", None)
        for cause in causes
        if isinstance(cause, HfHubHTTPError)
    }
    if is_any(GatedRepoError):
        return f"model {name!r} is gated: {_gate(name, statuses)}"
    if is_any(RepositoryNotFoundError):
        return (
            f"{start}: the hub has no model of this name, or it is private and your token has no"
            f" access ({_token()}); check the spelling, or use `model: embedded`, which needs no"
            " download"
        )
    if statuses & {401, 403}:
        return (
            f"{start}: the hub refuses access ({_token()}); put a valid token with read access"
            " into .env as HF_TOKEN"
        )
    if is_any(RevisionNotFoundError):
        return f"{start}: it has no revision {options.revision!r}; set a branch, tag or commit"
    if is_any(LocalEntryNotFoundError, OfflineModeIsEnabled):
        return (
            f"{start}: it is not on this machine, and the hub cannot be reached; check the network"
            " (and HF_HUB_OFFLINE), or use `model: embedded`, which needs no download"
        )
    if is_any(EntryNotFoundError):
        return f"{start}: it has no config.json, which transformers needs"
    if is_any(HFValidationError):
        return f"{start}: there is no such folder, and it is not a valid hub id; check the path"
    if any(is_out_of_memory(cause) for cause in causes):
        return (
            f"{start}: it does not fit into memory; free some, use a smaller model, or, on a GPU,"
            " set quantization: 8bit (or 4bit)"
        )
    if "trust_remote_code" in text:
        return (
            f"{start}: it comes with its own Python code; if you trust its authors, set"
            " trust_remote_code: true, and a revision to pin that code"
        )
    reason = text[:_MAX_REASON_CHARS].rstrip(".: ") or type(error).__name__
    if options.attention != "auto" and "attention" in text.lower().replace(
        "flash_attn", "attention"
    ):
        return f"{start} with attention: {options.attention}: {reason}. Set attention: auto."
    return (
        f"{start}: {reason}. Check the spelling and the network, or use `model: embedded`, which"
        " needs no download."
    )


def _gate(name: str, statuses: set[int | None]) -> str:
    page = f"accept its licence on https://huggingface.co/{name}"
    if get_token() is None:
        return (
            f"{page} and put a token with read access into .env as HF_TOKEN (HF_TOKEN is not set)"
        )
    refused = "refused" if 403 in statuses else "not accepted"
    return (
        f"{page} with the account that your token belongs to, and give the token read access to"
        f" gated repositories; the current one ({_token()}) was {refused}"
    )


def _token() -> str:
    if os.environ.get("HF_TOKEN"):
        return "HF_TOKEN is set"
    return "a token is stored" if get_token() else "HF_TOKEN is not set"


def _chain(error: BaseException | None) -> Any:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
