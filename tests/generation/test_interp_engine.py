"""An engine behind interp-engine's server does what transformers does in this process.

Over interp-engine's eager backend, which needs no vLLM; tests/vllm has the same with vLLM.
"""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import torch

from tests.generation.parity import CHECKS, OffByOne, Parity
from tests.generation.served import KEY, MAX_MODEL_LEN, engine_at, serving_eagerly
from tests.models.architectures import make_model
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import EngineOptions, generate_texts, load_engine
from traitvec_core.generation.interp_endpoint import Endpoint
from traitvec_core.generation.interp_engine import InterpEngine
from traitvec_core.generation.request import GenerationEngine
from traitvec_core.models.activations import capture_means
from traitvec_core.models.interventions import Addition, Intervention
from traitvec_core.models.language_model import LanguageModel, load_language_model
from traitvec_core.models.steering import steer

# Of a mean, of a logit, and of the logit of a greedy token.
TOLERANCES = (1e-4, 1e-3, 1e-4)
BRIEF = Sampling(temperature=0, max_new_tokens=5)


class Place(SimpleNamespace):
    model: LanguageModel
    folder: Path
    address: str
    engine: InterpEngine


def place(architecture: str, folder: Path, **options: Any) -> Iterator[Place]:
    model = make_model(architecture)
    with serving_eagerly(model, folder, **options) as address:
        yield Place(model=model, folder=folder, address=address, engine=engine_at(address, folder))


