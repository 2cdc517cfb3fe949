"""The environment of `make test-vllm` is built once, whole, and again when it is broken.

A wheel that is written here stands for vLLM; pip and venv are real, and need no network.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.projects import REPOSITORY

TOOL = REPOSITORY / "tools/vllm_environment.py"
BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from vllm_environment import EnvironmentMissingError, get_environment
try:
    print(get_environment(Path(sys.argv[2]), Path(sys.argv[3]), "import small"))
except EnvironmentMissingError as error:
    print(f"missing: {error}")
"""


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    """A list of one package, `small`."""
    wheel = tmp_path / "small-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small.py", "")
        archive.writestr(
            "small-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1"
        )
        archive.writestr(
            "small-1.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any",
        )
        archive.writestr("small-1.dist-info/RECORD", "")
    pins = tmp_path / "pins.txt"
    pins.write_text(f"{wheel}\n")
    return pins


def start(folder: Path, pins: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", BUILD, str(TOOL.parent), str(folder), str(pins)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def build(folder: Path, pins: Path) -> str:
    return start(folder, pins).communicate()[0].strip()


def works(folder: Path) -> bool:
    command = [folder / "bin/python", "-c", "import small"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_two_builds_at_once_give_one_environment(tmp_path: Path, pins: Path) -> None:
    folder = tmp_path / "cache/vllm-1"
    builds = [start(folder, pins) for _ in range(2)]

    assert {one.communicate()[0].strip() for one in builds} == {str(folder / "bin/python")}
    assert works(folder)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["vllm-1"]


def test_a_healthy_environment_is_kept_and_a_broken_one_rebuilt(tmp_path: Path, pins: Path) -> None:
    folder = tmp_path / "vllm-1"
    build(folder, pins)
    (folder / "mark").touch()
    build(folder, pins)
    assert (folder / "mark").exists()

    (module,) = folder.rglob("small.py")
    module.write_text("raise ImportError")
    build(folder, pins)
    assert works(folder)
    assert not (folder / "mark").exists()


def test_what_a_killed_build_left_is_removed(tmp_path: Path, pins: Path) -> None:
    folder = tmp_path / "vllm-1"
    (tmp_path / "vllm-1.part-killed/new").mkdir(parents=True)
    build(folder, pins)
    assert works(folder)
    assert not list(tmp_path.glob("*.part-*"))


def test_a_package_that_cannot_be_had_is_the_reason(tmp_path: Path, pins: Path) -> None:
    folder = tmp_path / "vllm-1"
    absent = tmp_path / "absent-1-py3-none-any.whl"
    pins.write_text(f"{absent}\n")
    answer = build(folder, pins)

    assert answer.startswith("missing: ERROR")
    assert absent.name in answer
    assert "\n" not in answer
    assert not folder.exists()


def test_a_python_that_the_owner_names_is_used_as_it_is(tmp_path: Path) -> None:
    env = {**os.environ, "TRAITVEC_VLLM_PYTHON": "/mine/python", "XDG_CACHE_HOME": str(tmp_path)}
    answer = subprocess.check_output([sys.executable, TOOL], env=env, text=True)

    assert answer == "TRAITVEC_VLLM_PYTHON=/mine/python\n"
    assert not list(tmp_path.iterdir())
