"""`dtype: bfloat16` on a CPU: activations, steering and judging stay close to float32."""

import pytest
import torch

from traitvec_core import steer
from traitvec_core.judging.providers.local import LocalJudge
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.models.steering import Addition

TEXTS = [
    ("How do I learn to swim?", "Begin in shallow water, and let someone hold you. " * n)
    for n in (1, 4, 16)
]


@pytest.fixture(scope="module")
def both() -> tuple[LanguageModel, LanguageModel]:
    wide, narrow = (
        load_language_model("embedded", dtype=dtype, device="cpu")
        for dtype in ("float32", "bfloat16")
    )
    return wide, narrow


def _means(model: LanguageModel) -> torch.Tensor:
    texts = [(model.prompt(question), response) for question, response in TEXTS]
    means = capture_means(model, texts)
    assert isinstance(means, torch.Tensor)
    return means


def test_means_are_summed_in_float32(both: tuple[LanguageModel, LanguageModel]) -> None:
    wide, narrow = (_means(model) for model in both)
    assert narrow.dtype == torch.float32
    # Short and long responses alike: a sum in bfloat16 loses the end of a long one.
    assert torch.cosine_similarity(wide, narrow, dim=-1).min() > 0.999
    assert ((wide - narrow).norm(dim=-1) / wide.norm(dim=-1)).max() < 0.02


def test_steering_adds_the_same_direction(both: tuple[LanguageModel, LanguageModel]) -> None:
    vector = torch.randn(both[0].hidden_dim, generator=torch.Generator().manual_seed(0))
    moved = []
    for model in both:
        before = _means(model)[:, 2]
        with steer(model, Addition(layer=2, vector=vector, coefficient=0.5)):
            moved.append(_means(model)[:, 2] - before)
    for change in moved:
        assert torch.cosine_similarity(change, vector[None], dim=-1).min() > 0.99
        assert (change @ vector / vector.norm() ** 2).tolist() == pytest.approx([0.5] * 3, rel=0.03)


def test_judging_gives_nearly_the_same_scores(
    both: tuple[LanguageModel, LanguageModel],
) -> None:
    scores = []
    for model in both:
        judged: dict[str, float | None] = {}
        LocalJudge(model).score(
            [f"Rate this answer from 0 to 100: {response[:80]}" for _, response in TEXTS],
            lambda batch: judged.update({k: j.score for k, j in batch.items()}),
        )
        scores.append(judged)
    assert scores[0].keys() == scores[1].keys()
    for prompt, score in scores[0].items():
        other = scores[1][prompt]
        assert (score is None) == (other is None)
        if score is not None:
            assert other == pytest.approx(score, abs=2.0)
