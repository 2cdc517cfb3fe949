"""Pushing to a Hugging Face repository, against a stand-in for its API on this machine."""

from collections.abc import Iterator

import pytest
from safetensors.torch import load

from tests.exchange.conftest import Command
from tests.exchange.hub_server import TOKEN, Hub, running_hub

PUSH = ("push", "--experiment", "demo", "--trait", "refusal", "--repo-id", "me/vectors")


@pytest.fixture
def hub(command: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        # The stand-in speaks the older protocol for large files.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield hub


def test_a_dry_run_asks_nobody(command: Command, hub: Hub) -> None:
    done = command(*PUSH)
    assert hub.requests == []
    assert "dry run: nothing was uploaded" in done.out
    assert "vectors.safetensors: " in done.out
    assert f"{hub.address}/me/vectors" in done.out
    assert "private if new" in done.out


def test_a_push_is_one_commit_of_vectors_and_card(command: Command, hub: Hub) -> None:
    done = command(*PUSH, "--upload")
    assert f"pushed: {hub.address}/me/vectors/commit/" in done.out
    assert hub.repositories == {"me/vectors": True}
    assert sum("/commit/" in request for request in hub.requests) == 1
    assert hub.files.keys() == {"vectors.safetensors", "README.md"}
    assert len(load(hub.files["vectors.safetensors"])) == 5
    card = hub.files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: traitvec\n")
    assert TOKEN not in card


def test_a_public_repository_is_asked_for(command: Command, hub: Hub) -> None:
    command(*PUSH, "--upload", "--public")
    assert hub.repositories == {"me/vectors": False}


def test_a_repository_that_exists_gets_another_commit(command: Command, hub: Hub) -> None:
    hub.repositories["me/vectors"] = False
    command(*PUSH, "--upload")
    assert hub.repositories == {"me/vectors": False}
    assert "README.md" in hub.files


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "needs write access"), (500, "the hub answered 500"), (401, "HF_TOKEN")],
)
def test_a_refusal_is_one_line(command: Command, hub: Hub, status: int, said: str) -> None:
    hub.refuse = status
    done = command(*PUSH, "--upload")
    assert done.error is not None
    assert said in done.error
    assert "\n" not in done.error
    assert hub.files == {}


def test_a_wrong_token_is_one_line(
    command: Command, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    done = command(*PUSH, "--upload")
    assert done.error is not None
    assert "HF_TOKEN" in done.error
    assert "hf_wrong" not in done.error


def test_no_hub_is_one_line(command: Command, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = command(*PUSH, "--upload")
    assert done.error is not None
    assert "cannot be reached" in done.error


@pytest.mark.parametrize("name", ["vectors", "a/b/c", "me/../x", "me/", ""])
def test_a_name_that_no_repository_can_have(command: Command, hub: Hub, name: str) -> None:
    done = command(*PUSH[:-1], name)
    assert done.error is not None
    assert "must be user/name" in done.error
