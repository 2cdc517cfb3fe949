"""The same seed gives the same bytes; another seed gives others."""

import os
import shutil
from pathlib import Path

import pytest

from tests.projects import FEW_VECTORS, SmallProject, results, write_experiment

pytestmark = pytest.mark.slow


def _run(folder: Path, new_instance: Path, seed: int, select: str) -> dict[str, bytes]:
    shutil.copytree(new_instance, folder / ".dagster")
    experiment = write_experiment(
        folder, "demo", ["refusal"],
        {**FEW_VECTORS, "methods": ["mean_diff", "ica"],
         "sampling": {"max_new_tokens": 24, "seed": seed}},
    )  # fmt: skip
    with SmallProject(folder) as project:
        done = project.run("refusal", select=select)
        assert done.is_success, done.problems
    return results(experiment)


def test_a_seed_names_a_result(
    tmp_path: Path, new_instance: Path, own_environment: None, one_picture: None
) -> None:
    found = {}
    for name, seed, select in (
        ("one", 7, "+vectors"),
        ("two", 7, "+vectors"),
        ("three", 8, "+activations"),
    ):
        os.environ.pop("DAGSTER_HOME", None)
        found[name] = _run(tmp_path / name, new_instance, seed, select)
    assert found["one"] == found["two"]
    assert "refusal/vectors/ica_layer3.pt" in found["one"]
    for name in ("refusal/responses/raw_pos.csv", "refusal/activations/all_layers.pt"):
        assert found["one"][name] != found["three"][name]
