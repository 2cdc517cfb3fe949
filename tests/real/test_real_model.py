"""A pretrained model through the graph: a trait that it can show, and one that it cannot."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.real.model import get_model
from traitvec_core import capture_means, load_language_model

pytestmark = pytest.mark.real

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = {
    "n_examples": 24,
    "layers": [10, 20],
    "methods": ["mean_diff"],
    "sampling": {"max_new_tokens": 40, "temperature": 0.7},
    "steering": {"evaluate": "auto", "n_search": 2, "n_held_out": 4, "n_random": 2},
}


@pytest.fixture(scope="module")
def model() -> Path:
    try:
        return get_model()
    except SystemExit as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def experiments(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Brevity and even_words, run once from the command line."""
    experiments = tmp_path_factory.mktemp("real") / "experiments"
    source = REPOSITORY / "experiments/smollm2"
    for trait in ("brevity", "even_words"):
        (experiments / "smollm2" / trait).mkdir(parents=True)
        name = "trait_definition.json"
        shutil.copy(source / trait / name, experiments / "smollm2" / trait / name)
    shutil.copy(source / "scorers.py", experiments / "smollm2")
    settings = yaml.safe_load((source / "experiment.yaml").read_text())
    (experiments / "smollm2/experiment.yaml").write_text(
        yaml.safe_dump({**settings, **SMALL, "model": str(model)})
    )
    command = [str(Path(sys.executable).parent / "traitvec"), "run", "--experiment", "smollm2"]
    subprocess.run([*command, "--traits", "all", "--experiments-dir", str(experiments)], check=True)
    return experiments


def test_the_file_gives_the_model_with_its_template_and_end_of_turn(model: Path) -> None:
    language_model = load_language_model(str(model), dtype="bfloat16")

    assert language_model.n_blocks == 30
    assert language_model.role("auto") == "system"
    ends = [language_model.tokenizer.decode([token]) for token in language_model.end_token_ids]
    assert "<|im_end|>" in ends


def test_the_residual_stream_has_the_known_norms(model: Path) -> None:
    # Two other programs measured 29 to 59 after block 1, 126 to 162 after block 11 and 681 to 870
    # after block 30, for single tokens. A norm after the final norm would be far smaller.
    language_model = load_language_model(str(model), dtype="bfloat16")
    prompt = language_model.prompt("Why is the sky blue?")
    norms = capture_means(language_model, [(prompt, "Because")])[0].float().norm(dim=-1)

    assert 20 < norms[1] < 90
    assert 80 < norms[11] < 250
    assert 400 < norms[30] < 1500


def test_a_trait_that_is_elicited_passes_contrast(experiments: Path) -> None:
    report = _report(experiments, "brevity")

    assert _check(report, "contrast")["verdict"] != "fail"
    assert report["elicitation"]["positive"]["mean_trait"] > 70


def test_a_trait_that_is_not_elicited_is_not_usable_because_of_contrast(experiments: Path) -> None:
    report = _report(experiments, "even_words")

    assert report["recommended"] is None or report["recommended"]["verdict"] == "not_usable"
    assert _check(report, "contrast")["verdict"] == "fail"
    if report["recommended"]:
        assert report["recommended"]["reasons"][0].startswith("contrast")


def _report(experiments: Path, trait: str) -> dict:
    path = experiments / "smollm2" / trait / "validation/report.json"
    return json.loads(path.read_text())


def _check(report: dict, name: str) -> dict:
    return next(check for check in report["checks"] if check["name"] == name)
