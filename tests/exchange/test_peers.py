"""Round trips with the peers' own code, each in its own virtual environment.

The peers see our torch and transformers; what they want otherwise is pinned and installed beside
them. The module is skipped, with the reason, where no package registry can be reached.
"""

import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from traitvec_core.embedded import embedded_model_path
from traitvec_core.exchange import export_vectors
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.storage.folders import ExperimentFolder

pytestmark = pytest.mark.slow

gguf = pytest.importorskip("gguf")

HERE = Path(__file__).parent
# repeng 0.4.0 names np.float_, which numpy 2 has dropped. Both import with our transformers 5,
# though steering-vectors' own metadata asks for less than 5.
REPENG = ("repeng==0.4.0", "gguf==0.19.0", "numpy==1.26.4", "tqdm")
STEERING_VECTORS = ("steering-vectors==0.12.2",)
COEFFICIENT = 1.7
# Rounding of float32 logits that are about 10 in size; a vector one block off moves them by more
# than 0.1, as a test below holds.
TOLERANCE = 1e-4


def new_environment(folder: Path, packages: Sequence[str]) -> Path:
    """Make a virtual environment with these packages, over those of ours; returns its python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps",
         "--disable-pip-version-check", *packages],
        check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if installed.returncode:
        pytest.skip(f"no registry that has {', '.join(packages)}: {installed.stderr[-300:]}")
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    ours = sysconfig.get_paths()["purelib"]
    (site / "site-packages" / "ours.pth").write_text(f"{ours}\n")
    return python


@pytest.fixture(scope="module")
def repeng(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_environment(tmp_path_factory.mktemp("repeng"), REPENG)


@pytest.fixture(scope="module")
def steering_vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_environment(tmp_path_factory.mktemp("steering_vectors"), STEERING_VECTORS)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_language_model("embedded")


@pytest.fixture(scope="module")
def ids(model: LanguageModel) -> torch.Tensor:
    return torch.tensor([model.encode_prompt(model.prompt("How do I paint a fence?"))])


def logits(
    model: LanguageModel, ids: torch.Tensor, vectors: dict[int, torch.Tensor] | None = None
) -> torch.Tensor:
    """Our steering, by hand: coefficient · vector on the output of block k, counted from 1."""
    hooks = [
        model.blocks[k - 1].register_forward_hook(
            lambda module, args, output, vector=vector: output + COEFFICIENT * vector
        )
        for k, vector in (vectors or {}).items()
    ]
    try:
        with torch.no_grad():
            return model.model(input_ids=ids).logits
    finally:
        for hook in hooks:
            hook.remove()


def steer_by_peer(python: Path, driver: str, folder: Path, ids: torch.Tensor) -> None:
    """Let a peer steer with every file of a folder: `v.gguf` gives `v.out`."""
    torch.save(ids, folder / "ids.pt")
    words = [python, HERE / driver, embedded_model_path(), folder, COEFFICIENT]
    done = subprocess.run(
        list(map(str, words)), check=False, capture_output=True, text=True, timeout=300, cwd=folder
    )
    assert done.returncode == 0, done.stderr


def ours(demo: ExperimentFolder, layers: Sequence[int]) -> dict[int, torch.Tensor]:
    return {k: demo.trait("refusal").read_vector("mean_diff", k) for k in layers}


def largest_difference(out: Path, expected: torch.Tensor, peer: str) -> float:
    theirs = torch.load(out, weights_only=True)["logits"]
    difference = float((theirs - expected).abs().max())
    print(f"{peer}, {out.name}: largest difference of a logit {difference:.2g}")
    return difference


def test_repeng_steers_to_our_logits(
    demo: ExperimentFolder, model: LanguageModel, ids: torch.Tensor, repeng: Path, tmp_path: Path
) -> None:
    choices = {"v2": [2], "v5": [5], "vall": [2, 3, 4, 5]}
    for name, layers in choices.items():
        path = tmp_path / f"{name}.gguf"
        export_vectors(demo, ["refusal"], "gguf", path, method="mean_diff", layers=layers)
    steer_by_peer(repeng, "peer_repeng.py", tmp_path, ids)
    for name, layers in choices.items():
        path = tmp_path / f"{name}.gguf"
        expected = logits(model, ids, ours(demo, layers))
        assert largest_difference(path.with_suffix(".out"), expected, "repeng") < TOLERANCE
        assert torch.load(path.with_suffix(".out"), weights_only=True)["model_type"] == "llama"
        # What repeng writes again holds the same directions under the same names.
        first, again = (
            {t.name: np.array(t.data) for t in gguf.GGUFReader(p).tensors}
            for p in (path, path.with_suffix(".again"))
        )
        assert first.keys() == again.keys() == {f"direction.{k - 1}" for k in layers}
        assert all(np.array_equal(first[name], again[name]) for name in first)


def test_steering_vectors_steers_to_our_logits(
    demo: ExperimentFolder,
    model: LanguageModel,
    ids: torch.Tensor,
    steering_vectors: Path,
    tmp_path: Path,
) -> None:
    choices = {"v1": [1], "v3": [3], "vall": [1, 2, 3, 4, 5]}
    for name, layers in choices.items():
        path = tmp_path / f"{name}.pt"
        export_vectors(
            demo, ["refusal"], "steering-vectors", path, method="mean_diff", layers=layers
        )
    steer_by_peer(steering_vectors, "peer_steering_vectors.py", tmp_path, ids)
    for name, layers in choices.items():
        expected = logits(model, ids, ours(demo, layers))
        out = tmp_path / f"{name}.out"
        assert largest_difference(out, expected, "steering-vectors") < TOLERANCE


def test_an_error_of_one_block_would_be_seen(
    demo: ExperimentFolder, model: LanguageModel, ids: torch.Tensor
) -> None:
    (vector,) = ours(demo, [3]).values()
    right = logits(model, ids, {3: vector})
    assert (right - logits(model, ids)).abs().max() > 0.1
    for wrong in (2, 4):
        assert (right - logits(model, ids, {wrong: vector})).abs().max() > 0.1
