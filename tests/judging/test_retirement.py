"""Judges that their provider shuts down: said before money is spent, with what to write."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.server import FakeProvider, Reply
from traitvec_core.experiment import DEFAULT_JUDGE, ExperimentSettings
from traitvec_core.judging.prices import overrides, price_of
from traitvec_core.judging.retirement import judge_notes, retirement_of, shutdown_dates

DAY = date(2026, 12, 11)
KEY = "sk-retirement-0123456789"


def settings(**changes: Any) -> ExperimentSettings:
    return ExperimentSettings(model="embedded", **changes)


def texts(made: ExperimentSettings, **options: Any) -> list[str]:
    return [f"{note.text}; {note.advice}" for note in judge_notes(made, **options)]


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Any:
    with FakeProvider() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url_openai)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield server


def test_the_default_has_a_price_and_no_end() -> None:
    assert price_of(DEFAULT_JUDGE) is not None
    assert retirement_of(DEFAULT_JUDGE) is None
    # OpenAI's recommendation in place of the default of earlier versions.
    assert overrides()["models"]["gpt-5-mini"]["replacement"] == DEFAULT_JUDGE


def test_a_shutdown_is_named_before_and_after_its_day() -> None:
    before = "gpt-5-mini will be shut down on 2026-12-11"
    after = "gpt-5-mini was to be shut down on 2026-12-11"
    assert retirement_of("gpt-5-mini", today=date(2026, 12, 10)) == before
    assert retirement_of("gpt-5-mini", today=DAY) == after
    assert retirement_of("gpt-5-mini-2025-08-07", today=date(2030, 1, 1)) == after.replace(
        "mini", "mini-2025-08-07"
    )
    assert retirement_of("claude-haiku-4-5") is None


def test_every_setting_that_names_a_judge_is_looked_at() -> None:
    made = settings(
        judge_model="gpt-5-mini",
        scorers={"one": "gpt-5-nano", "two": "python:scorers.py:words", "three": "gpt-5-mini"},
        coherence_judge="gpt-4.1-mini",
        second_judge="o3",
    )
    notes = texts(made)
    assert [note.split(" ")[0] for note in notes] == ["gpt-5-mini", "gpt-5-nano", "gpt-4.1-mini",
                                                      "o3"]  # fmt: skip
    assert "write judge_model: gpt-6.1-terra instead" in notes[0]
    assert "judgements by gpt-5-mini stay valid" in notes[0]
    assert "write scorers.one: gpt-6-luna instead" in notes[1]
    assert "write coherence_judge: " in notes[2]
    assert "write second_judge: " in notes[3]
    assert texts(settings(judge_model="embedded")) == texts(settings(judge_model="org/m")) == []


def test_the_provider_knows_better_than_the_table(openai: FakeProvider) -> None:
    openai.shutdown_dates = {"gpt-6.1-terra": "2031-02-03", "gpt-5-mini": "2026-12-24"}
    (note,) = texts(settings(), ask=True)
    assert note.startswith("gpt-6.1-terra will be shut down on 2031-02-03; write judge_model: ")
    (note,) = texts(settings(judge_model="gpt-5-mini"), ask=True)
    assert note.startswith("gpt-5-mini will be shut down on 2026-12-24; ")
    assert texts(settings()) == []
    openai.models = []
    (note,) = texts(settings(judge_model="gpt-6.1-tera"), ask=True)
    assert note == (
        "OpenAI knows no model 'gpt-6.1-tera', or not for this key; check judge_model in"
        " experiment.yaml"
    )


def test_nobody_is_asked_without_the_provider_s_key(
    openai: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai.shutdown_dates = {"gpt-5-mini": "2030-01-01"}
    own = settings(judge_model="gpt-5-mini", judge_base_url=openai.base_url_openai)
    assert "2026-12-11" in texts(own, ask=True)[0]
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "2026-12-11" in texts(settings(judge_model="gpt-5-mini"), ask=True)[0]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=500), Reply(body="[]"), Reply(body="<html>"), Reply(status=404),
        Reply(body={"shutdown_date": 7}), Reply(body={"shutdown_date": "soon"}),
        Reply(body="[" * 100_000), Reply(body="x" * 5_000_000), Reply(action="drop"),
        Reply(status=302, headers={"location": "/v1/models"}),
        Reply(body=b"\x1f\x8b", headers={"content-encoding": "gzip"}),
    ],
)  # fmt: skip
def test_any_other_answer_leaves_the_table(openai: FakeProvider, reply: Reply) -> None:
    openai.model_page = reply
    (note,) = texts(settings(judge_model="gpt-5-mini"), ask=True)
    assert "2026-12-11" in note


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.just("2026-12-11"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "id", "shutdown_date"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_list_of_models_is_read(models: Any) -> None:
    assert all(isinstance(day, date) for day in shutdown_dates(models).values())


def test_a_list_of_models_has_the_announced_days() -> None:
    listed = {
        "data": [
            {"id": "a", "shutdown_date": "2026-12-11"}, {"id": "b", "shutdown_date": None},
            {"id": "c"}, {"id": "d", "shutdown_date": "never"}, 7,
        ]
    }  # fmt: skip
    assert shutdown_dates(listed) == {"a": DAY}
