"""`traitvec trust`, and the commands that ask for it."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import write_experiment

SCORER = "python:scorers.py:words"
ASKS = (
    "experiments/demo/experiment.yaml: judge_model runs Python: words of its file scorers.py, not"
    " allowed here yet; read the file, then `traitvec trust demo`"
)


@pytest.fixture
def ran(traitvec: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the scorer of a foreign experiment writes as soon as it is imported."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.delenv("TRAITVEC_TRUST", raising=False)
    mark = tmp_path / "ran"
    folder = write_experiment(
        Path.cwd(), "demo", ["refusal"], {"judge_model": SCORER, "coherence_judge": "repetition"}
    )
    (folder / "scorers.py").write_text(
        f"open({str(mark)!r}, 'w')\ndef words(question, response): return 50\n"
    )
    return mark


def test_what_a_foreign_experiment_asks_for_is_shown_allowed_and_taken_back(
    traitvec: Command, ran: Path
) -> None:
    asked = "judge_model runs Python: words of its file scorers.py"
    shown = traitvec("trust", "demo", "--show")
    assert shown.code == 1
    assert f"not allowed  {asked}" in shown.out
    assert "sha256:" in shown.out
    allowed = traitvec("trust", "demo")
    assert allowed.code == 0
    assert allowed.out.splitlines()[0] == f"allowed  {asked}"
    assert traitvec("trust", "demo", "--show").code == 0
    assert not ran.exists()
    revoked = traitvec("trust", "demo", "--revoke")
    assert (revoked.code, revoked.out) == (0, "demo: nothing is allowed any more\n")
    assert traitvec("trust", "demo", "--show").code == 1
    assert traitvec("trust", "demo", "--revoke").out == "demo: nothing was allowed\n"


def test_what_runs_or_imports_asks_first(traitvec: Command, ran: Path) -> None:
    for command in (
        ("check", "--experiment", "demo"),
        ("run", "--experiment", "demo", "--trait", "refusal"),
        ("monitor", "--experiment", "demo", "--prompt", "Hello"),
    ):
        done = traitvec(*command)
        assert done.code == 1
        assert f"error: {ASKS}" in done.error_lines, command
    assert "trust in demo: judge_model runs Python" in traitvec("doctor").out
    assert not ran.exists()
    # Reading needs no trust.
    assert traitvec("status", "--experiment", "demo").code == 0
    assert traitvec("estimate", "--experiment", "demo").code == 0
    traitvec("trust", "demo")
    assert traitvec("check", "--experiment", "demo").code == 0
    assert ran.exists()


def test_who_types_it_is_asked_nothing(traitvec: Command, ran: Path) -> None:
    done = traitvec(
        "run", "--experiment", "demo", "--trait", "refusal", "--judge-model", "embedded",
        "--select", "responses", "--set", "n_examples=2",
    )  # fmt: skip
    assert done.code == 0, done.err


def test_an_experiment_that_was_written_here_is_trusted_as_it_stands(
    traitvec: Command, ran: Path
) -> None:
    folder = Path.cwd() / "experiments/own"
    folder.mkdir()
    (folder / "scorers.py").write_text("def words(question, response): return 50\n")
    made = traitvec("new-experiment", "own", "--model", "embedded", "--judge-model", SCORER)
    assert made.code == 0
    assert traitvec("trust", "own", "--show").code == 0
    text = (folder / "experiment.yaml").read_text()
    (folder / "experiment.yaml").write_text(f"{text}\njudge_base_url: http://127.0.0.1:1/v1\n")
    shown = traitvec("trust", "own", "--show")
    assert shown.code == 1
    assert (
        "not allowed  judge_base_url sends prompts, responses and JUDGE_API_KEY to"
        " http://127.0.0.1:1/v1" in shown.out
    )


def test_a_plain_experiment_needs_none(traitvec: Command, ran: Path) -> None:
    write_experiment(Path.cwd(), "plain", ["refusal"])
    for options in ((), ("--show",)):
        done = traitvec("trust", "plain", *options)
        assert (done.code, done.err) == (0, "")
        assert done.out == "plain: runs no code of its own and sends no key; needs no trust\n"
    assert traitvec("trust", "nowhere").code == 1
    assert traitvec("trust", "plain", "--show", "--revoke").code == 1


@pytest.mark.parametrize(
    ("address", "is_noted"),
    [
        ("http://judge.example.org/v1", True), ("http://8.8.8.8:8000/v1", True),
        ("http://[2001:4860::1]/v1", True), ("https://judge.example.org/v1", False),
        ("http://localhost:8000/v1", False), ("http://127.0.0.1/v1", False),
        ("http://10.1.2.3/v1", False), ("http://traitvec-engine:8900", False),
        ("http://judge.internal/v1", False),
    ],
)  # fmt: skip
def test_a_key_in_the_clear_is_noted(
    traitvec: Command, ran: Path, monkeypatch: pytest.MonkeyPatch, address: str, is_noted: bool
) -> None:
    write_experiment(
        Path.cwd(), "served", ["refusal"], {"judge_model": "own", "judge_base_url": address}
    )
    traitvec("trust", "served")
    note = f"note: JUDGE_API_KEY is sent to {address} without encryption"
    assert note not in traitvec("check", "--experiment", "served").err
    monkeypatch.setenv("JUDGE_API_KEY", "a-key-to-see")
    done = traitvec("check", "--experiment", "served")
    assert (note in done.err) == is_noted
    assert "a-key-to-see" not in done.out + done.err
