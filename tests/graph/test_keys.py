"""No key reaches the instance or the experiments: not in metadata, logs, run config or reports."""

import os
from pathlib import Path

import pytest

from tests.projects import FEW_VECTORS, SmallProject, snapshot

pytestmark = pytest.mark.slow

FROM_ENVIRONMENT = "sk-environment-0123456789abcdef"
FROM_FILE = "hf_fileonly0123456789abcdef"


def test_no_key_is_written_anywhere(empty: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, FROM_ENVIRONMENT)
    (empty.folder / ".env").write_text(f"HF_TOKEN={FROM_FILE}\n")
    with SmallProject(empty.folder) as project:  # opened again, so that .env is read
        assert os.environ["HF_TOKEN"] == FROM_FILE
        good = project.run("refusal", **FEW_VECTORS)
        assert good.is_good, good.problems
        # A failure keeps a stack trace in the event log.
        bad = project.run("uncertainty", model="/no/such/model", **FEW_VECTORS)
        assert not bad.is_success
    folder = empty.folder
    assert _files_with(folder / ".dagster", FROM_ENVIRONMENT, FROM_FILE) == []
    assert _files_with(folder / "experiments", FROM_ENVIRONMENT, FROM_FILE) == []


def _files_with(folder: Path, *secrets: str) -> list[str]:
    found = snapshot(folder)
    assert found
    return [
        name
        for name, (_, data) in found.items()
        if any(secret.encode() in data for secret in secrets)
    ]