# Gemma scales its embeddings, caps its logits and slides its window; GPT-NeoX has parallel blocks.
@pytest.fixture(scope="module", params=["llama", "gemma3", "gpt_neox"])
def any_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    yield from place(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    yield from place("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def llama_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    yield from place("llama", tmp_path_factory.mktemp("elsewhere"), is_ours=False)


@pytest.mark.parametrize("check", CHECKS)
def test_it_does_what_transformers_does(any_place: Place, check: str) -> None:
    CHECKS[check](Parity(any_place.engine, any_place.model, *TOLERANCES, [None, "Be brief."]))


@pytest.mark.parametrize("check", ["means", "generated tokens", "projections", "logits"])
def test_interp_engines_own_server_reads_too(llama_elsewhere: Place, check: str) -> None:
    assert not llama_elsewhere.engine.reader.description().has_means
    CHECKS[check](Parity(llama_elsewhere.engine, llama_elsewhere.model, *TOLERANCES))


@pytest.mark.parametrize("check", ["means", "generated tokens", "projections"])
def test_layers_that_are_one_too_low_are_seen(llama: Place, check: str) -> None:
    shifted = cast(GenerationEngine, Shifted(llama.engine))
    with pytest.raises(AssertionError):
        CHECKS[check](Parity(shifted, llama.model, *TOLERANCES))


class Shifted:
    """An engine that reads one layer too low."""

    def __init__(self, engine: InterpEngine) -> None:
        self.name = engine.name
        self.language_model = engine.language_model
        self.reader = OffByOne(engine.reader)
        self.generate = engine.generate


def load(place: Place, **options: Any) -> GenerationEngine:
    def no_weights() -> LanguageModel:
        raise AssertionError("the model must not be loaded here")

    found = EngineOptions(str(place.folder), no_weights, url=place.address, **options)
    return load_engine("server", found)


@pytest.mark.parametrize("suffix", ["", "/v1", "/v1/"])
def test_the_server_is_recognised_by_its_address(
    llama: Place, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENERATION_API_KEY", KEY)
    url = llama.address + suffix
    options = EngineOptions(str(llama.folder), lambda: llama.model, url=url, must_read=True)
    engine = load_engine("server", options)
    assert engine.reader is not None
    assert engine.as_loaded["model_dtype"] == "float32"
    assert "interp-engine" in engine.as_loaded["engine_backend"]


def test_a_wrong_key_is_one_line(llama: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENERATION_API_KEY", "not-the-key")
    engine = load(llama)
    with pytest.raises(TraitvecError, match="rejects the key") as error:
        generate_texts(engine, ["a"], ["hello"], BRIEF)
    assert "GENERATION_API_KEY" in str(error.value)
    assert "not-the-key" not in str(error.value)


def test_another_model_is_refused(llama: Place, tmp_path: Path) -> None:
    other = make_model("llama", num_hidden_layers=llama.model.n_blocks + 1)
    other.model.save_pretrained(tmp_path)
    other.tokenizer.save_pretrained(tmp_path)
    without_weights = load_language_model(str(tmp_path), has_weights=False)
    for served_name, said in ((None, "engine_model"), (str(llama.folder), "another model")):
        endpoint = Endpoint(llama.address, KEY, "GENERATION_API_KEY", served_name)
        engine = InterpEngine("server", without_weights, endpoint)
        with pytest.raises(TraitvecError, match=said):
            generate_texts(engine, ["a"], ["hello"], BRIEF)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ((Addition(1, torch.ones(3)),), "shape"),
        ((Addition(99, torch.ones(1)),), "has layers 0"),
        (("last",), "steers all tokens, or the prompt alone, not last"),
        (("all", "prompt"), "not all and prompt"),
    ],
)
def test_what_it_cannot_steer_is_one_line(llama: Place, items: Any, said: str) -> None:
    vector = torch.ones(llama.model.hidden_dim)
    steered: list[Intervention] = [
        Addition(1, vector, positions=cast(Any, item)) if isinstance(item, str) else item
        for item in items
    ]
    with pytest.raises(TraitvecError, match=said):
        generate_texts(llama.engine, ["a"], ["hello"], BRIEF, interventions=[steered])


def test_the_prompt_alone_can_be_steered(llama: Place) -> None:
    model = llama.model
    item = Addition(1, 30 * torch.ones(model.hidden_dim), positions="prompt")
    sampling = Sampling(temperature=0, max_new_tokens=12)
    prompt = model.prompt("Tell me about the sea.")
    arguments: Any = (["a"], [prompt], sampling)
    theirs = generate_texts(llama.engine, *arguments, interventions=[[item]])
    assert theirs == generate_texts(model, *arguments, interventions=[[item]])
    assert theirs != generate_texts(model, *arguments)


def test_the_model_of_an_engine_cannot_be_mistaken_for_a_loaded_one(llama: Place) -> None:
    with pytest.raises(TraitvecError, match=r"engine\.reader"):
        capture_means(llama.engine.language_model, [("hello", " you")])
    with (
        pytest.raises(TraitvecError, match="pass interventions"),
        steer(llama.engine.language_model, Addition(1, torch.ones(llama.model.hidden_dim))),
    ):
        pass


def test_drawn_responses_repeat_and_differ(llama: Place) -> None:
    names, prompts = ["a", "b", "c"], [llama.model.prompt("Tell me more.")] * 3
    sampling = Sampling(temperature=1.0, max_new_tokens=20, seed=3)
    first = generate_texts(llama.engine, names, prompts, sampling)
    assert generate_texts(llama.engine, names[::-1], prompts, sampling) == first
    assert len(set(first.values())) == 3
    assert generate_texts(llama.engine, names, prompts, sampling, skip={"a", "b"}) == {
        "c": first["c"]
    }


def test_a_text_that_is_too_long_is_one_line(llama: Place) -> None:
    model, n = llama.model, 0
    while len(model.encode_prompt("word " * n)) < MAX_MODEL_LEN - BRIEF.max_new_tokens:
        n += 1
    with pytest.raises(TraitvecError, match="max_model_len"):
        generate_texts(llama.engine, ["a"], ["word " * (n + 1)], BRIEF)


def test_no_web_page_and_no_other_host_is_answered(llama: Place) -> None:
    asked = {"prompt_token_ids": [1, 2, 3], "counted": [[0]]}
    with httpx.Client(base_url=llama.address, trust_env=False) as client:
        key = {"authorization": f"Bearer {KEY}"}
        assert client.post("/v1/means", json=asked, headers=key).status_code == 200
        assert client.post("/v1/means", json=asked).status_code == 401
        assert client.get("/v1/traitvec").status_code == 401
        origin = {**key, "origin": "http://127.0.0.1:3000"}
        for path in ("/v1/means", "/v1/generate"):
            assert client.post(path, json=asked, headers=origin).status_code == 403
        host = {**key, "host": "rebound.example"}
        assert client.post("/v1/means", json=asked, headers=host).status_code == 400
        for counted in ([[3]], [[-1]], []):
            wrong = {**asked, "counted": counted}
            assert client.post("/v1/means", json=wrong, headers=key).status_code == 422
