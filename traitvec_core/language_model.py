"""One loaded language model: its prompts, its decoder blocks, its device."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from traitvec_core.errors import TraitvecError
from traitvec_core.model_files import resolve_model

__all__ = ["Encoded", "LanguageModel", "load_language_model"]

Role = Literal["system", "user", "raw"]
_SENTINEL = "sentinel-of-the-system-turn"
_MAX_REASON_CHARS = 300
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Encoded:
    """Token ids of a prompt followed by a response.

    Attributes:
        ids: All token ids.
        is_response: For each token, whether it belongs to the response (special tokens never do).
    """

    ids: list[int]
    is_response: list[bool]


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with its tokenizer, ready for inference.

    Attributes:
        name: As the experiment names it.
        model: The transformers model, in eval mode.
        tokenizer: Its tokenizer; must be a fast one.
        load_seconds: What loading took.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    load_seconds: float = 0.0

    # -- shape --------------------------------------------------------------------------------

    @cached_property
    def blocks(self) -> torch.nn.ModuleList:
        """The decoder blocks, in order.

        Raises:
            TraitvecError: If no list of blocks is found.
        """
        count = self.n_blocks
        found = [
            module
            for module in self.decoder.modules()
            if isinstance(module, torch.nn.ModuleList) and len(module) == count
        ]
        if not found:
            raise TraitvecError(
                f"{self.name}: found no list of {count} decoder blocks; this is no decoder-only"
                " transformer that traitvec can read"
            )
        # modules() walks from the outside in: the first list is the decoder's own.
        return found[0]

    @property
    def decoder(self) -> torch.nn.Module:
        """The model without its language-model head."""
        return cast(torch.nn.Module, self.model.get_decoder())

    @property
    def n_blocks(self) -> int:
        """Number of decoder blocks, N."""
        return int(self._text_config.num_hidden_layers)

    @property
    def n_layers(self) -> int:
        """Rows of an activation tensor: the embedding output and N blocks."""
        return self.n_blocks + 1

    @property
    def hidden_dim(self) -> int:
        """Width of the residual stream."""
        return int(self._text_config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return cast(torch.device, self.model.get_input_embeddings().weight.device)

    @property
    def context_tokens(self) -> int | None:
        """Longest sequence the model was made for, if its configuration says."""
        return getattr(self._text_config, "max_position_embeddings", None)

    @property
    def _text_config(self) -> Any:
        return self.model.config.get_text_config(decoder=True)

    # -- prompts ------------------------------------------------------------------------------

    def role(self, wanted: str) -> Role:
        """Where instructions go for this model.

        Args:
            wanted: `auto`, `system`, `user` or `raw`.

        Raises:
            TraitvecError: If the chat template cannot do what is asked.
        """
        if wanted == "raw" or (wanted == "auto" and not self.tokenizer.chat_template):
            return "raw"
        if not self.tokenizer.chat_template:
            raise TraitvecError(
                f"{self.name} has no chat template; set instruction_role: raw (or auto)"
            )
        if wanted == "user" or (wanted == "auto" and not self._has_system_turn):
            return "user"
        if not self._has_system_turn:
            raise TraitvecError(
                f"{self.name}: the chat template has no system turn; set instruction_role: user"
            )
        return "system"

    def prompt(self, question: str, instruction: str | None = None, role: str = "auto") -> str:
        """Return the text that the model sees, up to where its answer begins.

        Args:
            question: The user's question.
            instruction: The instruction, or None for none.
            role: `auto`, `system`, `user` or `raw`; see `role`.
        """
        where = self.role(role)
        if where == "raw":
            return f"{instruction}\n\n{question}\n" if instruction else f"{question}\n"
        if instruction and where == "user":
            question = f"{instruction}\n\n{question}"
        turns = [{"role": "user", "content": question}]
        if instruction and where == "system":
            turns.insert(0, {"role": "system", "content": instruction})
        return self._render(turns)

    def encode_prompt(self, prompt: str) -> list[int]:
        """Token ids of a prompt made by `prompt`; never with two BOS, never with an EOS."""
        return self._encode(prompt, self._is_bare(prompt))

    def encode_response(self, prompt: str, response: str) -> Encoded:
        """Encode a prompt and its response as one text and mark the response's tokens.

        The prompt's tokens are those of `encode_prompt`. Special tokens never belong to a response.
        """
        prompt_ids = self.encode_prompt(prompt)
        ids = self._encode(prompt + response, self._is_bare(prompt))
        if ids[: len(prompt_ids)] != prompt_ids:
            # A token would reach across the border, which generation never does.
            ids = prompt_ids + self._encode(response, is_bare=False)
        special = set(self.tokenizer.all_special_ids)
        return Encoded(
            ids=ids,
            is_response=[
                position >= len(prompt_ids) and token not in special
                for position, token in enumerate(ids)
            ],
        )

    def _encode(self, text: str, is_bare: bool) -> list[int]:
        # A tokenizer takes no half of a surrogate pair.
        text = text.encode("utf-8", "replace").decode()
        ids = list(self.tokenizer(text, add_special_tokens=is_bare)["input_ids"])
        end = self.tokenizer.eos_token
        # Some tokenizers close every text; what follows here is the model's to say.
        if is_bare and end and ids[-1:] == [self.tokenizer.eos_token_id] and not text.endswith(end):
            ids.pop()
        return ids

    def _is_bare(self, prompt: str) -> bool:
        """Whether the tokenizer must add BOS itself: the text was not rendered by a template."""
        if not self.tokenizer.chat_template:
            bos = self.tokenizer.bos_token
            return not (isinstance(bos, str) and prompt.startswith(bos))
        return not any(token in prompt for token in self.control_tokens)

    @cached_property
    def control_tokens(self) -> list[str]:
        """Texts that the tokenizer reads as control tokens: BOS, the marks of a turn and the like.

        Tokenizers also add ordinary texts as tokens (runs of spaces, HTML tags); those count only
        when the chat template writes them.
        """
        template = str(self.tokenizer.chat_template or "")
        added = [
            str(token)
            for token in self.tokenizer.added_tokens_decoder.values()
            if token.special or (str(token).strip() and str(token) in template)
        ]
        return list(dict.fromkeys([*self.tokenizer.all_special_tokens, *added]))

    @cached_property
    def end_token_ids(self) -> list[int]:
        """Tokens that end a response."""
        end = getattr(self.model.generation_config, "eos_token_id", None)
        if end is None:
            end = self.tokenizer.eos_token_id
        if end is None:
            return []
        return list(end) if isinstance(end, Sequence) else [int(end)]

    @property
    def pad_token_id(self) -> int:
        """Any valid id: padded positions are masked everywhere."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else (self.end_token_ids or [0])[0]

    @cached_property
    def _has_system_turn(self) -> bool:
        turns = [{"role": "system", "content": _SENTINEL}, {"role": "user", "content": "?"}]
        try:
            # Some templates refuse a system turn, others drop it without a word.
            return _SENTINEL in self._render(turns)
        except Exception:  # noqa: BLE001  # templates raise what they like
            return False

    def _render(self, turns: list[dict[str, str]]) -> str:
        return cast(
            str,
            self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, enable_thinking=False
            ),
        )


