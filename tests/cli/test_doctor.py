"""doctor: what is there, what is missing, and never a key."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import SmallProject
from tests.providers.server import FakeProvider

KEYS = {
    "HF_TOKEN": "hf_secret0123456789",
    "OPENAI_API_KEY": "sk-secret-openai-0123",
    "ANTHROPIC_API_KEY": "sk-ant-secret-0123",
}


@pytest.mark.parametrize("is_right", [True, False])
def test_doctor_tries_the_keys_and_shows_none(
    traitvec: Command, empty: SmallProject, monkeypatch: pytest.MonkeyPatch, is_right: bool
) -> None:
    for name in ("HF_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, KEYS[name])
    (empty.folder / ".env").write_text(f"ANTHROPIC_API_KEY={KEYS['ANTHROPIC_API_KEY']}\n")
    with FakeProvider() as openai, FakeProvider() as anthropic:
        openai.valid_key = KEYS["OPENAI_API_KEY"] if is_right else "sk-another"
        anthropic.valid_key = KEYS["ANTHROPIC_API_KEY"]
        monkeypatch.setenv("OPENAI_BASE_URL", openai.base_url_openai)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", f"{anthropic.base_url_anthropic}/")
        done = traitvec("doctor")
        assert not openai.log.total, "nothing is asked that costs"
    assert done.code == (0 if is_right else 1), done.out + done.err
    assert "ok      HF_TOKEN: set" in done.out
    assert "ok      ANTHROPIC_API_KEY: set, and Anthropic accepts it" in done.out
    if is_right:
        assert "ok      OPENAI_API_KEY: set, and OpenAI accepts it" in done.out
    else:
        assert "BROKEN  OPENAI_API_KEY: OpenAI rejects it (401)" in done.out
    for value in KEYS.values():
        assert value not in done.out + done.err
        assert value[:8] not in done.out + done.err


@pytest.mark.parametrize("has_key", [True, False])
def test_doctor_and_check_name_a_judge_that_is_shut_down(
    traitvec: Command, empty: SmallProject, monkeypatch: pytest.MonkeyPatch, has_key: bool
) -> None:
    empty.set(judge_model="gpt-5-mini")
    with FakeProvider(models=["gpt-5-mini"]) as openai:
        openai.shutdown_dates = {"gpt-5-mini": "2031-05-06"}
        monkeypatch.setenv("OPENAI_BASE_URL", openai.base_url_openai)
        if has_key:
            monkeypatch.setenv("OPENAI_API_KEY", KEYS["OPENAI_API_KEY"])
        day = "2031-05-06" if has_key else "2026-12-11"
        doctor, check = traitvec("doctor"), traitvec("check", "--experiment", "demo")
    for text in (doctor.out, check.err):
        line = " ".join(text.split())
        assert f"on {day}" in line
        assert "write judge_model: gpt-6.1-terra instead" in line


def test_doctor_says_when_a_provider_cannot_be_reached(
    traitvec: Command, empty: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEYS["OPENAI_API_KEY"])
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    done = traitvec("doctor")
    assert done.code == 0
    assert "absent  OPENAI_API_KEY: set; OpenAI cannot be reached (ConnectError)" in done.out


def test_doctor_says_what_a_missing_key_would_allow(traitvec: Command) -> None:
    done = traitvec("doctor")
    assert done.code == 0
    for name in KEYS:
        assert f"absent  {name}: not set" in done.out
        assert f"then put {name}=… into .env" in done.out
    assert "absent  experiments: no folder" in done.out
    assert "ok      embedded model:" in done.out
    assert "ok      Dagster: 0 runs" in done.out


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="names the processor on Linux")
def test_doctor_recommends_bfloat16_where_the_processor_has_it(traitvec: Command) -> None:
    has_it = any(unit in Path("/proc/cpuinfo").read_text() for unit in ("avx512_bf16", "amx_bf16"))
    (line,) = (line for line in traitvec("doctor").out.splitlines() if "bfloat16: " in line)
    assert ("`dtype: bfloat16` halves" in line) == has_it
    assert ("float32 (`dtype: auto`) is faster" in line) != has_it


def test_doctor_names_what_is_broken(traitvec: Command) -> None:
    home = Path(".dagster")
    home.mkdir()
    (home / "dagster.yaml").write_text("storage: {nonsense: true}\n")
    done = traitvec("doctor")
    assert done.code == 1
    line = next(line for line in done.out.splitlines() if line.startswith("BROKEN"))
    assert "Dagster" in line
    assert "Traceback" not in done.out + done.err


def test_doctor_says_which_vllm_would_run(
    traitvec: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "python"
    asked.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/ran\necho 0.28.0 1.14.2\n")
    asked.chmod(0o755)
    # A project's .env must not choose a program.
    Path(".env").write_text(f"TRAITVEC_VLLM_PYTHON={asked}\n")
    monkeypatch.delenv("TRAITVEC_VLLM_PYTHON", raising=False)
    assert str(asked) not in traitvec("doctor").out
    assert not (tmp_path / "ran").exists()
    monkeypatch.setenv("TRAITVEC_VLLM_PYTHON", str(asked))
    assert f"vLLM: 0.28.0, interp-engine 1.14.2, in {asked}" in traitvec("doctor").out
    monkeypatch.setenv("TRAITVEC_VLLM_PYTHON", "/nowhere/python")
    done = traitvec("doctor")
    assert "/nowhere/python is no program" in done.out + done.err
