"""`make bench` writes each figure as it is measured, and a finished run replaces the last one."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.quoted import QUOTED, update_page
from benchmarks.record import Record, figure, is_met, ratio

PROJECT = Path(__file__).parents[1]
_KILLED = """
import os, signal, sys
from pathlib import Path
from benchmarks.record import Record, figure
def figures():
    yield figure("first", 1.0, "s")
    os.kill(os.getpid(), signal.SIGKILL)
Record(Path(sys.argv[1]), {"machine": "of the killed run"}).add(figures())
"""


def test_a_killed_run_leaves_its_figures_and_those_of_the_last_finished_run(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    whole = Record(path, {"machine": "m"})
    whole.add([figure("first", 2.0, "s"), figure("second", 3.0, "s")])
    whole.finish()
    before = path.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(path)], check=False, cwd=PROJECT, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == before
    left = json.loads((tmp_path / "results.unfinished.json").read_text())
    assert left["machine"] == "of the killed run"
    assert "finished" not in left
    assert [row["figure"] for row in left["figures"]] == ["first"]


def test_a_ratio_is_the_median_of_pairs_with_their_range() -> None:
    row = ratio("a / b", [2.0, 9.0, 4.0], [1.0, 3.0, 1.0], at_least=3.0)
    assert (row["value"], row["lowest"], row["highest"]) == (3.0, 2.0, 4.0)
    assert is_met(row) is True
    assert is_met(ratio("a / b", [2.0], [1.0], at_most=1.5)) is False
    assert is_met(figure("a", 1.0, "s")) is None


def test_a_page_gets_every_quoted_figure_of_a_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n| figure | value |\n| --- | --- |\n| old | 9.9 |\n\nAfter.\n")
    figures = [figure(name, 1.2345, "ratio") for name in QUOTED]
    update_page(page, figures)
    text = page.read_text()
    assert text.startswith("Before.\n\n| figure | value |")
    assert text.endswith("|\n\nAfter.\n")
    rows = dict(re.findall(r"^\| (.+) \| (1[\d.]+) \|$", text, re.M))
    assert rows == {name: f"{1.2345:.{digits}f}" for name, digits in QUOTED.items()}
    with pytest.raises(KeyError):
        update_page(page, figures[:-1])
