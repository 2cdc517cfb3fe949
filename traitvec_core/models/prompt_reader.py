"""Reads many prompts, each token of their shared beginnings once, for what may come next."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch

from traitvec_core.models.key_value_support import has_plain_cache
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.memory import in_halves
from traitvec_core.models.next_token import NextToken
from traitvec_core.models.prefix_key_values import PrefixKeyValues
from traitvec_core.models.shared_prefixes import shared_prefixes

__all__ = ["PromptReader", "prompt_reader"]

# Most tokens of one forward pass, padding included: those it computes, and those it attends to.
_INPUT_TOKENS_CPU = 1_024
_INPUT_TOKENS_GPU = 16_384
_ATTENDED_TOKENS_CPU = 16_384
_ATTENDED_TOKENS_GPU = 65_536
# Most memory for the keys and values of prefixes, and again for those of a batch.
_BYTES = 2**30


class PromptReader(Protocol):
    """Reads prompts in batches; those of the last batch can be continued."""

    def batches(self, most_rows: int | None) -> list[list[int]]:
        """Return the prompts to read together, by index; they depend on nothing else."""
        ...

    def read(self, prompts: Sequence[int]) -> torch.Tensor:
        """Read prompts by index.

        Returns:
            For each the probability of every chosen token to be the next, `[n, n_tokens]`, float32
            on the CPU.
        """
        ...

    def go_on(self, rows: Sequence[int], ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Continue prompts of the last `read`.

        Args:
            rows: For each continuation, the place of its prompt in the last `read`.
            ids: Its tokens; all continuations have the same length.

        Returns:
            As `read`, for the token after each continuation.
        """
        ...


def prompt_reader(
    model: LanguageModel, prompts: Sequence[list[int]], tokens: Sequence[int], *, goes_on: bool
) -> PromptReader:
    """Return a reader that computes as little as the model's kind of cache allows.

    Args:
        model: The model.
        prompts: Token ids of all prompts that share a reader.
        tokens: The tokens whose probabilities are read.
        goes_on: Whether prompts will be continued.
    """
    if has_plain_cache(model):
        return _CachedReader(model, prompts, tokens, goes_on)
    return _PlainReader(model, prompts, tokens)


