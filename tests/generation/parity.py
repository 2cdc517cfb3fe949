"""Does an engine do what transformers does? Checks that hold for every engine that reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from traitvec_core.dynamics import WatchedVector, stream, trace
from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts
from traitvec_core.generation.request import Generated, GenerationEngine
from traitvec_core.models.activations import capture_means
from traitvec_core.models.interventions import (
    Ablation,
    Addition,
    Cap,
    Intervention,
    Projection,
)
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.local_reader import LocalReader
from traitvec_core.models.reading import Reader, Reading

__all__ = ["CHECKS", "OffByOne", "Parity"]

POSITIONS = ["response_mean", "response_first_3", "prompt_avg", "prompt_last"]
QUESTIONS = [
    "Why?",
    "Tell me about the sea.",
    "What is rust, and how can I keep an old bicycle from rusting in a wet winter?",
    "Tell me about the sea, the moon, the tides, and what sailors thought of them long ago.",
    "How do I boil an egg?",
]
# One begins as the other ends: a cache of prefixes has something to share.
INSTRUCTIONS = [None, "Be brief.", "Be brief. Answer as a sailor would, and never mention land."]
GREEDY = Sampling(temperature=0, max_new_tokens=12)


@dataclass
class Parity:
    """One engine, and the same weights in this process.

    Attributes:
        engine: What is examined.
        model: The reference.
        relative: Largest error of a mean or of a token's state, over the norm of the reference.
        logit: Largest error of a logit.
        greedy: How far from the best a greedy token's logit may be.
        instructions: Different beginnings of the prompts.
    """

    engine: GenerationEngine
    model: LanguageModel
    relative: float
    logit: float
    greedy: float
    instructions: Sequence[str | None] = field(default_factory=lambda: INSTRUCTIONS)

    @property
    def reader(self) -> Reader:
        assert self.engine.reader is not None
        return self.engine.reader

    @property
    def prompts(self) -> list[str]:
        return [self.model.prompt(q, i) for q in QUESTIONS for i in self.instructions]

    def vector(self, layer: int, seed: int = 0) -> torch.Tensor:
        """A direction half as long as the residual stream at a layer."""
        ids = self.model.encode_prompt(self.prompts[0])
        size = LocalReader(self.model).hidden(ids, [layer])[layer][1:].norm(dim=-1).mean()
        drawn = torch.randn(self.model.hidden_dim, generator=torch.Generator().manual_seed(seed))
        return drawn / drawn.norm() * float(size) / 2

    def interventions(self) -> list[tuple[Intervention, ...]]:
        """What a row may be steered by: alone, together, at the first and at the last layer."""
        n = self.model.n_blocks
        middle = n // 2
        v, w = self.vector(middle), self.vector(middle, 1)
        return [
            (),
            (Addition(middle, v, 1.0),),
            (Addition(middle, v, -1.0), Ablation(middle, w)),
            (Ablation(middle, v),),
            (Cap(middle, v, high=-0.1 * float(v.norm())),),
            (Projection(middle, v, 0.3 * float(v.norm())),),
            (Addition(0, self.vector(0)),),
            (Addition(n, self.vector(n)),),
            (Addition(1, self.vector(1)), Addition(middle, w, 0.5)),
        ]

    def texts(self) -> list[tuple[str, str]]:
        """Prompts with responses of very different lengths."""
        words = "It depends on the wind and the water, as every sailor knows well enough."
        return [(prompt, words * (1 + i % 4)) for i, prompt in enumerate(self.prompts)]


def check_greedy_responses(parity: Parity) -> None:
    """Every token is the reference's best one, or as good; alone, together, steered or not."""
    names = [str(i) for i in range(len(parity.prompts))]
    kinds = parity.interventions()
    rows = [kinds[i % len(kinds)] for i in range(len(names))]
    for items in ([()] * len(names), rows):
        written: dict[str, Generated] = {}
        generate_texts(
            parity.engine, names, parity.prompts, GREEDY, interventions=items,
            on_finished=lambda new, written=written: written.update({t.name: t for t in new}),
        )  # fmt: skip
        assert list(written) != []
        assert set(written) == set(names)
        for name, prompt, steered in zip(names, parity.prompts, items, strict=True):
            ids = written[name].ids
            assert ids is not None
            _check_tokens(parity, prompt, list(ids), steered)
    _check_that_steering_matters(parity, rows)


