"""Processes whose wall clock is set forward or back."""

import os
import subprocess
import sys
from pathlib import Path

from tests.projects import REPOSITORY

# Read by Python at its start, before any module of ours or of Dagster's.
_SITE = """
import time

STEP_S = {step_s!r}
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + STEP_S
time.time_ns = lambda: _time_ns() + int(STEP_S * 1e9)

"""


def run_with_clock(step_s: float, code: str, folder: Path) -> str:
    """Run Python code in a process whose clock differs from this one's; returns what it prints.

    Args:
        step_s: Seconds by which its clock is ahead.
        code: The code.
        folder: Its working directory; the step is written below it.
    """
    site = folder / f"clock{step_s:g}"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(_SITE.format(step_s=step_s))
    paths = os.pathsep.join([str(site), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
