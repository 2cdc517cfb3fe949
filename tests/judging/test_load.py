"""From settings to a judge: mistakes are reported before anything is spent, without any key."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.models.architectures import make_model
from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.experiment import DEFAULT_JUDGE, ExperimentSettings, parse_experiment
from traitvec_core.judging import LocalJudge, load_judge
from traitvec_core.judging.api import ApiJudge
from traitvec_core.judging.judgement_store import JudgementStore, Origin
from traitvec_core.judging.load import (
    JudgeChoice,
    check_judge,
    is_judge_compared,
    judge_fingerprint,
)
from traitvec_core.judging.providers.anthropic import AnthropicModel
from traitvec_core.judging.providers.openai import OpenAIModel
from traitvec_core.judging.reading import Judgement
from traitvec_core.storage.folders import TraitFolder

SERVER = "http://127.0.0.1:8000/v1"
NAMES = (
    "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "JUDGE_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES[:3]:
        monkeypatch.setenv(name, f"sk-{name}")


def experiment(**given: Any) -> ExperimentSettings:
    return ExperimentSettings(model="embedded", **given)


def no_model(name: str) -> Any:
    raise AssertionError(f"{name} should not be loaded")


def load(settings: ExperimentSettings, store: JudgementStore | None = None, **given: Any) -> Any:
    return load_judge(settings, store or JudgementStore(), load_model=no_model, **given)


# -- who, where, with which key -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "provider", "address", "key_name"),
    [
        ({}, "openai", "", "OPENAI_API_KEY"),
        ({"judge_model": "claude-haiku-4-5"}, "anthropic", "", "ANTHROPIC_API_KEY"),
        ({"judge_model": "embedded"}, "local", "", ""),
        ({"judge_model": "Qwen/Qwen3-8B"}, "local", "", ""),
        ({"judge_model": "Qwen/Qwen3-8B", "judge_base_url": f"{SERVER}/"},
         "openai", SERVER, "JUDGE_API_KEY"),
        ({"judge_model": "gpt-5-mini", "judge_base_url": SERVER},
         "openai", SERVER, "JUDGE_API_KEY"),
        ({"judge_model": "m", "judge_base_url": SERVER, "judge_provider": "anthropic"},
         "anthropic", "http://127.0.0.1:8000", "JUDGE_API_KEY"),
        ({"judge_model": "Qwen/Qwen3-8B", "judge_provider": "openai"},
         "openai", "", "OPENAI_API_KEY"),
        ({"judge_model": "gpt-5-mini", "judge_provider": "local", "judge_base_url": SERVER},
         "local", "", ""),
    ],
)  # fmt: skip
def test_the_settings_choose_server_and_key(
    given: dict[str, Any], provider: str, address: str, key_name: str
) -> None:
    choice = JudgeChoice(experiment(**given))
    assert (choice.provider.name, choice.address, choice.key_name) == (provider, address, key_name)
    assert choice.name == given.get("judge_model", DEFAULT_JUDGE)


def test_an_address_in_the_environment_is_the_users_own_and_gets_the_users_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", " http://proxy:4000/v1/ ")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://proxy:4000/v1")
    choice = JudgeChoice(experiment())
    assert (choice.address, choice.key_name) == ("http://proxy:4000/v1", "OPENAI_API_KEY")
    choice = JudgeChoice(experiment(judge_model="claude-haiku-4-5"))
    assert (choice.address, choice.key_name) == ("http://proxy:4000", "ANTHROPIC_API_KEY")
    # What the file says goes before, and has its own key.
    choice = JudgeChoice(experiment(judge_base_url=SERVER))
    assert (choice.address, choice.key_name) == (SERVER, "JUDGE_API_KEY")


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("provider", ["auto", "openai", "anthropic"])
def test_an_address_in_the_file_never_gets_the_key_of_the_users_account(provider: Any) -> None:
    """Someone who shares an experiment must not receive the keys of those who run it."""
    settings = experiment(judge_model="m", judge_provider=provider, judge_base_url=SERVER)
    for name in (None, "m", "another"):
        model = load(settings, name=name).model
        assert model.provider == ("openai" if provider == "auto" else provider)
        assert model.address.removesuffix("/v1") == SERVER.removesuffix("/v1")
        assert model._key == "sk-JUDGE_API_KEY"


@pytest.mark.parametrize(
    ("first", "second", "provider", "address", "key_name"),
    [
        ({}, "claude-haiku-4-5", "anthropic", "", "ANTHROPIC_API_KEY"),
        ({}, "gpt-4.1-mini", "openai", "", "OPENAI_API_KEY"),
        ({}, "Qwen/Qwen3-8B", "local", "", ""),
        ({"judge_model": "m", "judge_base_url": SERVER}, "another", "openai", SERVER,
         "JUDGE_API_KEY"),
        ({"judge_model": "m", "judge_base_url": SERVER}, "gpt-5-mini", "openai", "",
         "OPENAI_API_KEY"),
        ({"judge_model": "m", "judge_base_url": SERVER}, "claude-haiku-4-5", "anthropic", "",
         "ANTHROPIC_API_KEY"),
        ({"judge_model": "m", "judge_base_url": SERVER}, "m", "openai", SERVER, "JUDGE_API_KEY"),
        ({"judge_model": "gpt-5-mini", "judge_base_url": SERVER}, "gpt-5-mini", "openai", SERVER,
         "JUDGE_API_KEY"),
        ({"judge_model": "embedded"}, "gpt-5-mini", "openai", "", "OPENAI_API_KEY"),
        ({"judge_model": "embedded", "judge_provider": "local"}, "m", "local", "", ""),
    ],
)  # fmt: skip
def test_the_second_judge(
    first: dict[str, Any], second: str, provider: str, address: str, key_name: str
) -> None:
    choice = JudgeChoice(experiment(second_judge=second, **first), second)
    assert (choice.name, choice.provider.name) == (second, provider)
    assert (choice.address, choice.key_name) == (address, key_name)


def test_the_fingerprint_needs_no_key_and_tells_judges_apart(tmp_path: Path) -> None:
    names = ("gpt-5-mini", "gpt-5", "claude-haiku-4-5", "embedded", "a/b", "a/c")
    prints = [judge_fingerprint(experiment(), name) for name in names]
    prints.append(judge_fingerprint(experiment(judge_model="a/b", judge_base_url=SERVER)))
    assert len(set(prints)) == len(prints)
    # A model on disk is its content, not its name.
    (tmp_path / "config.json").write_text("{}")
    before = judge_fingerprint(experiment(judge_model=str(tmp_path)))
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert judge_fingerprint(experiment(judge_model=str(tmp_path))) != before


# -- what cannot work -----------------------------------------------------------------------------


def said(settings: ExperimentSettings) -> str:
    with pytest.raises(TraitvecError) as caught:
        check_judge(settings)
    with pytest.raises(TraitvecError) as loaded:
        load(settings)
    assert str(loaded.value) == str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "judge", "variable"),
    [
        ({}, DEFAULT_JUDGE, "OPENAI_API_KEY"),
        ({"judge_model": "claude-haiku-4-5"}, "claude-haiku-4-5", "ANTHROPIC_API_KEY"),
        ({"judge_model": "embedded", "second_judge": "gpt-5"}, "gpt-5", "OPENAI_API_KEY"),
    ],
)
@pytest.mark.parametrize("value", [None, "", " \n"])
def test_a_missing_key_is_told_by_the_name_of_its_variable(
    given: dict[str, Any],
    judge: str,
    variable: str,
    value: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if value is not None:
        monkeypatch.setenv(variable, value)
    message = said(experiment(**given))
    assert repr(judge) in message
    assert f"set {variable} in the environment or in .env" in message


@pytest.mark.parametrize(
    "key", ["sk-sec\nret", "sk-sec ret", "sk-sec\tret", "sk-sécret", "sk-\u200b"]
)
@pytest.mark.parametrize(
    ("given", "variable"),
    [
        ({}, "OPENAI_API_KEY"),
        ({"judge_model": "claude-haiku-4-5"}, "ANTHROPIC_API_KEY"),
        ({"judge_model": "m", "judge_base_url": SERVER}, "JUDGE_API_KEY"),
    ],
)
def test_a_broken_key_is_told_and_not_shown(
    given: dict[str, Any], variable: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, key)
    message = said(experiment(**given))
    assert variable in message
    assert "sk-" not in message
    assert "ret" not in message


def test_a_line_break_behind_a_key_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " sk-abc\r\n")
    assert load(experiment()).model._key == "sk-abc"


def test_a_server_of_ones_own_and_a_model_in_process_need_no_key() -> None:
    check_judge(experiment(judge_model="embedded"))
    check_judge(experiment(judge_model="google/gemma-2-2b-it", second_judge="Qwen/Qwen3-8B"))
    check_judge(experiment(judge_model="m", judge_base_url=SERVER))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://user:s3cret@proxy/v1", "contains a key or a password"),
        ("http://s3cret@proxy/v1", "contains a key or a password"),
        ("http://proxy/v1?key=s3cret", "contains a key or a password"),
        ("s3cret", "is not a valid address"),
        ("http://proxy:s3cret/v1", "is not a valid address"),
    ],
)
def test_an_address_in_the_environment_with_a_password_is_told_and_not_shown(
    address: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be written into the store of judgements, with the judge's identity."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abc")
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    message = said(experiment())
    assert message.startswith("OPENAI_BASE_URL ")
    assert shown in message
    assert "s3cret" not in message


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("given", "unknown"),
    [
        ({"judge_model": "gpt-99"}, "gpt-99"),
        ({"judge_model": "m", "judge_base_url": SERVER}, "m"),
        ({"second_judge": "claude-99"}, "claude-99"),
    ],
)
def test_a_budget_needs_a_price(given: dict[str, Any], unknown: str) -> None:
    check_judge(experiment(**given))
    message = said(experiment(**given, max_judge_usd=1.0))
    assert f"max_judge_usd needs the price of {unknown!r}" in message
    # The line that it offers is one that works.
    line = message.partition("`")[2].partition("`")[0]
    text = f"model: embedded\nmax_judge_usd: 1\n{line}\n"
    overrides = {k: v for k, v in given.items() if not isinstance(v, str) or v}
    check_judge(parse_experiment(text, "demo", "experiment.yaml", overrides))


@pytest.mark.usefixtures("keys")
def test_a_budget_with_a_known_price_is_kept_by_the_experiments_own_account() -> None:
    store = JudgementStore()
    for name in ("demo", "other"):
        paid = Judgement(1.0, "ok", usd=0.75)
        store.keep([(name, "trait", "q", paid)], '{"model": "m"}', Origin(name, "t"))
    judge = load(experiment(max_judge_usd=2.0), store, experiment="demo")
    assert judge.budget.limit_usd == 2.0
    assert judge.budget.spent_usd() == 0.75
    assert load(experiment(), store).budget is None
    # Nothing may be spent, which is not the same as no bound.
    assert load(experiment(max_judge_usd=0), store).budget.limit_usd == 0
    check_judge(experiment(judge_model="embedded", max_judge_usd=1))


@pytest.mark.usefixtures("keys")
def test_a_batch_needs_a_provider_that_takes_one() -> None:
    message = said(experiment(judge_model="embedded", judge_mode="batch"))
    assert "judge_mode: batch" in message
    assert "(OpenAI or Anthropic), and 'embedded' does not" in message
    check_judge(experiment(judge_mode="batch", second_judge="embedded"))


# -- the judge ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("keys")
def test_a_judge_behind_an_api_is_as_the_settings_say() -> None:
    settings = experiment(
        second_judge="claude-haiku-4-5", max_concurrent_judges=7, judge_timeout_s=3.5,
        judge_prices={DEFAULT_JUDGE: {"input": 9, "output": 9}},
    )  # fmt: skip
    judge = load(settings)
    assert isinstance(judge, ApiJudge)
    assert isinstance(judge.model, OpenAIModel)
    assert (judge.name, judge.model._key) == (DEFAULT_JUDGE, "sk-OPENAI_API_KEY")
    assert (judge.max_concurrent, judge.timeout_s) == (7, 3.5)
    assert judge.price is not None
    assert judge.price.input == 9
    assert judge.batches is None
    assert load(experiment(judge_mode="batch")).batches is not None
    second = load(settings, name="claude-haiku-4-5")
    assert isinstance(second.model, AnthropicModel)
    assert second.model._key == "sk-ANTHROPIC_API_KEY"
    assert "sk-" not in judge.identity + second.identity


def test_a_model_in_process_is_loaded_by_its_name() -> None:
    model = make_model("llama")
    asked: list[str] = []

    def load_model(name: str) -> Any:
        asked.append(name)
        return model

    settings = experiment(judge_model="embedded", second_judge="a/b")
    judge = load_judge(settings, JudgementStore(), load_model=load_model)
    assert isinstance(judge, LocalJudge)
    assert judge._model is model
    load_judge(settings, JudgementStore(), name="a/b", load_model=load_model)
    assert asked == ["embedded", "a/b"]


def test_whether_there_is_anything_to_compare_with(tmp_path: Path) -> None:
    folders = [TraitFolder(tmp_path / "demo", trait) for trait in ("kind", "cold")]
    assert not is_judge_compared(experiment(), folders)
    assert is_judge_compared(experiment(second_judge="m"), [])
    assert is_judge_compared(experiment(judge_repeats=1), [])
    folders[1].human_scores_path.parent.mkdir(parents=True, exist_ok=True)
    folders[1].human_scores_path.write_text("question_id,trait_score\n")
    assert is_judge_compared(experiment(), folders)


def test_a_judge_is_not_its_own_second_judge() -> None:
    with pytest.raises(TraitvecError, match="set judge_repeats") as caught:
        check_judge(experiment(judge_model="embedded", second_judge="embedded"))
    assert len(str(caught.value).splitlines()) == 1


# -- settings -------------------------------------------------------------------------------------


def refused(line: str) -> str:
    with pytest.raises(DefinitionError) as caught:
        parse_experiment(f"model: embedded\n{line}\n", "demo", "experiment.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://user:s3cret@host/v1", "http://s3cret@host/v1", "https://host/v1?api-key=s3cret",
        "https://host/v1#s3cret", "ftp://user:s3cret@host", "//user:s3cret@host/v1",
        "http://host:s3cret/v1", "http://[s3cret/v1", "http://host:99999/s3cret",
        "http://ho st/s3cret", "s3cret",
    ],
)  # fmt: skip
def test_an_address_with_a_password_is_refused_and_not_shown(address: str) -> None:
    message = refused(f'judge_base_url: "{address}"')
    assert message.startswith("experiment.yaml: judge_base_url: ")
    assert "s3cret" not in message
    # Nor where the settings are made in a notebook.
    with pytest.raises(ValidationError) as caught:
        experiment(judge_base_url=address)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        SERVER,
        "https://host",
        "http://localhost:11434/v1",
        "http://[::1]:8080/v1",
        "HTTP://Host/a/b",
    ],
)
def test_an_address_is_taken_as_it_is(address: str) -> None:
    assert experiment(judge_base_url=address).judge_base_url == address
    assert experiment(judge_base_url=f"{address}/").judge_base_url == address


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("judge_mode: fast", "judge_mode"),
        ("judge_provider: google", "judge_provider"),
        ('judge_model: ""', "judge_model"),
        ('second_judge: ""', "second_judge"),
        ("judge_timeout_s: 0", "judge_timeout_s"),
        ("judge_timeout_s: .inf", "judge_timeout_s"),
        ("judge_timeout_s: 3601", "judge_timeout_s"),
        ("max_judge_usd: -0.01", "max_judge_usd"),
        ("max_judge_usd: .nan", "max_judge_usd"),
        ("max_concurrent_judges: 0", "max_concurrent_judges"),
        ("max_concurrent_judges: 10001", "max_concurrent_judges"),
        ("judge_repeats: -1", "judge_repeats"),
        ("judge_repeats: 21", "judge_repeats"),
        ("agreement_sample: 2", "agreement_sample"),
        ("judge_prices: {m: {input: -1, output: 1}}", "judge_prices.m.input"),
        ("judge_prices: {m: {input: 1}}", "judge_prices.m.output"),
        ("judge_prices: {m: {input: 1, output: 1, dollars: 1}}", "judge_prices.m.dollars"),
        ("also_judge: [../kind]", "also_judge"),
        ("also_judge: ['a b']", "also_judge"),
        ("also_judge: [kind, kind]", "also_judge"),
        ("also_judge: [coherence]", "also_judge"),
        ("also_judge: [trait]", "also_judge"),
        ("also_judge: [judge]", "also_judge"),
        ("thresholds: {agreement: 1.5}", "thresholds.agreement"),
        ("judge_models: gpt-5", "judge_models"),
    ],
)
def test_a_setting_out_of_bounds_is_named(line: str, named: str) -> None:
    message = refused(line)
    assert message.startswith(f"experiment.yaml: {named}: ")
    assert len(message.splitlines()) == 1


def test_settings_at_their_bounds() -> None:
    text = """
model: embedded
judge_timeout_s: 0.5
max_judge_usd: 0
max_concurrent_judges: 1
judge_repeats: 20
agreement_sample: 3
also_judge: [kind, cold]
judge_prices: {"a/b:7b": {input: 0, output: 0, cached: 0, batch: 0.5}}
"""
    settings = parse_experiment(text, "demo", "experiment.yaml")
    assert settings.also_judge == ("kind", "cold")
    assert settings.judge_prices["a/b:7b"].usd(10**6, 10**6) == 0
    assert settings.max_judge_usd == 0
