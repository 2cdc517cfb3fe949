"""A server that has another name for the model, or takes no seeds: what is asked, said and kept."""

from pathlib import Path
from typing import Any

import pytest

from tests.generation.completions import CompletionsServer, serving
from tests.models.architectures import make_model
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling, parse_experiment
from traitvec_core.generation import EngineOptions, generate_texts, load_engine
from traitvec_core.models.language_model import LanguageModel

NAMES = ["a", "b", "c"]
GREEDY = Sampling(temperature=0, max_new_tokens=6)
DRAWN = Sampling(temperature=1.0, max_new_tokens=6)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return make_model("llama")


@pytest.fixture(scope="module")
def saved(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    model.model.config.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return str(folder)


def prompts_of(model: LanguageModel) -> list[str]:
    return [model.prompt(f"What is {name}?", "Be brief.") for name in NAMES]


class Run:
    """One call of `generate_texts` through a server."""

    def __init__(
        self, server: CompletionsServer, saved: str, sampling: Sampling = GREEDY, **rest: Any
    ) -> None:
        self.said: list[str] = []
        self.engine = load_engine(
            "server",
            EngineOptions(
                model=saved, load_model=lambda: server.model, url=server.url, say=self.said.append,
                **rest,
            ),
        )  # fmt: skip
        self.texts = generate_texts(self.engine, NAMES, prompts_of(server.model), sampling)
        self.asked_for = {request["model"] for request in server.requests}


def test_the_models_own_name_is_used_where_the_server_lists_it(
    model: LanguageModel, saved: str
) -> None:
    with serving(CompletionsServer(model, serves={"other": "/o", saved: saved})) as server:
        run = Run(server, saved)
    assert run.asked_for == {saved}
    assert run.said == []


@pytest.mark.parametrize(
    "serves",
    [
        {"mine": "/elsewhere"},
        # The folder says which of them it is.
        {"other": "/o", "mine": "SAVED"},
    ],
)
def test_another_name_is_used_said_and_recorded(
    serves: dict[str, str], model: LanguageModel, saved: str
) -> None:
    listed = {name: root.replace("SAVED", saved) for name, root in serves.items()}
    with serving(CompletionsServer(model, serves=listed)) as server:
        run = Run(server, saved)
        again = generate_texts(run.engine, NAMES, prompts_of(model), GREEDY)
    assert run.asked_for == {"mine"}
    assert run.texts == again == generate_texts(model, NAMES, prompts_of(model), GREEDY)
    (line,) = run.said
    assert "'mine'" in line
    assert "engine_model" in line
    assert run.engine.as_loaded["engine_model"] == "mine"


def test_token_ids_are_read_under_another_name(model: LanguageModel, saved: str) -> None:
    done: list[Any] = []
    with serving(CompletionsServer(model, serves={"mine": "/m"})) as server:
        run = Run(server, saved)
        generate_texts(
            run.engine, NAMES, prompts_of(model), GREEDY, on_finished=done.extend
        )  # fmt: skip
    assert len(done) == 3
    assert all(text.ids is not None for text in done)


def test_several_names_of_which_none_is_ours_are_listed(model: LanguageModel, saved: str) -> None:
    serves = {name: f"/{name}" for name in ("one", "two", "three", "four")}
    with (
        serving(CompletionsServer(model, serves=serves)) as server,
        pytest.raises(TraitvecError) as error,
    ):
        Run(server, saved)
    message = str(error.value)
    for part in (server.url, "engine_url", "one, two, three and 1 more", "engine_model"):
        assert part in message
    assert "judge" not in message
    assert server.requests == []


def test_engine_model_chooses_among_several(model: LanguageModel, saved: str) -> None:
    with serving(CompletionsServer(model, serves={"one": "/1", "two": "/2"})) as server:
        run = Run(server, saved, served_name="two")
    assert run.asked_for == {"two"}
    assert run.said == []


def test_a_wrong_engine_model_is_reported_by_its_setting(model: LanguageModel, saved: str) -> None:
    with (
        serving(CompletionsServer(model, serves={"one": "/1"})) as server,
        pytest.raises(TraitvecError, match="check engine_model and engine_url") as error,
    ):
        Run(server, saved, served_name="two")
    assert "'two'" in str(error.value)
    assert "judge" not in str(error.value)


def test_a_server_without_a_list_is_asked_for_the_model(model: LanguageModel, saved: str) -> None:
    with serving(CompletionsServer(model)) as server:
        run = Run(server, saved)
    assert run.asked_for == {saved}


def test_a_server_without_seeds_gets_none_and_that_is_said_and_recorded(
    model: LanguageModel, saved: str
) -> None:
    with serving(CompletionsServer(model, takes_seeds=False)) as server:
        run = Run(server, saved, DRAWN)
        assert set(run.texts) == set(NAMES)
        n_before = len(server.requests)
        # It is known now.
        generate_texts(run.engine, NAMES, prompts_of(model), DRAWN)
        assert not any("seed" in request for request in server.requests[n_before:])
    (line,) = run.said
    assert "seed" in line
    assert run.engine.as_loaded["has_seeds"] is False
    # Everything else is still asked for.
    assert server.requests[-1]["return_token_ids"] is True


def test_a_server_with_seeds_gets_them(model: LanguageModel, saved: str) -> None:
    with serving(CompletionsServer(model, "vllm_0.6")) as server:
        run = Run(server, saved, DRAWN)
    assert len({request["seed"] for request in server.requests}) >= len(NAMES)
    assert run.said == []
    assert run.engine.as_loaded["has_seeds"] is True


def test_engine_model_needs_a_server(tmp_path: Path) -> None:
    with pytest.raises(TraitvecError, match="set engine_url"):
        parse_experiment("model: a/b\nengine_model: x", "mine", "here")
    settings = parse_experiment(
        "model: a/b\nengine_model: x\nengine_url: http://127.0.0.1:8000/v1", "mine", "here"
    )
    assert (settings.engine, settings.engine_model) == ("server", "x")
