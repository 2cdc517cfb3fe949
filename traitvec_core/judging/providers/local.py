"""A judge in this process: the mean over 0–100, weighted by the model's probabilities."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch

from traitvec_core.judging.reading import MIN_NUMBER_MASS, Judgement, weighted_score
from traitvec_core.models.files import model_fingerprint
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.trait import break_up

__all__ = ["LocalJudge"]

# Raise when the arithmetic changes: all judgements are then made again.
_VERSION = 1
# Least probability of a beginning whose longer numbers are computed.
_MIN_PREFIX_MASS = 1e-4
# Room for an answer in the context: "100" in three tokens.
_ANSWER_TOKENS = 3
_Ids = tuple[int, ...]


class LocalJudge:
    """Scores prompts with a loaded language model.

    The score is Σ n·p(n) / Σ p(n) over the integers 0–100, where p(n) is the probability that the
    answer is exactly that number: for a tokenizer that splits 42 into two tokens, p(4)·p(2 | 4),
    and for 4 itself, p(4) times the probability that no digit follows.

    Args:
        model: The model.
        batch_size: Prompts per forward pass; None chooses by device.
        weights: Hash of the model's weights; by default of the files that its name refers to.
    """

    def __init__(
        self, model: LanguageModel, batch_size: int | None = None, weights: str | None = None
    ) -> None:
        self.name = model.name
        self._weights = weights or model_fingerprint(model.name)
        self._model = model
        self._batch_size = batch_size or (64 if model.device.type != "cpu" else 32)

    @property
    def identity(self) -> str:
        """All that determines a judgement besides the prompt."""
        return json.dumps(
            {
                "provider": "local",
                "model": self.name,
                "weights": self._weights,
                "dtype": str(self._model.model.dtype).removeprefix("torch."),
                "scoring": "weighted",
                "version": _VERSION,
            }
        )

    def score(
        self,
        prompts: Sequence[str],
        on_batch: Callable[[Mapping[str, Judgement]], None],
        is_known: Callable[[str], bool] = lambda prompt: False,
        repeat: int = 0,
    ) -> None:
        """Judge distinct prompts, shortest first; a batch of known prompts is skipped."""
        rendered = [self._render(prompt) for prompt in prompts]
        ids = [self._model.encode_prompt(text) for text in rendered]
        limit = self._model.context_tokens
        too_long = [
            i for i in range(len(ids)) if limit is not None and len(ids[i]) + _ANSWER_TOKENS > limit
        ]
        unread = [prompts[i] for i in too_long if not is_known(prompts[i])]
        if unread:
            reason = f"longer than the judge can read ({limit} tokens)"
            on_batch({prompt: Judgement(None, "error", reason) for prompt in unread})
        skipped = set(too_long)
        order = sorted(
            (i for i in range(len(ids)) if i not in skipped),
            key=lambda i: (len(ids[i]), prompts[i]),
        )
        if not order:
            return
        numbers = self._number_tokens(rendered[order[0]])
        for begin in range(0, len(order), self._batch_size):
            batch = order[begin : begin + self._batch_size]
            if all(is_known(prompts[i]) for i in batch):
                continue
            masses = self._number_masses([ids[i] for i in batch], numbers)
            on_batch(
                {
                    prompts[i]: _weighted_mean(mass, len(ids[i]))
                    for i, mass in zip(batch, masses, strict=True)
                    if not is_known(prompts[i])
                }
            )

    def _render(self, prompt: str) -> str:
        # A response with the judge's control tokens must not end the turn.
        return self._model.prompt(break_up(prompt, self._model.control_tokens))

    def _number_tokens(self, rendered: str) -> dict[_Ids, int]:
        """Return token sequence → number, as the tokenizer encodes it directly after a prompt."""
        prompt = self._model.encode_prompt(rendered)
        numbers: dict[_Ids, int] = {}
        for number in range(101):
            encoded = self._model.encode_response(rendered, str(number)).ids
            numbers[tuple(encoded[len(prompt) :])] = number
        return numbers

    def _number_masses(
        self, prompts: list[list[int]], numbers: dict[_Ids, int]
    ) -> list[dict[int, float]]:
        masses: list[dict[int, float]] = [{} for _ in prompts]
        # The tokens that may follow each beginning of a number: a tree of their token sequences.
        following: dict[_Ids, set[int]] = {}
        for ids in numbers:
            for k in range(len(ids)):
                following.setdefault(ids[:k], set()).add(ids[k])
        # (row, tokens so far, their probability); one round per token of the longest number.
        open_: list[tuple[int, _Ids, float]] = [(row, (), 1.0) for row in range(len(prompts))]
        while open_:
            distributions = self._next_probabilities([prompts[r] + list(p) for r, p, _ in open_])
            still_open: list[tuple[int, _Ids, float]] = []
            for (row, prefix, mass), probability in zip(open_, distributions, strict=True):
                tokens = sorted(following[prefix])
                shares = probability[tokens].tolist()
                if prefix in numbers:
                    # Exactly this number: no token of a longer one follows.
                    masses[row][numbers[prefix]] = mass * max(0.0, 1.0 - sum(shares))
                for token, share in zip(tokens, shares, strict=True):
                    path = (*prefix, token)
                    if path in following and mass * share >= _MIN_PREFIX_MASS:
                        still_open.append((row, path, mass * share))
                    elif path in numbers:
                        masses[row][numbers[path]] = mass * share
            open_ = still_open
        return masses

    def _next_probabilities(self, sequences: list[list[int]]) -> torch.Tensor:
        """Return the distribution of the next token, `[n, vocabulary]`, float32 on the CPU."""
        size = self._batch_size
        parts = [sequences[begin : begin + size] for begin in range(0, len(sequences), size)]
        return torch.cat([self._forward(part) for part in parts])

    def _forward(self, sequences: list[list[int]]) -> torch.Tensor:
        width = max(len(ids) for ids in sequences)
        pad = self._model.pad_token_id
        # Left padding, so that the next token is the last position of every row and the model
        # computes logits, with its own scaling and caps, only there.
        ids = torch.tensor([[pad] * (width - len(s)) + s for s in sequences])
        mask = torch.tensor([[0] * (width - len(s)) + [1] * len(s) for s in sequences])
        device = self._model.device
        with torch.inference_mode():
            output = cast(Any, self._model.model)(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                position_ids=(mask.cumsum(1) - 1).clamp_min(0).to(device),
                use_cache=False,
                logits_to_keep=1,
            )
            return cast(torch.Tensor, output.logits[:, -1].float().softmax(-1).cpu())


def _weighted_mean(mass: dict[int, float], tokens_in: int) -> Judgement:
    score = weighted_score(mass)
    if score is None:
        reason = f"less than {MIN_NUMBER_MASS:g} of the probability is on numbers"
        return Judgement(None, "unparseable", reason, tokens_in)
    return Judgement(score, "ok", tokens_in=tokens_in)
