"""`traitvec try --revise` on a terminal: it shows old and new texts, and asks before it changes."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.projects import REPOSITORY, write_experiment
from tests.providers.server import FakeProvider
from tests.trial.rewording import QUESTION, good_rewording
from tests.trial.traits import USUAL, sabotaged

pytestmark = pytest.mark.services

TRAIT = "verbosity"
ASKS = "Change the definition? The earlier one is kept"


def _answer(folder: Path, keys: bytes) -> tuple[int, str, str]:
    """Run the command with a terminal as its input, and type keys there.

    Returns:
        Exit code, output and error stream.
    """
    ours, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            [
                sys.executable, "-W", "ignore", "-c",
                "from traitvec_dagster.cli.main import main; main()",
                "try", "--experiment", "mine", "--trait", TRAIT, "--revise",
                "--writer-model", "gpt-6.1-terra",
            ],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"},
            stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        # The terminal keeps them until the command reads.
        os.write(ours, keys)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err
    finally:
        os.close(ours)
        os.close(terminal)


def test_only_yes_changes_the_definition_and_no_costs_nothing_again(
    tmp_path: Path, own_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    write_experiment(tmp_path, "mine", [TRAIT], USUAL)
    path = tmp_path / f"experiments/mine/{TRAIT}/trait_definition.json"
    path.write_text(json.dumps(sabotaged(TRAIT)))
    before = path.read_bytes()
    with FakeProvider(good_rewording(TRAIT)) as server:
        os.environ["OPENAI_BASE_URL"] = server.base_url_openai
        os.environ["OPENAI_API_KEY"] = "sk-test"
        code, out, err = _answer(tmp_path, b"n\n")
        assert (code, path.read_bytes()) == (0, before)
        assert ASKS in err
        assert f"questions[8] + {QUESTION}" in err
        assert "the definition is as it was; the new texts are kept and cost nothing again" in out
        # The end of the input is no yes, either.
        code, out, err = _answer(tmp_path, b"\x04")
        assert code != 0
        assert path.read_bytes() == before
        assert "Traceback" not in out + err
        assert server.log.total == 2

        code, out, err = _answer(tmp_path, b"maybe\ny\n")
        assert code == 0, err
        assert err.count(ASKS) == 2
        assert server.log.total == 2
    assert json.loads(path.read_text())["questions"][8] == QUESTION
    assert (path.parent / "trait_definition.1.json").read_bytes() == before
