"""A model's folder from elsewhere: weights, and nothing that runs."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from traitvec_core.embedded import embedded_model_path
from traitvec_core.errors import TraitvecError
from traitvec_core.models.language_model import load_language_model


class Hostile:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The embedded model as a folder of the user."""
    return Path(shutil.copytree(embedded_model_path(), tmp_path / "model"))


def test_a_pickle_in_place_of_the_weights_is_refused_unread(folder: Path, tmp_path: Path) -> None:
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    torch.save({"weight": Hostile(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(TraitvecError, match="could not be loaded"):
        load_language_model(str(folder))
    assert not (tmp_path / "ran").exists()


def test_code_beside_the_weights_is_not_run(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (folder / "modeling_own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: ...\n")
    config = json.loads((folder / "config.json").read_text())
    names = ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer")
    config["auto_map"] = dict.fromkeys(names, "modeling_own.Own")
    config["model_type"] = "own"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(TraitvecError, match="trust_remote_code"):
        load_language_model(str(folder))
    assert not mark.exists()


def test_a_kernel_that_the_configuration_names_is_not_fetched(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["attn_implementation"] = "someone/kernel"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(TraitvecError, match="could not be loaded"):
        load_language_model(str(folder))
