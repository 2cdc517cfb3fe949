"""A command loads what it uses: most answer without Dagster, and without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.projects import SmallProject
from traitvec_dagster.cli.main import app

pytestmark = pytest.mark.slow

HEAVY = {
    "anthropic", "dagster", "httpx", "matplotlib", "openai", "pandas", "scipy", "sklearn",
    "sqlalchemy", "torch", "transformers",
}  # fmt: skip
# What our own modules load (definitions, settings, stages) takes as long as all of the help.
OURS = {"traitvec_core.stages", "traitvec_core.trait"}
# Runs commands one after the other, and prints which of the packages are loaded then.
SCRIPT = f"""
import sys
from traitvec_dagster.cli.main import main
for command in sys.argv[1:]:
    sys.argv = ["traitvec", *command.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code, command
print("LOADED", *sorted({HEAVY | OURS!r} & set(sys.modules)))
"""
COMMANDS = [str(command.name) for command in app.registered_commands]


def loaded_after(folder: Path, *commands: str) -> set[str]:
    """Run commands in one new process; returns which of the modules above it has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *commands],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    helps = [f"{name} --help" for name in (*COMMANDS, "judgements", "judgements list")]
    assert len(helps) > 15
    assert loaded_after(tmp_path, "--help", *helps) == set()


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        ("check --experiment demo", set()),
        ("status", set()),
        # It reads the responses, and counts what is in the store of judgements.
        ("estimate --experiment demo", {"pandas"}),
    ],
)
def test_a_command_loads_only_what_it_uses(
    finished: SmallProject, command: str, needs: set[str]
) -> None:
    # The first status evaluates the checks, the others read its verdicts.
    loaded_after(finished.folder, "status")
    assert loaded_after(finished.folder, command) <= needs | OURS


def test_export_names_every_format(tmp_path: Path) -> None:
    from traitvec_core.exchange import FORMATS

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "export --help"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert all(name in done.stdout for name in FORMATS)
