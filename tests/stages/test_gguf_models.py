"""A GGUF file as an experiment's model: one model wherever it lies, another when it changes."""

from pathlib import Path

import pytest

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging import check_judge
from traitvec_core.judging.providers.table import provider_of
from traitvec_core.models.files import is_same_model, model_identity
from traitvec_core.stages import SPECS


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "cache"))


def _settings(path: Path) -> ExperimentSettings:
    return ExperimentSettings(model=str(path), judge_model=str(path), second_judge=str(path))


def test_a_moved_file_leaves_the_settings_of_every_stage_as_they_were(tmp_path: Path) -> None:
    first, second = tmp_path / "a.gguf", tmp_path / "folder" / "b.gguf"
    second.parent.mkdir()
    for path in (first, second):
        path.write_bytes(b"GGUF, and the same weights")
    moved = {name: spec.settings_of(_settings(second)) for name, spec in SPECS.items()}
    assert moved == {name: spec.settings_of(_settings(first)) for name, spec in SPECS.items()}
    assert str(tmp_path) not in str(moved)
    first.write_bytes(b"GGUF, and other weights")
    changed = {
        name for name, spec in SPECS.items() if spec.settings_of(_settings(first)) != moved[name]
    }
    assert {"responses", "judged_responses"} <= changed


def test_results_of_a_moved_file_are_still_of_this_model(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF")
    revision = model_identity(str(path)).removeprefix("gguf ")
    assert is_same_model(str(path), "elsewhere.gguf", revision)
    assert not is_same_model(str(path), "elsewhere.gguf", "sha256:0")
    assert not is_same_model("org/name", "elsewhere.gguf", revision)
    assert is_same_model("org/name", "org/name", None)
    assert model_identity("org/name") == "org/name"


def test_a_gguf_judge_runs_here_unless_there_is_a_server(tmp_path: Path) -> None:
    assert provider_of("gpt-4.gguf").name == "local"
    assert provider_of("models/small.GGUF").name == "local"
    # llama.cpp's server names its model by the file.
    assert provider_of("small.gguf", base_url="http://127.0.0.1:8080/v1").name == "openai"
    judge = tmp_path / "judge.gguf"
    judge.write_text("no model")
    with pytest.raises(TraitvecError, match="not a GGUF file"):
        check_judge(ExperimentSettings(model="embedded", judge_model=str(judge)))
