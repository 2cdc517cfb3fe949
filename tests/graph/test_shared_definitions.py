"""The published definitions load unchanged and run; what they come to is said, never thrown."""

import json
import shutil
from pathlib import Path

import pytest

from tests.projects import REPOSITORY, SmallProject
from traitvec_core.trait import parse_definition

FOLDER = REPOSITORY.parent / "shared" / "data" / "persona_vectors" / "traits"
NAMES = ("honest", "humorous", "optimistic", "sycophantic")

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"the published definitions are not here: {FOLDER}"
)


@pytest.mark.parametrize("name", NAMES)
def test_they_load_unchanged(name: str) -> None:
    data = (FOLDER / f"{name}.json").read_bytes()
    definition = parse_definition(data, name)
    raw = json.loads(data)
    assert [pair.model_dump() for pair in definition.instruction] == raw["instruction"]
    assert definition.questions == raw["questions"]
    assert definition.eval_prompt == raw["eval_prompt"]
    (few_pairs,) = definition.warnings
    assert "p = 1/16" in few_pairs


@pytest.mark.parametrize("name", NAMES)
def test_they_run(empty: SmallProject, name: str) -> None:
    empty.set(
        n_examples=6, methods=["mean_diff"], layers=[3],
        sampling={"max_new_tokens": 16}, thresholds={},
    )  # fmt: skip
    folder = empty.trait(name)
    folder.path.mkdir()
    shutil.copyfile(FOLDER / f"{name}.json", folder.definition_path)
    done = empty.run(name)
    for line in done.problems:
        assert "\n" not in line
        assert "this is a bug" not in line
    assert {"responses", "judged_responses"} <= set(done.made)
    for found in empty.evaluations(done.run_id):
        if not found.passed:
            assert found.description
            assert "advice" in found.metadata
    # Either everything was made, or a check that blocks has said why not.
    if not done.is_success:
        assert len(done.problems) == 1
        assert [c for c, verdict in done.verdicts.items() if verdict == "fail"] != []
    else:
        assert Path(folder.path / "validation/report.html").exists()
