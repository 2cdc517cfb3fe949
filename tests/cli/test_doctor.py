"""doctor: what is there, what is missing, and never a key."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import SmallProject

KEYS = {
    "HF_TOKEN": "hf_secret0123456789",
    "OPENAI_API_KEY": "sk-secret-openai-0123",
    "ANTHROPIC_API_KEY": "sk-ant-secret-0123",
}


def test_doctor_shows_no_key(
    traitvec: Command, empty: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", KEYS["HF_TOKEN"])
    monkeypatch.setenv("OPENAI_API_KEY", KEYS["OPENAI_API_KEY"])
    (empty.folder / ".env").write_text(f"ANTHROPIC_API_KEY={KEYS['ANTHROPIC_API_KEY']}\n")
    done = traitvec("doctor")
    assert done.code == 0, done.out + done.err
    for name, value in KEYS.items():
        assert f"ok      {name}: set" in done.out
        assert value not in done.out + done.err
        assert value[:8] not in done.out + done.err


def test_doctor_says_what_a_missing_key_would_allow(traitvec: Command) -> None:
    done = traitvec("doctor")
    assert done.code == 0
    for name in KEYS:
        assert f"absent  {name}: not set" in done.out
        assert f"then put {name}=… into .env" in done.out
    assert "absent  experiments: no folder" in done.out
    assert "ok      embedded model:" in done.out
    assert "ok      Dagster: 0 runs" in done.out


def test_doctor_names_what_is_broken(traitvec: Command) -> None:
    home = Path(".dagster")
    home.mkdir()
    (home / "dagster.yaml").write_text("storage: {nonsense: true}\n")
    done = traitvec("doctor")
    assert done.code == 1
    line = next(line for line in done.out.splitlines() if line.startswith("BROKEN"))
    assert "Dagster" in line
    assert "Traceback" not in done.out + done.err