class _PlainReader:
    """Reads every sequence as a whole, for models that keep a state."""

    def __init__(
        self, model: LanguageModel, prompts: Sequence[list[int]], tokens: Sequence[int]
    ) -> None:
        self._next_token = NextToken(model, tokens)
        self._limits = _limits(model)
        self._prompts = prompts
        self._last: list[list[int]] = []

    def batches(self, most_rows: int | None) -> list[list[int]]:
        lengths = [len(ids) for ids in self._prompts]
        return _batches(lengths, lengths, self._limits, most_rows)

    def read(self, prompts: Sequence[int]) -> torch.Tensor:
        self._last = [self._prompts[i] for i in prompts]
        return self._next_token(self._last)

    def go_on(self, rows: Sequence[int], ids: Sequence[Sequence[int]]) -> torch.Tensor:
        longer = [self._last[row] + list(new) for row, new in zip(rows, ids, strict=True)]
        n_rows = max(1, self._limits[0] // max(map(len, longer)))
        return torch.cat(
            [self._next_token(longer[i : i + n_rows]) for i in range(0, len(longer), n_rows)]
        )


class _CachedReader:
    """Keeps the keys and values of shared prefixes, and of a batch that is continued."""

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[list[int]],
        tokens: Sequence[int],
        goes_on: bool,
    ) -> None:
        self._model = model
        self._next_token = NextToken(model, tokens)
        self._prompts = prompts
        self._goes_on = goes_on
        most_tokens = max(1, _BYTES // _bytes_per_token(model))
        most_new, most_attended = _limits(model)
        self._limits = (most_new, min(most_attended, most_tokens))
        shared = shared_prefixes(prompts, most_tokens)
        self._prefixes = shared.prefixes
        self._prefix_of = shared.of
        # For each prefix, where its tokens are stored.
        self._paths: list[list[int]] = []
        n_stored = 0
        for prefix in self._prefixes:
            end = n_stored + len(prefix.ids) - prefix.begin
            self._paths.append([*self._path(prefix.parent), *range(n_stored, end)])
            n_stored = end
        self._key_values = PrefixKeyValues(model.model.config, n_stored)
        self._is_stored = False
        self._mask = torch.zeros(0, 0, dtype=torch.long)

    def batches(self, most_rows: int | None) -> list[list[int]]:
        new = [len(self._new(i)) for i in range(len(self._prompts))]
        return _batches(new, [len(ids) for ids in self._prompts], self._limits, most_rows)

    def read(self, prompts: Sequence[int]) -> torch.Tensor:
        if not self._is_stored:
            self._store_prefixes()
            self._is_stored = True
        new = [self._new(i) for i in prompts]
        self._mask = self._key_values.start(
            [self._path(self._prefix_of[i]) for i in prompts],
            [len(ids) for ids in new],
            is_kept=self._goes_on,
        )
        return self._next_token(new, self._key_values, self._mask)

    def go_on(self, rows: Sequence[int], ids: Sequence[Sequence[int]]) -> torch.Tensor:
        width = self._mask.shape[1]
        n_rows = max(1, self._limits[1] // (width + len(ids[0])))
        parts = []
        for begin in range(0, len(rows), n_rows):
            new = ids[begin : begin + n_rows]
            chosen = torch.tensor(rows[begin : begin + n_rows])
            mask = torch.cat([self._mask[chosen], torch.ones(len(new), len(new[0])).long()], dim=1)
            self._key_values.go_on(chosen, width)
            parts.append(self._next_token(new, self._key_values, mask))
        return torch.cat(parts)

    def _store_prefixes(self) -> None:
        new = [prefix.ids[prefix.begin :] for prefix in self._prefixes]

        def store(part: Sequence[int]) -> None:
            mask = self._key_values.start(
                [self._path(self._prefixes[i].parent) for i in part],
                [len(new[i]) for i in part],
                store_at=[at for i in part for at in self._paths[i][self._prefixes[i].begin :]],
            )
            self._next_token([new[i] for i in part], self._key_values, mask)

        for level in sorted({prefix.level for prefix in self._prefixes}):
            here = [i for i, prefix in enumerate(self._prefixes) if prefix.level == level]
            lengths = [len(new[i]) for i in here]
            for batch in _batches(lengths, [len(self._paths[i]) for i in here], self._limits, None):
                what = f"the beginning of a prompt of {self._model.name}"
                for _ in in_halves([here[place] for place in batch], store, what):
                    pass

    def _path(self, prefix: int | None) -> list[int]:
        return [] if prefix is None else self._paths[prefix]

    def _new(self, prompt: int) -> list[int]:
        """Return the tokens of a prompt after its prefix."""
        return self._prompts[prompt][len(self._path(self._prefix_of[prompt])) :]


def _batches(
    new: list[int], all_: list[int], limits: tuple[int, int], most_rows: int | None
) -> list[list[int]]:
    """Return sequences to read together, the shortest first.

    Args:
        new: Tokens to compute, per sequence.
        all_: Their lengths.
        limits: Most tokens, with padding, to compute and to attend to.
        most_rows: Most sequences.
    """
    batches: list[list[int]] = []
    widest = 0
    for i in sorted(range(len(new)), key=lambda i: (new[i], all_[i], i)):
        widest = max(widest, all_[i])
        n_rows = len(batches[-1]) + 1 if batches else 1
        if (
            not batches
            or n_rows * new[i] > limits[0]
            or n_rows * widest > limits[1]
            or n_rows > (most_rows or n_rows)
        ):
            batches.append([])
            widest = all_[i]
        batches[-1].append(i)
    return batches


def _limits(model: LanguageModel) -> tuple[int, int]:
    """Return the most tokens that a pass computes, and that it attends to."""
    if model.device.type == "cpu":
        return _INPUT_TOKENS_CPU, _ATTENDED_TOKENS_CPU
    return _INPUT_TOKENS_GPU, _ATTENDED_TOKENS_GPU


def _bytes_per_token(model: LanguageModel) -> int:
    """Return the memory of a token's keys and values; an upper bound."""
    config = cast(Any, model.model.config).get_text_config(decoder=True)
    heads = config.num_attention_heads
    n_heads = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or model.hidden_dim // heads
    return int(2 * model.n_blocks * n_heads * head_dim * model.model.dtype.itemsize)
