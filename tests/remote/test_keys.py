"""Keys are read from the environment, and never shown."""

import os

import pytest

from traitvec_core.errors import TraitvecError
from traitvec_core.remote.keys import key_from_environment, redacted, secrets_in_environment


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.endswith(("_API_KEY", "_TOKEN"))]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("OPENAI_API_KEY", "abcd", True),
        ("HF_TOKEN", "abcdef", True),
        ("AWS_SECRET_ACCESS_KEY", "abcdef/+", True),
        ("TRAITVEC_WEBHOOK_URL", "https://example.org/hook/abcdef", True),
        # A provider that traitvec does not know (yet).
        ("NEXT_API_KEY", "a0b1c2d3e4f5", True),
        # What SDKs send along, and passwords.
        ("OPENAI_ADMIN_KEY", "a0b1c2d3e4f5", True),
        ("ANTHROPIC_AUTH_TOKEN", "a0b1c2d3e4f5", True),
        ("DAGSTER_PG_PASSWORD", "a0b1c2d3e4f5", True),
        # A placeholder, and words that appear in any message.
        ("VLLM_API_KEY", "EMPTY", False),
        ("OPENAI_API_KEY", "abc", False),
        ("SOME_SETTING", "a0b1c2d3e4f5", False),
    ],
)
def test_the_secrets_of_the_environment_are_redacted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, is_secret: bool
) -> None:
    monkeypatch.setenv(name, value)
    assert (value in secrets_in_environment()) == is_secret
    assert redacted(f"before {value} after") == (
        "before [key] after" if is_secret else f"before {value} after"
    )


@pytest.mark.parametrize("key", ["sk-proj-abcdef", "hf_abcdefgh", "sk-ab***wxyz", "Bearer abc.def"])
def test_what_looks_like_a_key_is_redacted(key: str) -> None:
    assert redacted(f"wrong key {key}!") in {"wrong key [key]!", "wrong key [key]"}


def test_a_secret_within_a_longer_one_leaves_no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "abcdef")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "abcdef-ghijkl")
    assert redacted("abcdef-ghijkl") == "[key]"


@pytest.mark.parametrize("value", ["two words", "line\nbreak", "schlüssel"])
def test_what_cannot_be_a_key_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    with pytest.raises(TraitvecError, match="OPENAI_API_KEY contains a character") as error:
        key_from_environment("OPENAI_API_KEY")
    assert value not in str(error.value)
