"""An owner who has allowed nothing yet, and an experiment from elsewhere."""

from collections.abc import Callable
from pathlib import Path

import pytest

from traitvec_core.storage.folders import ExperimentFolder

MakeExperiment = Callable[..., ExperimentFolder]


@pytest.fixture
def configuration(own_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration folder, without any record of trust."""
    folder = tmp_path / "configuration"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    monkeypatch.delenv("TRAITVEC_TRUST", raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def experiment(configuration: Path, tmp_path: Path) -> MakeExperiment:
    """Write `experiment.yaml` and other files of an experiment."""

    def make(settings: str, root: Path | None = None, **files: str) -> ExperimentFolder:
        folder = ExperimentFolder((root or tmp_path) / "experiments", "mine")
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.settings_path.write_text(settings)
        for name, text in files.items():
            file = folder.path / f"{name}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        return folder

    return make