def _check_tokens(
    parity: Parity, prompt: str, ids: list[int], steered: tuple[Intervention, ...]
) -> None:
    begin = parity.model.encode_prompt(prompt)
    logits = LocalReader(parity.model).logits([*begin, *ids], *steered)[len(begin) - 1 : -1]
    chosen = logits[torch.arange(len(ids)), torch.tensor(ids)] if ids else torch.zeros(0)
    assert bool((logits.amax(-1)[: len(ids)] - chosen <= parity.greedy).all()), prompt


def _check_that_steering_matters(parity: Parity, rows: list[Any]) -> None:
    """Else the check of steered responses would pass for an engine that does not steer."""
    reader, ids = LocalReader(parity.model), parity.model.encode_prompt(parity.prompts[0])
    plain = reader.logits(ids)
    assert all((reader.logits(ids, *r) - plain).abs().max() > 2 * parity.greedy for r in rows if r)


def check_means(parity: Parity) -> None:
    """At every layer and position, in batches of any size and order, cached or not."""
    texts = parity.texts()
    expected = capture_means(parity.model, texts, positions=POSITIONS)
    forward = list(range(len(texts)))
    for order, batch_size in ((forward, None), (forward[::-1], 1), (forward, 3)):
        read = capture_means(
            parity.reader, [texts[i] for i in order], positions=POSITIONS, batch_size=batch_size
        )
        for name in POSITIONS:
            _close(read[name], expected[name][order], parity.relative)


def check_generated_tokens_are_read(parity: Parity) -> None:
    """Means over tokens that were generated, and nothing for a text without any."""
    prompt = parity.prompts[1]
    ids = parity.model.encode_prompt(parity.prompts[2])[:7]
    read = capture_means(parity.reader, [(prompt, ""), (prompt, "")], response_ids=[ids, []])
    expected = capture_means(parity.model, [(prompt, "")], response_ids=[ids])
    _close(read[:1], expected, parity.relative)
    assert read[1].isnan().all()


def check_logits(parity: Parity) -> None:
    """Plain and steered: the distribution over the next token."""
    ids = parity.model.encode_prompt(parity.prompts[4])
    for items in parity.interventions():
        expected = LocalReader(parity.model).logits(ids, *items)
        error = (parity.reader.logits(ids, *items) - expected).abs()
        # The first token's state can be a hundred times the others', and steering cannot move it.
        assert error[1:].max() <= parity.logit


def check_projections(parity: Parity) -> None:
    """Token by token, of a given text and of one that is written."""
    vectors = [
        WatchedVector(f"at_{layer}", f"mean_diff_layer{layer}", layer, parity.vector(layer), 1.0)
        for layer in {0, 1, parity.model.n_blocks // 2, parity.model.n_blocks}
    ]
    prompt = parity.prompts[2]
    *_, written = stream(parity.engine, prompt, vectors, GREEDY)
    ids = list(written.token_ids[written.n_prompt :])
    expected = trace(parity.model, prompt, ids, vectors)
    assert written.token_ids == expected.token_ids
    for read in (written, trace(parity.reader, prompt, ids, vectors)):
        for name, curve in expected.curves.items():
            np.testing.assert_allclose(
                read.curves[name].cosine, curve.cosine, atol=parity.relative, rtol=0
            )


def _close(read: torch.Tensor, expected: torch.Tensor, relative: float) -> None:
    assert read.shape == expected.shape
    error = (read - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert float(error.max()) <= relative, error.amax(dim=0)


class OffByOne:
    """A reader whose layers are one too low."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.language_model = reader.language_model

    def means(self, readings: Sequence[Reading], **options: Any) -> torch.Tensor:
        return self._reader.means(readings, **options).roll(1, dims=2)

    def hidden(self, ids: Sequence[int], layers: Sequence[int]) -> dict[int, torch.Tensor]:
        below = self._reader.hidden(ids, [max(0, layer - 1) for layer in layers])
        return {layer: below[max(0, layer - 1)] for layer in layers}

    def logits(self, ids: Sequence[int], *interventions: Intervention) -> torch.Tensor:
        return self._reader.logits(ids, *interventions)


CHECKS: dict[str, Callable[[Parity], None]] = {
    "greedy responses": check_greedy_responses,
    "means": check_means,
    "generated tokens": check_generated_tokens_are_read,
    "logits": check_logits,
    "projections": check_projections,
}
