"""Why a stage is made again."""

from dataclasses import replace
from pathlib import Path

import pytest

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stages import SPECS
from traitvec_core.stages.context import StageContext, StageOutput, Workbench
from traitvec_core.stages.make import make
from traitvec_core.stages.spec import no_inputs
from traitvec_core.storage.folders import TraitFolder

SETTINGS = ExperimentSettings(model="embedded", judge_model="embedded")


def write_numbers(context: StageContext) -> StageOutput:
    return {"responses/numbers.json": b"[1]"}, {}


@pytest.mark.usefixtures("own_environment")
def test_a_stage_of_another_version_is_made_again_and_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = TraitFolder(tmp_path / "mine", "kind")
    folder.path.mkdir(parents=True)
    lines: list[str] = []
    bench = Workbench(say=lines.append)
    spec = replace(SPECS["responses"], inputs=no_inputs, make=write_numbers)

    monkeypatch.setitem(SPECS, "responses", spec)
    assert not make("responses", folder, SETTINGS, bench).is_reused
    assert make("responses", folder, SETTINGS, bench).is_reused
    changed = SETTINGS.model_copy(update={"n_examples": 7})
    assert not make("responses", folder, changed, bench).is_reused
    assert lines == [], "a changed setting is the user's own doing"

    monkeypatch.setitem(SPECS, "responses", replace(spec, version=f"{spec.version}b"))
    assert not make("responses", folder, changed, bench).is_reused
    (line,) = lines
    assert "responses is made again" in line
    assert make("responses", folder, changed, bench).is_reused
