"""Chooses tokens: a random stream per row, mapped through the inverse of the distribution."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from traitvec_core.experiment import Sampling

__all__ = ["choose_tokens", "numbers_of", "seed_of"]

# Nearly always covers the nucleus, and is much cheaper than sorting the vocabulary.
_LIKELIEST = 64


def numbers_of(names: Sequence[str], sampling: Sampling) -> torch.Tensor:
    """Return the random numbers of each row, float64 `[n_rows, max_new_tokens]` from [0, 1).

    They depend only on the seed and the row's name.
    """
    streams = [_stream(name, sampling.seed).random(sampling.max_new_tokens) for name in names]
    return torch.from_numpy(np.stack(streams))


def seed_of(name: str, seed: int) -> int:
    """Return a row's seed from 0 to 2³¹ − 1, for engines that sample themselves."""
    return int.from_bytes(_digest(name, seed)[:4], "big") >> 1


def choose_tokens(scores: torch.Tensor, numbers: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Choose each row's next token by inverting its distribution at the row's random number.

    The distribution is the softmax at the sampling temperature, cut to the nucleus: the likeliest
    tokens up to the one that reaches `top_p`. Sums run in token order and in float64, so that
    rounding (which differs between batch shapes) hardly ever changes a choice.

    Args:
        scores: Logits `[n_rows, vocabulary]`.
        numbers: One number per row, `[n_rows]`; unused at temperature 0, which is greedy.
        sampling: Temperature and top-p.

    Returns:
        Token ids `[n_rows]`.
    """
    if sampling.temperature == 0:
        return scores.argmax(-1)
    numbers = numbers.to(scores.device).unsqueeze(1)
    probability = (scores.float() / sampling.temperature).softmax(-1)
    if sampling.top_p == 1:
        return _invert(probability, numbers).squeeze(1)
    mass, tokens = probability.topk(min(_LIKELIEST, probability.shape[1]))
    choice = _from_sorted(mass, tokens, numbers, sampling.top_p)
    wide = mass.sum(-1) < sampling.top_p
    if bool(wide.any()):
        mass, tokens = probability[wide].sort(descending=True)
        choice[wide] = _from_sorted(mass, tokens, numbers[wide], sampling.top_p)
    return choice.squeeze(1)


def _from_sorted(
    mass: torch.Tensor, tokens: torch.Tensor, numbers: torch.Tensor, top_p: float
) -> torch.Tensor:
    before = mass.double().cumsum(-1) - mass
    mass = torch.where(before < top_p, mass, 0.0)
    tokens, order = tokens.sort(-1)
    return tokens.gather(1, _invert(mass.gather(1, order), numbers))


def _invert(mass: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Return where the running sum of `mass` `[n, k]` passes the share `numbers` `[n, 1]`."""
    total = mass.double().cumsum(-1)
    index = torch.searchsorted(total, numbers * total[:, -1:], right=True)
    return index.clamp_(max=mass.shape[1] - 1)


def _stream(name: str, seed: int) -> np.random.Generator:
    key = np.frombuffer(_digest(name, seed)[:16], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def _digest(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}|{name}".encode()).digest()
