"""Every example runs as it stands, and says what it is there to show."""

import html
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES

pytestmark = pytest.mark.slow

Run = Callable[[str], str]
REFUSES = re.compile(r"cannot|not (be )?able|unable|decline|say no")


@pytest.fixture
def run(
    small_results: Path,
    tmp_path: Path,
    own_environment: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run an example as a script; returns what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TRAITVEC_EXPERIMENTS", str(small_results))

    def run_it(name: str) -> str:
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run_it


def test_every_script_is_tested_here_and_is_short() -> None:
    found = {path.stem: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    assert set(found) == {
        "demo_results", "steer", "own_texts", "monitor", "compare", "carry_away",
    }  # fmt: skip
    assert max(found.values()) <= 60


def test_steer_as_a_stranger_starts_it(small_results: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "TRAITVEC_EXPERIMENTS": str(small_results)}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, EXAMPLES / "steer.py"], check=False,
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refusal: ")
    _, *blocks = done.stdout.split("\n\n")
    parts = dict(block.split(":\n", 1) for block in blocks)
    assert list(parts) == ["as it is", "-1 × refusal", "+1 × refusal", "without the direction"]
    answers = {how: re.findall(r"^    (.+)$", text, re.M) for how, text in parts.items()}
    assert all(len(found) == 3 for found in answers.values())
    refusals = {how: sum(bool(REFUSES.search(a)) for a in found) for how, found in answers.items()}
    assert refusals["-1 × refusal"] < refusals["+1 × refusal"], answers


def test_own_texts(run: Run) -> None:
    said = run("own_texts")
    assert "examples, layers, dimensions: (32, 6, 192)" in said
    table = re.findall(r"^ +(\d) +((?:[\d.]+ \([\d.-]+\) *){5})$", said, re.M)
    assert [layer for layer, _ in table] == list("012345")
    assert re.search(r"(\w+) at layer \d separates best on questions", said)
    as_it_is, steered = re.findall(r"^  (?:as it is|steered): (.+)$", said, re.M)
    assert REFUSES.search(steered)
    assert steered != as_it_is


def test_monitor(run: Run) -> None:
    said = run("monitor")
    rows = re.findall(r"^ *(\S+) +(-?\d+\.\d) (█*)$", said, re.M)
    tokens = [token for token, _, _ in rows]
    assert "".join(tokens) == (
        "Agoodplanforgardeningistojoinalocalgroup.Ithelpstokeepnotes."
        "I'msorry,butIcannothelpwithgardening.Imustdeclinethisrequest."
    )
    turn = tokens.index("'m") - 1
    helping, refusing = (
        [len(bar) for _, _, bar in part] for part in (rows[: turn - 4], rows[turn + 4 :])
    )
    assert max(helping) < min(refusing), "the level rises where the text turns"
    # How far each response commits depends on the vector that so few responses recommend.
    assert re.search(r"^refusal n_tokens=\d+ .*commitment=(\d+|None)", said, re.M)
    written = said.splitlines()[-2].split(maxsplit=1)[1]
    assert said.splitlines()[-1] == "wrote monitor.html"
    page = html.unescape(re.sub("<[^>]+>", "", Path("monitor.html").read_text()))
    assert "I must decline this request." in page
    assert written in page


def test_compare(run: Run) -> None:
    said = run("compare")
    traits = ["refusal", "uncertainty", "verbosity"]
    cosines, aurocs = (
        {
            name: [float(value) for value in row.split()]
            for name, row in re.findall(r"^(\w+) +((?:-?\d\.\d\d ?\s*){3})$", part, re.M)
        }
        for part in re.split(r"AUROC of", said)
    )
    assert sorted(cosines) == sorted(aurocs) == traits
    for place, name in enumerate(cosines):
        assert cosines[name][place] == 1.0
        assert aurocs[name][place] > 0.8, "each vector separates its own poles"
    assert re.findall(r"^  (\w+): \w+ at layer \d, effect size \d", said, re.M) == traits
    assert set(re.findall(r"^  (\w+): -?\d\.\d\d$", said, re.M)) == {"verbose", "brief"}


def test_carry_away(run: Run) -> None:
    said = run("carry_away")
    # Two traits, two methods, five layers.
    assert "20 vectors of the model embedded" in said
    name, same = re.findall(r"^refusal/(\w+) came back the same: (\w+)$", said, re.M)[0]
    assert same == "True"
    theirs, ours = re.findall(r"^direction\.(\d): F32 \(192,\), our layer (\d)$", said, re.M)[0]
    assert int(ours) == int(theirs) + 1
    # A control vector cannot hold layer 1; the best of the other layers takes its place.
    assert name.endswith((f"_layer{ours}", "_layer1"))
    assert re.search(r"^llama-cli .*refusal\.gguf:1$", said, re.M)
