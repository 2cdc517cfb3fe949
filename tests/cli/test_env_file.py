"""`.env` sets keys and passwords, and nothing that chooses a program or an address."""

import os
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import REPOSITORY, write_experiment
from traitvec_dagster.env_file import SECRETS, read_env_file

HARMFUL = {
    "PYTHONPATH": "/tmp/evil", "LD_PRELOAD": "/tmp/evil.so", "HTTPS_PROXY": "http://evil.example",
    "OPENAI_BASE_URL": "http://evil.example", "HF_ENDPOINT": "http://evil.example",
    "DAGSTER_HOME": "/tmp/evil", "TRAITVEC_TRUST": "all", "TRAITVEC_VLLM_PYTHON": "/tmp/evil",
    "TRAITVEC_UI_ORIGINS": "https://evil.example", "TRAITVEC_STORAGE": "s3://evil",
    "TRAITVEC_WEBHOOK_URL": "http://evil.example", "AWS_ENDPOINT_URL": "http://evil.example",
    "XDG_CONFIG_HOME": "/tmp/evil", "OPENAI_CUSTOM_HEADERS": "X: y", "PATH": "/tmp/evil",
}  # fmt: skip


@pytest.fixture
def env_file(own_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in HARMFUL.keys() - {"PATH"}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".env"


def write(file: Path, values: dict[str, str], mode: int = 0o600) -> list[str]:
    file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    file.chmod(mode)
    return read_env_file(file)


def test_keys_are_set_and_the_environment_comes_first(env_file: Path) -> None:
    os.environ["HF_TOKEN"] = "of the shell"
    for name in SECRETS[1:]:
        os.environ.pop(name, None)
    assert write(env_file, dict.fromkeys(SECRETS, "of the file")) == []
    assert os.environ["HF_TOKEN"] == "of the shell"
    assert {os.environ[name] for name in SECRETS[1:]} == {"of the file"}


@pytest.mark.parametrize("name", HARMFUL)
def test_all_else_is_ignored_in_one_line(env_file: Path, name: str) -> None:
    before = os.environ.get(name)
    (note,) = write(env_file, {name: HARMFUL[name], "HF_TOKEN": "x"})
    assert os.environ.get(name) == before
    assert os.environ["HF_TOKEN"] == "x"
    assert note.startswith(f".env: {name} ignored")
    assert "evil" not in note


def test_one_key_cannot_be_copied_into_the_variable_of_another(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-owner")
    write(env_file, {"JUDGE_API_KEY": "${OPENAI_API_KEY}"})
    assert "sk-of-the-owner" not in os.environ["JUDGE_API_KEY"]


def test_many_names_and_odd_ones_stay_one_line(env_file: Path) -> None:
    (note,) = write(env_file, {f"NAME_{n}": "x" for n in range(100)})
    assert "NAME_4 and 95 more ignored" in note
    assert len(note) < 300


def test_empty_lines_and_what_the_shell_says_too_need_no_note(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAITVEC_STORAGE", "s3://own")
    assert write(env_file, {"TRAITVEC_STORAGE": "s3://own", "TRAITVEC_UI_ORIGINS": ""}) == []


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_noted(env_file: Path, mode: int) -> None:
    (note,) = write(env_file, {"HF_TOKEN": "x"}, mode)
    assert note == ".env: other users of this machine can read your keys; run `chmod 600 .env`"


@pytest.mark.parametrize(
    ("data", "problem"),
    [(b"\xff\xfe\x00=1\n", "is not UTF-8"), (b"A=1\n" * 100_000, "400,000 bytes long")],
)
def test_a_file_that_is_no_text_stops_nothing(traitvec: Command, data: bytes, problem: str) -> None:
    write_experiment(Path.cwd(), "demo", ["refusal"])
    Path(".env").write_bytes(data)
    done = traitvec("check", "--experiment", "demo")
    assert done.code == 0
    (line,) = done.error_lines
    assert problem in line
    assert line.endswith("nothing is read from it")


def test_run_check_and_doctor_say_it_once(traitvec: Command) -> None:
    write_experiment(Path.cwd(), "demo", ["refusal"])
    write(Path(".env"), {"PYTHONPATH": "/tmp/evil"}, 0o644)
    ignored, readable = "PYTHONPATH ignored", "chmod 600 .env"
    for command in (
        ("check", "--experiment", "demo"),
        ("run", "--experiment", "demo", "--trait", "nothing"),
    ):
        lines = traitvec(*command).error_lines
        assert [ignored in line for line in lines].count(True) == 1
        assert [readable in line for line in lines].count(True) == 1
    out = traitvec("doctor").out
    assert out.count(ignored) == 1
    assert out.count(readable) == 1


def test_the_docs_list_what_it_may_set() -> None:
    example = (REPOSITORY / ".env.example").read_text()
    assert re.findall(r"^#? ?([A-Z_]+)=", example, re.MULTILINE) == list(SECRETS)
    (sentence,) = re.findall(
        r"`\.env` may set (.*?):", (REPOSITORY / "docs/operating.md").read_text()
    )
    assert re.findall(r"`([A-Z_]+)`", sentence) == list(SECRETS)
