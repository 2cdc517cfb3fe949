"""`traitvec compare` and `traitvec atlas`: output, files, one-line errors."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.atlas.written_traits import directions, write_settings, write_trait
from tests.cli.conftest import Command
from tests.projects import SmallProject, edit_metadata
from traitvec_core.embedded import embedded_model_path


@pytest.fixture
def experiments(tmp_path: Path) -> Path:
    """Two experiments without a model that could be loaded."""
    root = tmp_path / "project" / "experiments"
    axes = directions(3)
    first, second = write_settings(root, "first"), write_settings(root, "second", n_examples=40)
    write_trait(first, "kind", axes[0], strength=40, seed=1)
    write_trait(first, "warm", axes[0] + 0.1 * axes[1], strength=40, seed=2)
    write_trait(second, "kind", axes[0], strength=20, seed=3, contrast=10)
    return root


def test_compare_prints_what_moved(traitvec: Command, experiments: Path) -> None:
    done = traitvec("compare", "first", "second")
    assert done.code == 0, done.err
    assert "n_examples: 100 → 40" in done.out
    assert "only in first: warm" in done.out
    assert "yes → no" in done.out
    assert "60 → 10 *" in done.out
    assert "40.0 → 20.0 *" in done.out
    assert "– → –" in done.out, "what was not measured is a dash"
    assert "(mean_diff, layer 2)" in done.out
    assert "50% ▄█▄▃" in done.out


def test_compare_as_json(traitvec: Command, experiments: Path) -> None:
    done = traitvec("compare", "first", "second", "--json")
    found = json.loads(done.out)
    assert found["traits"][0]["vectors"][0]["cosine"] > 0.9
    assert found["traits"][0]["moved"][0]["change"]["value"] == pytest.approx(-50)


def test_atlas_writes_a_page_and_names_what_is_missing(
    traitvec: Command, experiments: Path
) -> None:
    (experiments / "first/new").mkdir()
    (experiments / "first/new/trait_definition.json").write_text("{}")
    done = traitvec("atlas", "--experiment", "first")
    assert done.code == 0, done.err
    assert "near-duplicates: " in done.out
    assert "first: 2 of 3 traits compared, by mean_diff at layer 2" in done.out
    assert "new: " in done.err
    assert (experiments / "first/atlas/atlas.html").is_file()
    assert json.loads((experiments / "first/atlas/atlas.json").read_bytes())["atlas"]


def test_what_goes_wrong_is_one_line(traitvec: Command, experiments: Path) -> None:
    write_settings(experiments, "empty")
    (experiments / "second/experiment.yaml").write_text("model: x\nmodle: y")
    cases = {
        "there is no experiment 'nowhere'": ("compare", "first", "nowhere"),
        "cannot be used as a folder name": ("compare", "first", "../first"),
        "cannot be compared with itself": ("compare", "first", "first"),
        "share no trait by name": ("compare", "first", "empty"),
        "modle": ("compare", "first", "second"),
        "empty has no trait": ("atlas", "--experiment", "empty"),
        "second/experiment.yaml": ("atlas", "--experiment", "second"),
    }
    for message, given in cases.items():
        done = traitvec(*given)
        assert done.code == 1, message
        assert message in done.err
        assert len(done.error_lines) == 1, done.err


def test_each_model_reads_the_others_responses(
    traitvec: Command, finished: SmallProject, tmp_path: Path
) -> None:
    """Another name for the same model is another space; both agree on every text they read."""
    model = tmp_path / "twin"
    shutil.copytree(embedded_model_path(), model)
    here = finished.project.experiments
    shutil.copytree(here / "demo", here / "twin")
    settings = here / "twin/experiment.yaml"
    settings.write_text(yaml.safe_dump({**yaml.safe_load(settings.read_text()),
                                        "model": str(model)}))  # fmt: skip
    for path in (here / "twin").glob("*/vectors/manifest.json"):
        edit_metadata(path, lambda record: record.update(model=str(model)))
    done = traitvec("compare", "demo", "twin")
    assert done.code == 0, done.err
    assert done.out.count("different models: see --read") == 2
    done = traitvec("compare", "demo", "twin", "--read", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    for row in found["traits"]:
        assert row["notes"] == []
        # Each reads its own responses from the generated tokens, and the other's from the text.
        assert row["projection"]["correlation"]["value"] > 0.99
        assert row["projection"]["a_on_b"] == row["projection"]["b_on_a"]
        assert row["projection"]["n"] >= 16
