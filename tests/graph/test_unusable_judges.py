"""Judges that cannot be used, in runs: named by a line, repaired and used, never silent."""

import re
from functools import partial

import pytest

from tests.graph.conftest import Serve, scores_that_separate
from tests.projects import SmallProject
from tests.providers.models import gpt_5_mini
from tests.providers.replies import Call, Reply, openai_answer, openai_error
from traitvec_core.judging.preflight import preflight_prompts
from traitvec_core.remote import calls, waiting

pytestmark = pytest.mark.slow

JUDGE = "judged_responses"


def test_the_preflight_of_a_run_costs_two_calls_and_ends_it(
    generated: SmallProject, serve: Serve
) -> None:
    generated.set(judge_preflight=True)
    server = serve(partial(gpt_5_mini, score_of=lambda prompt: 50))
    done = generated.run("refusal", JUDGE)
    assert not done.is_success
    (problem,) = done.problems
    assert "failed its preflight: 50 for a clear answer, 50 for noise" in problem
    assert {call.prompt for call in server.log.calls} == set(preflight_prompts().values())
    assert generated.states("refusal")[JUDGE] == "missing"


def test_a_judge_that_wrote_prose_for_a_while_is_asked_again(
    generated: SmallProject, serve: Serve
) -> None:
    score_of = scores_that_separate(generated)

    def prose_but_once(call: Call) -> Reply:
        if call.number == 0:
            return gpt_5_mini(call, score_of=score_of)
        return openai_answer("It depends.")

    server = serve(prose_but_once)
    generated.set(max_concurrent_judges=1)
    assert generated.run("refusal", JUDGE).made
    metadata = generated.trait("refusal").metadata(JUDGE)
    assert sum(metadata["unfinished"].values()) == len(server.log.answers) - 1
    assert generated.states("refusal")[JUDGE] == "partial"
    server.responder = partial(gpt_5_mini, score_of=score_of)
    again = generated.run("refusal")
    assert again.is_good, again.problems
    assert set(generated.states("refusal").values()) == {"fresh"}
    judged = generated.trait("refusal").read_responses()
    assert judged[["trait_score", "coherence_score"]].notna().all(axis=None)


def test_the_log_says_that_a_judge_is_waited_for(
    generated: SmallProject, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "FIRST_LINE_S", 0.2)
    monkeypatch.setattr(waiting, "LOOK_EVERY_S", 0.1)
    serve(partial(gpt_5_mini, score_of=scores_that_separate(generated)), latency_s=1.0)
    done = generated.run("refusal", JUDGE)
    messages = [entry.user_message for entry in generated.instance.all_logs(done.run_id)]
    assert any("waiting for the judge (http" in message for message in messages)


def test_the_log_says_that_a_judge_is_busy_and_when_it_is_asked_again(
    generated: SmallProject, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "FIRST_BUSY_LINE_S", 0.1)
    monkeypatch.setattr(waiting, "BUSY_GAP_S", 0.1)
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 0.3)
    generated.set(judge_preflight=True)
    busy = openai_error(429, "Rate limit reached", code="rate_limit_exceeded")
    serve(lambda call: busy)
    done = generated.run("refusal", JUDGE)
    (problem,) = done.problems
    assert "failed its preflight: no score for two known answers (busy (429))" in problem
    messages = [entry.user_message for entry in generated.instance.all_logs(done.run_id)]
    said = [message for message in messages if "is busy (429), next try in" in message]
    assert 1 < len(said) < 20
    assert all(re.search(r"the judge \(http.*\) is busy .* attempt \d of 9", one) for one in said)
