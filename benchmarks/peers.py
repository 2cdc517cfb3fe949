"""Vectors from the same texts by repeng, steering-vectors and persona-vectors' way, and by ours.

Each side reads the same texts on SmolLM2 and returns a vector for every layer. Times are CPU times,
in turn. Where two definitions agree, so must the vectors: their cosine is a figure too.

repeng 0.4.0 and steering-vectors 0.12.2 are installed without their requirements into a folder of
this benchmark: they ask for numpy below 2 and transformers below 5, yet run with ours.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.record import Figure, figure, ratio
from benchmarks.smollm2 import Text, real_model, written
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.vectors import extract_vectors

__all__ = ["figures"]

_FOLDER = Path(__file__).parent.parent / "build/bench-peers"
_REQUIREMENTS = """\
repeng==0.4.0 --hash=sha256:9192ac3118cff53f78ab18a899975e719a09e9cb8d44e90aae757655152cd3ce
steering-vectors==0.12.2 --hash=sha256:e2556b27bb2344c7306d7768818900579590307e516e83e9b646187824e79b9f
"""  # noqa: E501
N_TEXTS = 32
REPEATS = 3
# Layer → vector.
Vectors = dict[int, np.ndarray]


def figures() -> Iterator[Figure]:
    """Yield for each tool the ratio of CPU times and, where it is due, the cosine of vectors."""
    install()
    model = real_model()
    texts = written(N_TEXTS)
    n_tokens = [len(model.encode_response(*text).ids) for text in texts]
    yield figure("texts of SmolLM2 for vectors, mean length", float(np.mean(n_tokens)), "tokens")
    # The last layer of persona-vectors is after the final norm, where ours is before.
    inner = range(1, model.n_blocks)
    sides: tuple[tuple[str, Callable[..., Vectors], Callable[..., Vectors], str], ...] = (
        ("repeng", _repeng, _ours_at_last_token, ""),
        ("steering-vectors", _steering_vectors, _ours_at_last_token, "mean of differences"),
        ("persona-vectors' way", _one_by_one, _ours_over_response, "mean over response tokens"),
    )
    for name, theirs, ours, definition in sides:
        seconds: tuple[list[float], list[float]] = ([], [])
        results: list[Vectors] = [{}, {}]
        for _ in range(REPEATS):
            for side, work in enumerate((theirs, ours)):
                started = time.process_time()
                results[side] = work(model, texts)
                seconds[side].append(time.process_time() - started)
        yield ratio(f"{name} / ours, vectors of SmolLM2 from {N_TEXTS} texts", *seconds)
        if definition:
            lowest = min(_cosine(results[0][layer], results[1][layer]) for layer in inner)
            yield figure(
                f"{name} and ours, lowest cosine of all layers", lowest, "cosine",
                at_least=0.999, note=definition,
            )  # fmt: skip


def install() -> None:
    """Install the two packages if they are not there, and let them be imported.

    Raises:
        SystemExit: If they cannot be had.
    """
    if not (_FOLDER / "repeng").exists() or not (_FOLDER / "steering_vectors").exists():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        requirements = _FOLDER / "requirements.txt"
        requirements.write_text(_REQUIREMENTS)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--target", str(_FOLDER)]
        if subprocess.run([*command, *options, "-r", str(requirements)], check=False).returncode:
            sys.exit("repeng and steering-vectors could not be installed; try again with network")
    if str(_FOLDER) not in sys.path:
        # At the end, so that nothing there shadows what is installed.
        sys.path.append(str(_FOLDER))
    # repeng names a type that numpy 2 has removed, in an annotation.
    if not hasattr(np, "float_"):
        np.float_ = np.float64  # type: ignore[attr-defined]


# -- theirs -----------------------------------------------------------------------------------


def _repeng(model: LanguageModel, texts: Sequence[Text]) -> Vectors:
    """Batches of 32 with all hidden states; the first component of differences at the last token.

    repeng centres the differences before it looks for the component, and we do not.
    """
    from repeng import ControlVector, DatasetEntry

    pairs = [DatasetEntry(*pair) for pair in _pairs(texts)]
    vector = ControlVector.train(model.model, model.tokenizer, pairs)
    return {layer + 1: values for layer, values in vector.directions.items()}


def _steering_vectors(model: LanguageModel, texts: Sequence[Text]) -> Vectors:
    """One text at a time, hooks on every block; the mean difference at the last token."""
    from steering_vectors import train_steering_vector

    vector = train_steering_vector(model.model, model.tokenizer, _pairs(texts))
    return {layer + 1: values.numpy() for layer, values in vector.layer_activations.items()}


def _one_by_one(model: LanguageModel, texts: Sequence[Text]) -> Vectors:
    """The published procedure of persona-vectors: whole model, one text at a time.

    All hidden states are kept, and averaged over the response's tokens; the vector is the
    difference of the means of the two poles.
    """
    means = []
    for text in texts:
        encoded = model.encode_response(*text)
        with torch.inference_mode():
            network: Any = model.model
            output = network(input_ids=torch.tensor([encoded.ids]), output_hidden_states=True)
        begin = encoded.n_prompt
        means.append(torch.stack([state[0, begin:].mean(0) for state in output.hidden_states]))
    by_text = torch.stack(means)
    gap = by_text[::2].mean(0) - by_text[1::2].mean(0)
    return dict(enumerate(gap.numpy()))


def _pairs(texts: Sequence[Text]) -> list[tuple[str, str]]:
    whole = [text.prompt + text.response for text in texts]
    return list(zip(whole[::2], whole[1::2], strict=True))


# -- ours -------------------------------------------------------------------------------------


def _ours_at_last_token(model: LanguageModel, texts: Sequence[Text]) -> Vectors:
    whole = [(text.prompt + text.response, "") for text in texts]
    return _extract(capture_means(model, whole, positions=["prompt_last"])["prompt_last"])


def _ours_over_response(model: LanguageModel, texts: Sequence[Text]) -> Vectors:
    return _extract(capture_means(model, texts))


def _extract(activations: torch.Tensor) -> Vectors:
    count, n_layers, _ = activations.shape
    vectors = extract_vectors(
        activations, np.arange(count) % 2 == 0, np.arange(count) // 2,
        layers=range(1, n_layers), methods=["mean_diff"],
    )  # fmt: skip
    return {item.layer: item.vector.numpy() for item in vectors}


def _cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


if __name__ == "__main__":
    for row in figures():
        sys.stdout.write(f"{row}\n")
