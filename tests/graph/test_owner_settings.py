"""Which settings a run's config may set: each setting has a mark, and the marks hold."""

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_dagster.graph.owner_overrides import (
    BUDGET_SETTINGS,
    OPEN_SETTINGS,
    OWNER_SETTINGS,
    VOUCHED_SETTINGS,
    owner_typed_overrides,
    settings_with_overrides,
)

FILE = """
model: org/model
revision: abc
trust_remote_code: true
judge_model: local-judge
judge_base_url: http://127.0.0.1:3510/v1
scorers: {refusal: "python:scorers.py:words"}
engine_url: http://127.0.0.1:8000/v1
engine_model: served
"""
WRITTEN: dict[str, Any] = {
    "model": "org/model",
    "revision": "abc",
    "trust_remote_code": True,
    "judge_model": "local-judge",
    "judge_base_url": "http://127.0.0.1:3510/v1",
    "scorers.refusal": "python:scorers.py:words",
    "engine": "server",
    "engine_url": "http://127.0.0.1:8000/v1",
    "engine_model": "served",
}
OTHERS: list[dict[str, Any]] = [
    {"model": "org/other"}, {"model": "/tmp/folder"}, {"model": "weights.gguf"},
    {"revision": "def"}, {"revision": None}, {"attention": "flash_attention_2"},
    {"judge_model": "gpt-4.1-mini"}, {"judge_model": "org/judge"}, {"judge_model": "judge.gguf"},
    {"judge_model": "python:scorers.py:words"}, {"judge_model": "hf-classifier:org/x:LABEL"},
    {"judge_provider": "openai"}, {"judge_provider": "local"},
    {"judge_base_url": "http://127.0.0.1:9/v1"}, {"judge_base_url": None},
    {"scorers": {"refusal": "python:scorers.py:other"}},
    {"scorers": {"verbosity": "python:scorers.py:words"}}, {"scorers.refusal": "org/judge"},
    {"coherence_judge": "org/judge"}, {"coherence_judge": "local-judge"},
    {"second_judge": "claude-opus-4-1"}, {"engine_url": "http://127.0.0.1:9/v1"},
    {"engine": "vllm", "engine_url": None, "engine_model": None}, {"engine_model": "other"},
    {"gradient_objective": "os:system"},
]  # fmt: skip
HARMLESS: list[dict[str, Any]] = [
    {"model": "embedded"}, {"trust_remote_code": False}, {"attention": "eager"},
    {"judge_model": "embedded"}, {"coherence_judge": "repetition"}, {"scorers": {}},
    {"scorers.refusal": "repetition"}, {"second_judge": None}, {"n_examples": 8},
    {"sampling.seed": 7}, {"thresholds.accuracy": 0.8}, {"layers": [2, 3]},
]  # fmt: skip
# Text that names neither code nor a server: titles, people, traits, an experiment, prompts and
# positions.
PLAIN_TEXT = {
    "second_elicitation", "description", "owners", "also_judge", "positions", "monitoring_prompts",
    "steering.side_effects", "schedule.cron", "schedule.timezone",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> ExperimentFolder:
    path = tmp_path / "experiments" / "mine"
    path.mkdir(parents=True)
    (path / "experiment.yaml").write_text(FILE)
    return ExperimentFolder(tmp_path / "experiments", "mine")


def test_every_setting_has_one_mark() -> None:
    names = set(ExperimentSettings.model_fields)
    marks = [OPEN_SETTINGS, OWNER_SETTINGS.keys(), BUDGET_SETTINGS, VOUCHED_SETTINGS]
    marked = [name for mark in marks for name in mark]
    assert not names - set(marked), "mark in owner_overrides who may set them"
    assert sorted(marked) == sorted(names)


def test_open_settings_hold_no_text_that_could_name_code_or_a_server() -> None:
    with_text = {
        path for path in _texts(ExperimentSettings) if path.partition(".")[0] in OPEN_SETTINGS
    }
    assert with_text == PLAIN_TEXT


@pytest.mark.parametrize("overrides", OTHERS, ids=str)
def test_what_loads_code_or_connects_is_the_owners(
    folder: ExperimentFolder, overrides: dict[str, Any]
) -> None:
    with pytest.raises(TraitvecError, match="so a run's config cannot set it") as refused:
        settings_with_overrides(folder, overrides)
    assert len(str(refused.value)) < 230
    assert "\n" not in str(refused.value)
    # The command line may.
    with owner_typed_overrides(overrides):
        assert settings_with_overrides(folder, {}) == folder.settings(overrides)


@pytest.mark.parametrize("overrides", HARMLESS, ids=str)
def test_the_rest_may_be_set(folder: ExperimentFolder, overrides: dict[str, Any]) -> None:
    assert settings_with_overrides(folder, overrides) == folder.settings(overrides)


@pytest.mark.parametrize(
    ("written", "given", "is_refused"),
    [
        ("max_judge_usd: 5", {"max_judge_usd": 5}, False),
        ("max_judge_usd: 5", {"max_judge_usd": 0.5}, False),
        ("max_judge_usd: 5", {"max_judge_usd": 5.01}, True),
        ("max_judge_usd: 5", {"max_judge_usd": None}, True),
        ("max_judge_usd: 0", {"max_judge_usd": 1}, True),
        ("", {"max_judge_usd": 1}, False),
        ("max_judge_usd: 5", {"judge_prices": {"gpt-4.1-mini": {"input": 0, "output": 0}}}, True),
        (
            "max_judge_usd: 5\njudge_prices: {m: {input: 9, output: 9}}",
            {"judge_prices": {}},
            True,
        ),
        ("max_judge_usd: 5\njudge_prices: {m: {input: 9, output: 9}}", {"n_examples": 4}, False),
    ],
    ids=str,
)
def test_a_run_may_spend_less_than_the_file_says_and_not_more(
    folder: ExperimentFolder, written: str, given: dict[str, Any], is_refused: bool
) -> None:
    (folder.path / "experiment.yaml").write_text(f"{FILE}{written}\n")
    if is_refused:
        with pytest.raises(TraitvecError, match="a run's config can") as refused:
            settings_with_overrides(folder, given)
        assert len(str(refused.value)) < 200
        assert "\n" not in str(refused.value)
    else:
        assert settings_with_overrides(folder, given) == folder.settings(given)
    with owner_typed_overrides(given):
        assert settings_with_overrides(folder, {}) == folder.settings(given)


def test_what_the_file_says_may_be_said_again(folder: ExperimentFolder) -> None:
    assert settings_with_overrides(folder, WRITTEN) == folder.settings()
    for name, value in WRITTEN.items():
        assert settings_with_overrides(folder, {name: value}) == folder.settings()


def test_a_file_that_names_no_model_gets_none_from_a_run(folder: ExperimentFolder) -> None:
    (folder.path / "experiment.yaml").write_text("n_examples: 4\n")
    with pytest.raises(TraitvecError, match="no model is set"):
        settings_with_overrides(folder, {"model": "org/other"})


def _texts(group: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Settings that take any text, with the group's name before them."""
    for name, field in group.model_fields.items():
        for part in _parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _texts(part, f"{prefix}{name}.")
            elif part is str or part is Any:
                yield f"{prefix}{name}"


def _parts(annotation: Any) -> Iterator[Any]:
    """The types in an annotation, without the values of a Literal."""
    if typing.get_origin(annotation) is typing.Literal:
        return
    yield annotation
    for part in typing.get_args(annotation):
        yield from _parts(part)
