"""What clients may ask of `traitvec serve-engine`: nothing that breaks it, or other requests."""

import base64
import json
import math
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import torch

from tests.generation.served import KEY, MAX_MODEL_LEN, serving_eagerly
from tests.models.architectures import make_model
from traitvec_core.serving.steering_limits import check_steering

MODEL = make_model("llama")
IDS = [5, 6, 7]
MEANS = {"prompt_token_ids": IDS, "counted": [[0, 2]]}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_eagerly(MODEL, tmp_path_factory.mktemp("model")) as address:
        with client_of(address) as client:
            while client.get("/health").status_code != 200:
                pass
        yield address


def client_of(address: str) -> httpx.Client:
    return httpx.Client(
        base_url=address, headers={"authorization": f"Bearer {KEY}"}, trust_env=False, timeout=60
    )


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with client_of(address) as client:
        yield client


def generation(**values: Any) -> dict[str, Any]:
    return {
        "prompt_token_ids": IDS, "max_tokens": 5, "temperature": 0, "stream": False, **values
    }  # fmt: skip


def steering(values: list[float]) -> list[dict[str, Any]]:
    data = torch.tensor(values).numpy().astype("<f4").tobytes()
    vector = {
        "dtype": "float32", "shape": [len(values)], "data": base64.b64encode(data).decode()
    }  # fmt: skip
    operation = {"method": "additive", "vector": vector, "scale": 1.0}
    return [{"point": "resid_post", "layers": {"1": [operation]}}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/means", {**MEANS, "prompt_token_ids": [-1, 5, 6]}),
        ("/v1/means", {**MEANS, "prompt_token_ids": [MODEL.vocabulary_size, 5, 6]}),
        ("/v1/means", {**MEANS, "prompt_token_ids": [2**70, 5, 6]}),
        ("/v1/means", {**MEANS, "prompt_token_ids": [5] * MAX_MODEL_LEN}),
        ("/v1/means", {**MEANS, "counted": [[0]] * 1_000}),
        ("/v1/means", {**MEANS, "counted": [[0] * 1_000]}),
        ("/v1/generate", generation(prompt_token_ids=[-1])),
        ("/v1/generate", generation(max_tokens=10**9)),
        ("/v1/generate", generation(steering=steering([1.0] * 3))),
        ("/v1/generate", generation(steering=steering([math.nan] * MODEL.hidden_dim))),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    client: httpx.Client, path: str, body: Any
) -> None:
    plain = client.post("/v1/generate", json=generation()).json()["token_ids"]
    refused = client.post(path, json=body)
    assert refused.status_code == 422
    assert client.post("/v1/generate", json=generation()).json()["token_ids"] == plain


def test_a_refusal_does_not_repeat_the_request(client: httpx.Client) -> None:
    refused = client.post("/v1/means", json={"prompt_token_ids": [1] * 100_000})
    assert refused.status_code == 422
    assert refused.json() == {"detail": "body.counted: Field required"}


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_request_that_is_too_large_is_not_read(client: httpx.Client, is_chunked: bool) -> None:
    body = json.dumps({**MEANS, "prompt_token_ids": [1] * 8_000_000}).encode()
    content = (body[i : i + 2**20] for i in range(0, len(body), 2**20)) if is_chunked else body
    try:
        answer = client.post("/v1/means", content=content)
    except httpx.WriteError:
        # It closes the connection, perhaps before all is sent.
        pass
    else:
        assert answer.status_code == 413
    assert client.post("/v1/means", json=MEANS).status_code == 200


@pytest.mark.parametrize(
    "key", [None, "Bearer", f"Bearer {KEY}é", f"Basic {KEY}", f"Bearer  {KEY}"]
)
def test_the_key_comes_before_the_body(address: str, key: str | None) -> None:
    headers = {} if key is None else {"authorization": key.encode()}
    with httpx.Client(base_url=address, trust_env=False, timeout=60) as stranger:
        # Were it read, it would be no JSON.
        assert stranger.post("/v1/means", content=b"{", headers=headers).status_code == 401
        for path in ("/v1/describe", "/v1/traitvec", "/docs", "/openapi.json"):
            assert stranger.get(path, headers=headers).status_code == 401


def test_one_clients_steering_is_not_in_anothers_means(address: str, client: httpx.Client) -> None:
    """The eager backend steers with hooks on the model that all requests share."""
    alone = client.post("/v1/means", json=MEANS).json()
    strong = generation(
        max_tokens=100, stop_at_eos=False, steering=steering([50.0] * MODEL.hidden_dim)
    )
    is_over = threading.Event()

    def steer() -> None:
        with client_of(address) as other:
            while not is_over.is_set():
                other.post("/v1/generate", json=strong)

    thread = threading.Thread(target=steer)
    thread.start()
    try:
        together = [client.post("/v1/means", json=MEANS).json() for _ in range(10)]
    finally:
        is_over.set()
        thread.join()
    assert together == [alone] * 10


def spec(**values: Any) -> dict[str, Any]:
    return {"layer": 1, "vector": [0.5, -2.0], "coeff": 1.0, **values}


@pytest.mark.parametrize(
    "wrong",
    [
        {"layer": -1},
        {"layer": 4},
        {"coeff": math.inf},
        {"coeff": math.nan},
        {"coeff": -1e16},
        {"coeff": 1e10, "vector": [1e10, 0.0]},
        {"min": -math.inf},
        {"max": 1e16},
    ],
)
def test_steering_that_would_spoil_a_shared_cache_is_refused(wrong: dict[str, Any]) -> None:
    check_steering([spec()], 4, "bfloat16")
    check_steering([spec(min=None, max=3.0)], 4, "float16")
    with pytest.raises(ValueError, match=r"overflows|has 4"):
        check_steering([spec(), spec(**wrong)], 4, "bfloat16")


def test_float16_ends_sooner() -> None:
    check_steering([spec(coeff=1e5)], 4, "float32")
    with pytest.raises(ValueError, match="overflows"):
        check_steering([spec(coeff=1e5)], 4, "float16")
