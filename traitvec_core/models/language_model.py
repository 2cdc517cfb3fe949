"""A loaded language model: its prompts, decoder blocks and device."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from traitvec_core.elicited_by import QUESTION_GAP, ElicitedBy
from traitvec_core.errors import TraitvecError
from traitvec_core.models.files import LoadOptions
from traitvec_core.models.loading import load_pretrained
from traitvec_core.models.response_ids import ResponseIds

__all__ = ["Encoded", "LanguageModel", "load_language_model"]

Role = Literal["system", "user", "raw"]
TextRole = Literal["system", "user", "assistant", "raw"]
_SENTINEL = "sentinel-of-the-system-turn"


@dataclass(frozen=True)
class Encoded:
    """Token ids of a prompt followed by a response.

    Attributes:
        ids: All token ids.
        is_response: For each token, whether it belongs to the response (special tokens and
            thinking never do).
        n_prompt: Number of prompt tokens, which come first in `ids`.
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
        tokenizer: Its fast tokenizer.
        load_seconds: How long loading took.
        revision: The commit on the hub that was loaded, or `sha256:…` of a GGUF file; None for a
            local folder.
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
            TraitvecError: If the architecture has no such list.
        """
        blocks = _find_blocks(self.decoder, self.n_blocks)
        if blocks is None:
            raise TraitvecError(
                f"{self.name}: found no list of {self.n_blocks} decoder blocks; traitvec needs a"
                " decoder-only transformer"
            )
        return blocks

    @property
    def decoder(self) -> torch.nn.Module:
        """The model without its language-model head; for a multimodal model, its text decoder."""
        decoder = self.model.get_decoder()
        return cast(torch.nn.Module, self.model.base_model if decoder is self.model else decoder)

    @property
    def n_blocks(self) -> int:
        """Number of decoder blocks, N."""
        return int(self._text_config.num_hidden_layers)

    @property
    def n_layers(self) -> int:
        """Number of layers in an activation tensor: the embedding output and N blocks."""
        return self.n_blocks + 1

    @property
    def hidden_dim(self) -> int:
        """Width of the residual stream."""
        return int(self._text_config.hidden_size)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, with those that no token uses."""
        return int(self._text_config.vocab_size)

    @property
    def device(self) -> torch.device:
        """The device for inputs."""
        embeddings = self.model.get_input_embeddings()
        device = embeddings.weight.device
        if device.type == "meta":
            if not hasattr(embeddings, "_hf_hook"):
                raise TraitvecError(
                    f"{self.name} has no weights in this process: pass engine.reader to read"
                    " activations, and engine to generate"
                )
            # accelerate keeps these weights elsewhere and moves them here when they are used.
            device = torch.device(cast(Any, embeddings)._hf_hook.execution_device)
        return cast(torch.device, device)

    @property
    def as_loaded(self) -> dict[str, str | None]:
        """What metadata should record of the model besides its name."""
        return {
            "model_revision": self.revision,
            "model_dtype": str(self.model.dtype).removeprefix("torch."),
            "attention": getattr(self.model.config, "_attn_implementation", None),
            "quantization": self.quantization,
        }

    @property
    def context_tokens(self) -> int | None:
        """Longest sequence that the model supports, or None if its configuration does not say."""
        return getattr(self._text_config, "max_position_embeddings", None)

    @property
    def _text_config(self) -> Any:
        return self.model.config.get_text_config(decoder=True)

    # -- prompts ------------------------------------------------------------------------------

    def role(self, requested: str) -> Role:
        """Return where this model's instructions go.

        Args:
            requested: `auto`, `system`, `user` or `raw`.

        Raises:
            TraitvecError: If the chat template does not support the requested role.
        """
        if requested == "raw" or (requested == "auto" and not self.tokenizer.chat_template):
            return "raw"
        if not self.tokenizer.chat_template:
            raise TraitvecError(
                f"{self.name} has no chat template; set instruction_role: raw (or auto)"
            )
        if requested == "user" or (requested == "auto" and not self._has_system_turn):
            return "user"
        if not self._has_system_turn:
            raise TraitvecError(
                f"{self.name}: the chat template has no system turn; set instruction_role: user"
            )
        return "system"

    def text_role(self, elicited_by: ElicitedBy, requested: str) -> TextRole:
        """Return where instructions go (see `role`), or openings: `assistant`, or `raw`."""
        if elicited_by == "instructions":
            return self.role(requested)
        return "raw" if requested == "raw" or not self.tokenizer.chat_template else "assistant"

    def prompt(self, question: str, instruction: str | None = None, role: str = "auto") -> str:
        """Return the text that the model sees, up to where its response begins.

        Args:
            question: The user's question.
            instruction: The instruction, if there is one.
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

    def elicited_prompt(
        self, question: str, text: str, elicited_by: ElicitedBy, role: str = "auto"
    ) -> str:
        """Return the prompt with an instruction, or with an opening; see `prompt`, `opened_prompt`.

        Args:
            question: The user's question.
            text: The instruction or the opening; empty for neither.
            elicited_by: Which of the two it is.
            role: See `role`.
        """
        if text and elicited_by == "scenarios":
            return self.opened_prompt(question, text, role)
        return self.prompt(question, text or None, role)

    def opened_prompt(self, question: str, opening: str, role: str = "auto") -> str:
        """Return the text that the model continues: the question, then the response's beginning.

        The opening stands in the assistant's turn, which is left open; without a chat template (or
        with role `raw`) it follows the question after a blank line. An opening that contains
        `{question}` is a text by itself, for any model.

        Args:
            question: The user's question.
            opening: The first words of the response. Spaces at its end are left out, because a
                word's token begins with the space before it.
            role: `raw` for no chat template; other roles have no meaning here.

        Raises:
            TraitvecError: If the chat template cannot leave the assistant's turn open.
        """
        opening = opening.rstrip(" \t")
        if QUESTION_GAP in opening:
            return opening.replace(QUESTION_GAP, question)
        if self.text_role("scenarios", role) == "raw":
            return f"{question}\n\n{opening}"
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": opening}]
        try:
            return self._render(turns, is_open=True)
        except Exception as error:  # templates raise errors of any type
            raise TraitvecError(
                f"{self.name}: the chat template cannot leave the assistant's turn open after an"
                " opening; set instruction_role: raw, or elicitation: instructions"
            ) from error

    def encode_prompt(self, prompt: str) -> list[int]:
        """Return the token ids of a prompt made by `prompt`: no second BOS, and no EOS."""
        return self._encode(prompt, self._is_bare(prompt))

    def encode_response(
        self, prompt: str, response: str, generated: ResponseIds | None = None
    ) -> Encoded:
        """Encode a prompt and its response, and mark the response's tokens.

        The prompt's tokens are those of `encode_prompt`. Special tokens are never response tokens.

        Args:
            prompt: The rendered prompt.
            response: The response's text, which is encoded with the prompt as one text.
            generated: The tokens that were generated, if they are known; they replace the text.
        """
        prompt_ids = self.encode_prompt(prompt)
        if generated is not None:
            ids = [*prompt_ids, *generated.ids]
        else:
            ids = self._encode(prompt + response, self._is_bare(prompt))
            if ids[: len(prompt_ids)] != prompt_ids:
                # A token crosses from prompt to response, which cannot happen in generation.
                ids = prompt_ids + self._encode(response, is_bare=False)
        special = set(self.tokenizer.all_special_ids)
        first = len(prompt_ids) + (generated.n_thinking if generated is not None else 0)
        return Encoded(
            ids=ids,
            is_response=[
                position >= first and token not in special for position, token in enumerate(ids)
            ],
            n_prompt=len(prompt_ids),
        )

    def _encode(self, text: str, is_bare: bool) -> list[int]:
        # Tokenizers reject half a surrogate pair.
        text = text.encode("utf-8", "replace").decode()
        ids = list(self.tokenizer(text, add_special_tokens=is_bare)["input_ids"])
        end = self.tokenizer.eos_token
        # Some tokenizers append EOS to every text; here the model goes on writing.
        if is_bare and end and ids[-1:] == [self.tokenizer.eos_token_id] and not text.endswith(end):
            ids.pop()
        return ids

    def _is_bare(self, prompt: str) -> bool:
        """Whether the tokenizer has to add BOS, because no chat template rendered the text."""
        if not self.tokenizer.chat_template:
            bos = self.tokenizer.bos_token
            return not (isinstance(bos, str) and prompt.startswith(bos))
        return not any(token in prompt for token in self.control_tokens)

    @cached_property
    def control_tokens(self) -> list[str]:
        """Texts that the tokenizer reads as control tokens, such as BOS and turn markers.

        Tokenizers also have added tokens for ordinary text (runs of spaces, HTML tags); those count
        only if the chat template uses them.
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
        """An id for padding. Any valid id works: padded positions are masked everywhere."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else (self.end_token_ids or [0])[0]

    @cached_property
    def _has_system_turn(self) -> bool:
        turns = [{"role": "system", "content": _SENTINEL}, {"role": "user", "content": "?"}]
        try:
            # Some templates reject a system turn, others drop it silently.
            return _SENTINEL in self._render(turns)
        except Exception:  # noqa: BLE001  # templates raise errors of any type
            return False

    def _render(self, turns: list[dict[str, str]], *, is_open: bool = False) -> str:
        """Render turns up to where the response begins, or goes on with the last of them."""
        return cast(
            str,
            self.tokenizer.apply_chat_template(
                turns,
                tokenize=False,
                add_generation_prompt=not is_open,
                continue_final_message=is_open,
                enable_thinking=False,
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
        name: `embedded`, a Hugging Face id, a local folder, or a GGUF file, which is converted to
            a folder in Hugging Face's cache the first time.
        revision: Branch, tag or commit on the hub. `LanguageModel.revision` is the resolved commit.
        dtype: `auto`, `float32`, `bfloat16` or `float16`. `auto` is float32 on a CPU; on a GPU it
            is bfloat16 where the hardware supports it. On older GPUs it is float16 for checkpoints
            made in float16, else bfloat16.
        device: A torch device; by default accelerate distributes the model over all devices.
        attention: `auto`, `sdpa`, `eager` or `flash_attention_2`; with `auto` transformers picks
            what the model supports.
        quantization: `none`, `8bit` or `4bit`, through bitsandbytes; needs a GPU.
        trust_remote_code: Whether to run Python code that comes with the model.
        has_weights: False loads no weights: the model only renders and encodes prompts.

    Raises:
        TraitvecError: If the model cannot be loaded; says why, and what to do.
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
    """Return the outermost list of `count` modules; of several side by side, the largest."""
    candidates = [
        (name.count("."), -sum(parameter.numel() for parameter in module.parameters()), module)
        for name, module in decoder.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    ]
    # There can be as many experts or heads as blocks, but they are inside the blocks.
    return min(candidates, key=lambda item: item[:2])[2] if candidates else None