def load_language_model(
    name: str, *, revision: str | None = None, dtype: str = "auto", device: str | None = None
) -> LanguageModel:
    """Load a causal language model for inference.

    Args:
        name: `embedded`, a Hugging Face id, or a local folder.
        revision: Git revision on the hub.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        device: A torch device; by default accelerate spreads the model over what there is.

    Raises:
        TraitvecError: If it cannot be loaded, with the reason and the way out.
    """
    import time

    started = time.monotonic()
    where = resolve_model(name)
    place: dict[str, Any] = {"device_map": "auto"} if torch.cuda.is_available() else {}
    if device is not None:
        place = {"device_map": {"": device}}
    # The bar over a model's tensors says nothing; downloads keep theirs.
    disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            where, revision=revision, dtype=_dtype(dtype), trust_remote_code=False, **place
        )
    except Exception as error:  # transformers raises what its readers raise, of any type
        raise TraitvecError(_load_failure(name, error)) from error
    if not tokenizer.is_fast:
        raise TraitvecError(
            f"{name}: only a slow tokenizer is available, which cannot tell where the response"
            " begins; use a model with a tokenizer.json"
        )
    return LanguageModel(name, model.eval(), tokenizer, time.monotonic() - started)


def _dtype(wanted: str) -> torch.dtype:
    if wanted != "auto":
        return _DTYPES[wanted]
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    # On a CPU half precision is slower, and the averages are worse.
    return torch.float32


def _load_failure(name: str, error: Exception) -> str:
    text = str(error)
    if "gated" in text.lower() or "401" in text or "403" in text:
        token = "HF_TOKEN is set" if os.environ.get("HF_TOKEN") else "HF_TOKEN is not set"
        return (
            f"model {name!r} is gated: accept its licence on its Hugging Face page and put a token"
            f" with read access into .env as HF_TOKEN ({token})"
        )
    reason = " ".join(text.split())[:_MAX_REASON_CHARS].rstrip(".: ") or type(error).__name__
    return (
        f"model {name!r} could not be loaded: {reason}. Check the spelling and the network, or use"
        " `model: embedded`, which ships with traitvec."
    )
