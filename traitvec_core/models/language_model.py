"""One loaded language model: its prompts, its decoder blocks, its device."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from traitvec_core.errors import TraitvecError
from traitvec_core.models.files import LoadOptions
from traitvec_core.models.loading import load_pretrained

__all__ = ["Encoded", "LanguageModel", "load_language_model"]

Role = Literal["system", "user", "raw"]
_SENTINEL = "sentinel-of-the-system-turn"


@dataclass(frozen=True)
class Encoded:
    """Token ids of a prompt followed by a response.

    Attributes:
        ids: All token ids.
        is_response: For each token, whether it belongs to the response (special tokens never do).
        n_prompt: How many of the ids, from the first, are the prompt's.
    """

    ids: list[int]
    is_response: list[bool]
    n_prompt: int


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with its tokenizer, ready for inference.

    Attributes:
        name: As the experiment names it.
        model: The transformers model, in eval mode.
        tokenizer: Its tokenizer; must be a fast one.
        load_seconds: What loading took.
        revision: The commit on the hub that was loaded; None for a folder.
        quantization: `none`, `8bit` or `4bit`.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    load_seconds: float = 0.0
    revision: str | None = None
    quantization: str = "none"

    # -- shape --------------------------------------------------------------------------------

    @cached_property
    def blocks(self) -> torch.nn.ModuleList:
        """The decoder blocks, in order.

        Raises:
            TraitvecError: If no list of blocks is found.
        """
        found = _find_blocks(self.decoder, self.n_blocks)
        if found is None:
            raise TraitvecError(
                f"{self.name}: found no list of {self.n_blocks} decoder blocks; this is no"
                " decoder-only transformer that traitvec can read"
            )
        return found

    @property
    def decoder(self) -> torch.nn.Module:
        """The model without its language-model head; of a multimodal one only what reads text."""
        found = self.model.get_decoder()
        return cast(torch.nn.Module, self.model.base_model if found is self.model else found)

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
        embeddings = self.model.get_input_embeddings()
        device = embeddings.weight.device
        if device.type == "meta":
            # Weights that accelerate keeps elsewhere and brings in for the moment of their use.
            device = torch.device(cast(Any, embeddings)._hf_hook.execution_device)
        return cast(torch.device, device)

    @property
    def as_loaded(self) -> dict[str, str | None]:
        """What a record of the model's results should say beside its name."""
        return {
            "model_revision": self.revision,
            "model_dtype": str(self.model.dtype).removeprefix("torch."),
            "attention": getattr(self.model.config, "_attn_implementation", None),
            "quantization": self.quantization,
        }

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
            n_prompt=len(prompt_ids),
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
    name: str,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str | None = None,
    attention: str = "auto",
    quantization: str = "none",
    trust_remote_code: bool = False,
    has_weights: bool = True,
) -> LanguageModel:
    """Load a causal language model for inference.

    Args:
        name: `embedded`, a Hugging Face id, or a local folder.
        revision: Branch, tag or commit on the hub; the commit that it stood for is in
            `LanguageModel.revision`.
        dtype: `auto`, `float32`, `bfloat16` or `float16`. `auto` is float32 on a CPU; on a GPU it
            is bfloat16 where the hardware has it, else what the checkpoint was made in.
        device: A torch device; by default accelerate spreads the model over what there is.
        attention: `auto`, `sdpa`, `eager` or `flash_attention_2`; `auto` leaves the choice to
            transformers, which knows what a model supports.
        quantization: `none`, `8bit` or `4bit`, through bitsandbytes; needs a GPU.
        trust_remote_code: Whether to run Python code that comes with the model.
        has_weights: Without them a model renders and encodes prompts and computes nothing.

    Raises:
        TraitvecError: If it cannot be loaded, with the reason and the way out.
    """
    started = time.monotonic()
    model, tokenizer, commit = load_pretrained(
        name,
        LoadOptions(
            revision=revision,
            dtype=dtype,
            device=device,
            attention=attention,
            quantization=quantization,
            trust_remote_code=trust_remote_code,
        ),
        has_weights=has_weights,
    )
    return LanguageModel(
        name,
        model.eval(),
        tokenizer,
        load_seconds=time.monotonic() - started,
        revision=commit,
        quantization=quantization,
    )


def _find_blocks(decoder: torch.nn.Module, count: int) -> torch.nn.ModuleList | None:
    """The outermost list of `count` modules; of several beside each other the heaviest."""
    found = [
        (name.count("."), -sum(parameter.numel() for parameter in module.parameters()), module)
        for name, module in decoder.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    ]
    # Experts and heads can be as many as blocks, but lie inside them.
    return min(found, key=lambda item: item[:2])[2] if found else None
