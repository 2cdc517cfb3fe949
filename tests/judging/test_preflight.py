"""Before anything else, a judge must give a clear answer a higher score than noise."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from tests.judging.conftest import Asker, rated
from tests.providers import models, replies
from tests.providers.replies import Call, Reply
from tests.providers.server import FakeProvider
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.judge import score_prompts
from traitvec_core.judging.judgement_store import JudgementStore
from traitvec_core.judging.load import load_judge
from traitvec_core.judging.preflight import preflight_prompts
from traitvec_core.models.language_model import load_language_model

MakeAsker = Callable[..., Asker]
CLEAR, NOISE = preflight_prompts()["clear"], preflight_prompts()["noise"]


def able(prompt: str) -> int:
    return {CLEAR: 95, NOISE: 3}.get(prompt, models.stable_score(prompt))


def reverse(prompt: str) -> int:
    return {CLEAR: 10, NOISE: 60}.get(prompt, 50)


def weighted(prompt: str) -> Mapping[int, float]:
    return {able(prompt): 1.0}


JUDGES: dict[str, Callable[[Call], Reply]] = {
    "gpt-5-mini": partial(models.gpt_5_mini, score_of=able),
    "gpt-4.1-mini": partial(models.gpt_4_1_mini, distribution_of=weighted),
    "claude-haiku-4-5": partial(models.claude_haiku_4_5, score_of=able),
}


def prompts_of(server: FakeProvider) -> list[str]:
    return [call.prompt for call in server.log.calls]


@pytest.mark.parametrize("name", JUDGES)
def test_two_known_answers_come_first_and_once(asker: MakeAsker, name: str) -> None:
    with FakeProvider(JUDGES[name]) as server:
        found, _, n = asker(server, name, judge_preflight=True).ask(rated(5))
        assert {judgement.status for judgement in found.values()} == {"ok"}
        assert set(prompts_of(server)[:2]) == {CLEAR, NOISE}
        assert (n, server.log.total) == (5, 7)
        # What the run reports is about its responses; the experiment pays for both.
        (line,) = [row for row in asker(server, name).store.summary() if row["trait"] != "trait"]
        assert (line["experiment"], line["judgements"]) == ("demo", 2)
        assert line["usd"] > 0
        asker(server, name, judge_preflight=True).ask(rated(5, start=50))
        assert server.log.total == 12


def test_without_anything_to_ask_it_is_not_asked_either(asker: MakeAsker) -> None:
    with FakeProvider(JUDGES["gpt-5-mini"]) as server:
        asker(server, "gpt-5-mini").ask(rated(5))
        assert server.log.total == 5
        asker(server, "gpt-5-mini", judge_preflight=True).ask(rated(5))
        assert server.log.total == 5


@pytest.mark.parametrize(
    ("responder", "says"),
    [
        (partial(models.gpt_5_mini, score_of=reverse), "10 for a clear answer, 60 for noise"),
        (partial(models.gpt_5_mini, score_of=lambda p: 50), "50 for a clear answer, 50 for noise"),
        (
            lambda call: replies.openai_answer("Sure!\x1b[2J"),
            "(answered 'Sure!",
        ),
        (
            lambda call: replies.openai_answer(None, refusal="I won't"),
            "(the judge refused: I won't)",
        ),
        (
            lambda call: Reply(body="<html>Hi</html>", headers={"content-type": "text/html"}),
            "('<html>Hi</html>' in place of a JSON object; check OPENAI_BASE_URL)",
        ),
        (lambda call: Reply(body="[" * 100_000), "(an unreadable answer: JSON nested too deeply)"),
    ],
)
def test_a_judge_that_fails_is_named_before_anything_else_is_asked(
    asker: MakeAsker, responder: Callable[[Call], Reply], says: str
) -> None:
    with FakeProvider(responder) as server:
        with pytest.raises(TraitvecError) as error:
            asker(server, "gpt-5-mini", judge_preflight=True).ask(rated(500))
        assert set(prompts_of(server)) == {CLEAR, NOISE}
        text = str(error.value)
        assert says in text
        assert "judge_preflight: false" in text
        # What gives no answer at all may give one later; any other judge must be replaced.
        is_silent = "place of a JSON" in says or "unreadable" in says
        assert ("run again" in text) == is_silent
        assert ("another judge_model" in text) != is_silent
        assert text.isprintable()
        # Repaired under the same name: asked anew, not remembered.
        server.responder = JUDGES["gpt-5-mini"]
        found, _, _ = asker(server, "gpt-5-mini", judge_preflight=True).ask(rated(5))
    assert {judgement.status for judgement in found.values()} == {"ok"}


def test_a_judge_that_fails_can_be_used_on_purpose(asker: MakeAsker) -> None:
    with FakeProvider(partial(models.gpt_5_mini, score_of=reverse)) as server:
        found, _, _ = asker(server, "gpt-5-mini", judge_preflight=False).ask(rated(5))
        assert {judgement.score for judgement in found.values()} == {50.0}
        assert server.log.total == 5


def test_a_judge_that_fails_now_and_then_passes(asker: MakeAsker) -> None:
    def flaky(call: Call) -> Reply:
        if call.prompt == NOISE and call.attempt < 4:
            return replies.openai_answer("It depends.")
        if call.prompt == CLEAR and call.attempt == 0:
            return replies.openai_content_filtered()
        return JUDGES["gpt-5-mini"](call)

    with FakeProvider(flaky) as server:
        found, _, _ = asker(server, "gpt-5-mini", judge_preflight=True).ask(rated(5))
    assert {judgement.status for judgement in found.values()} == {"ok"}


def test_without_money_there_is_nothing_to_check(asker: MakeAsker) -> None:
    with FakeProvider(JUDGES["gpt-5-mini"]) as server:
        asked = asker(server, "gpt-5-mini", judge_preflight=True, max_judge_usd=1e-9)
        found, _, _ = asked.ask(rated(5))
        assert server.log.total == 0
    assert {judgement.reason for judgement in found.values()} == {"the budget of $1e-09 is spent"}


def test_it_does_not_wait_for_a_batch(asker: MakeAsker) -> None:
    with FakeProvider(JUDGES["gpt-5-mini"]) as server:
        asked = asker(server, "gpt-5-mini", judge_preflight=True, judge_mode="batch")
        found, _, _ = asked.ask(rated(5))
        assert {judgement.status for judgement in found.values()} == {"ok"}
        # The rest came in a batch.
        assert {call.prompt for call in server.log.calls if not call.in_batch} == {CLEAR, NOISE}


def judged_here(store: JudgementStore, **settings: Any) -> list[str]:
    judge = load_judge(
        ExperimentSettings(model="embedded", judge_model="embedded", **settings), store,
        load_model=load_language_model,
    )  # fmt: skip
    sources = {prompt: ("trait", str(i)) for i, prompt in enumerate(rated(3))}
    return [j.status for j in score_prompts(judge, sources, store=store)[0].values()]


def test_the_embedded_model_passes(store: JudgementStore) -> None:
    assert len(judged_here(store)) == 3
    assert {row["trait"]: row["judgements"] for row in store.summary()} == {
        "": 3,
        "(preflight)": 2,
    }
