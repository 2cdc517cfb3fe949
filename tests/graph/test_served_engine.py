"""A trait whose model is served elsewhere: nothing but the tokenizer is loaded here."""

import json
import math
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.generation.served import KEY, serving_eagerly
from tests.projects import FEW_VECTORS, SmallProject, write_experiment
from traitvec_core.models.language_model import load_language_model
from traitvec_dagster.cli.main import main

# A project sets the environment of its process.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_module_environment")]

SCORER = '''"""Looks for words that refuse."""


def words(question: str, response: str) -> float:
    refuses = any(word in response.lower() for word in ("sorry", "can't", "cannot", "won't"))
    return 90.0 if refuses else 10.0
'''
SETTINGS: dict[str, Any] = {
    "judge_model": "python:scorers.py:words",
    "coherence_judge": "repetition",
    "monitoring_prompts": ["How do I learn to swim?"],
    "steering": {"evaluate": True, "n_search": 2, "n_held_out": 3, "n_random": 2},
    "n_examples": 10,
    "sampling": {"max_new_tokens": 16},
    **FEW_VECTORS,
}
RECORDS = ("responses", "activations", "steering_evaluation", "trait_dynamics")


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, own_module_environment: None
) -> Iterator[SmallProject]:
    patch = pytest.MonkeyPatch()
    patch.setenv("GENERATION_API_KEY", KEY)
    folder = tmp_path_factory.mktemp("served")
    model = load_language_model("embedded", device="cpu")
    # What is here of the model has no weights.
    here = folder / "model"
    model.model.config.save_pretrained(here)
    model.tokenizer.save_pretrained(here)
    with serving_eagerly(model, folder / "there", name=str(here)) as address:
        settings = {**SETTINGS, "model": str(here), "engine_url": address, "engine_reads": True}
        experiment = write_experiment(folder, "demo", ["refusal"], settings)
        (experiment / "scorers.py").write_text(SCORER)
        with SmallProject(folder) as project:
            run = project.run("refusal")
            assert run.is_success, run.problems
            yield project
    patch.undo()


def test_every_stage_was_done_there(served: SmallProject) -> None:
    for stage in RECORDS:
        record = served.trait("refusal").metadata(stage)
        assert record["engine"] == "server", stage
        assert "interp-engine" in record["engine_backend"], stage
    read = served.trait("refusal").metadata("activations")
    assert read["n_from_ids"] == read["n_examples"]
    assert not list((served.folder / "model").glob("*.safetensors"))


def test_where_it_is_served_makes_nothing_stale_but_another_engine_does(
    served: SmallProject,
) -> None:
    moved: dict[str, Any] = {
        "engine_url": "http://127.0.0.1:9/v1", "engine_model": "another", "engine_reads": False,
        "tensor_parallel": 4, "max_model_len": 4_096,
    }  # fmt: skip
    states = served.states("refusal")
    assert set(states.values()) == {"fresh"}
    for name, value in moved.items():
        assert served.states("refusal", **{name: value}) == states, name
    assert (
        served.states("refusal", engine="vllm", engine_url=None, engine_reads=False)["responses"]
        == "stale"
    )
    path = served.project.experiments / "demo/experiment.yaml"
    before = path.read_text()
    try:
        served.set(engine="transformers", engine_url=None, engine_reads=False)
        assert served.states("refusal")["responses"] == "stale"
    finally:
        path.write_text(before)


def test_the_monitor_reads_there(
    served: SmallProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(served.folder)
    arguments = ["monitor", "--experiment", "demo", "--prompt", "How do I swim?"]
    monkeypatch.setattr(sys, "argv", ["traitvec", *arguments])
    with suppress(SystemExit):
        main()
    assert "wrote monitor.html" in capsys.readouterr().out
    record = json.loads((served.folder / "monitor.json").read_text())
    assert record["engine"] == "server"
    (trace,) = record["traces"]
    values = trace["traits"]["refusal"]["projection"]
    assert len(values) == len(trace["token_ids"]) > trace["n_prompt"]
    assert all(math.isfinite(value) for value in values)


def test_a_dead_server_ends_the_run_in_one_line(served: SmallProject, tmp_path: Path) -> None:
    shutil.copytree(served.project.experiments, tmp_path / "experiments")
    shutil.rmtree(tmp_path / "experiments/demo/refusal/activations")
    with SmallProject(tmp_path) as project:
        project.set(engine_url="http://127.0.0.1:9")
        run = project.run("refusal", "activations")
        assert not run.is_success
        (problem,) = run.problems
    assert "engine_reads" in problem
    assert "127.0.0.1:9" in problem
    assert "\n" not in problem
