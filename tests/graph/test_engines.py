"""What generates, and where activations are read: settings that a run obeys."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.generation.completions import CompletionsServer, serving
from tests.projects import FEW_VECTORS, SmallProject, write_experiment
from traitvec_core.models.language_model import load_language_model
from traitvec_core.storage.formats import load_tensor

# A project sets the environment of its process.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_environment")]

GREEDY = {"sampling": {"max_new_tokens": 16, "temperature": 0}, **FEW_VECTORS}


def written(folder: Path, **settings: Any) -> SmallProject:
    write_experiment(folder, "demo", ["refusal"], {**GREEDY, **settings})
    return SmallProject(folder)


def test_a_server_generates_what_this_process_would(tmp_path: Path) -> None:
    with written(tmp_path / "here") as here:
        assert here.run("refusal").is_success
        wanted = here.trait("refusal").read_responses("responses")
        assert here.trait("refusal").metadata("responses")["engine"] == "transformers"
    model = load_language_model("embedded", device="cpu")
    with (
        serving(CompletionsServer(model)) as server,
        written(tmp_path / "there", engine_url=server.url) as there,
    ):
        run = there.run("refusal")
        assert run.is_success, run.problems
        found = there.trait("refusal").read_responses("responses")
        record = there.trait("refusal").metadata("responses")
        shown = there.materializations("responses", "refusal")[0].metadata
        # The address may move without making anything stale.
        there.set(engine_url="http://127.0.0.1:9/v1")
        assert there.states("refusal")["responses"] == "fresh"
    columns = ["question_id", "prompt", "response", "finish_reason"]
    assert found[columns].to_dict() == wanted[columns].to_dict()
    assert record["engine"] == shown["engine"].value == "server"
    assert {"truncated", "empty", "looping", "identical", "thinking"} == set(record["counts"])
    assert shown["truncated"].value == int((found["finish_reason"] == "length").sum())


def test_a_server_that_stops_answering_loses_no_response(tmp_path: Path) -> None:
    model = load_language_model("embedded", device="cpu")
    with (
        serving(CompletionsServer(model)) as server,
        written(tmp_path, engine_url=server.url, batch_size=1) as project,
    ):
        answer = server.answer

        def answers_five(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            # One of them finds out how the server reads a prompt.
            if len(server.read) >= 6:
                return 401, {"error": {"message": "no longer"}}
            return answer(body)

        server.answer = answers_five  # type: ignore[method-assign]
        run = project.run("refusal")
        assert not run.is_success
        (problem,) = run.problems
        assert "\n" not in problem
        assert server.url in problem
        server.answer = answer  # type: ignore[method-assign]
        again = project.run("refusal")
        assert again.is_success, again.problems
        assert project.trait("refusal").metadata("responses")["resumed_from"] == 5


def test_positions_come_from_one_pass_and_vectors_from_the_first(tmp_path: Path) -> None:
    positions = ["prompt_last", "response_mean", "response_first_2"]
    with written(tmp_path / "a", positions=positions) as project, written(tmp_path / "b") as usual:
        assert project.run("refusal").is_success
        assert usual.run("refusal").is_success
        folder, other = project.trait("refusal"), usual.trait("refusal")
        record = folder.metadata("activations")
        assert (record["position"], record["other_positions"]) == (positions[0], positions[1:])
        made = folder.provenance("activations")
        assert made is not None
        assert {"activations/response_mean.pt", "activations/response_first_2.pt"} < set(made.files)
        first = folder.read_activations()
        mean = load_tensor((folder.path / "activations/response_mean.pt").read_bytes())
        torch.testing.assert_close(mean, other.read_activations())
        assert first.shape == mean.shape
        assert not torch.equal(first, mean)
        assert not torch.equal(
            folder.read_vector("mean_diff", 3), other.read_vector("mean_diff", 3)
        )
        assert record["model_dtype"] == "float32"
