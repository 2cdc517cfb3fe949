"""A third of the calls goes wrong: every prompt ends with the right score, or with its reason."""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from tests.judging.conftest import Asker, rated
from tests.providers import models, replies
from tests.providers.models import stable_score
from tests.providers.replies import Call, Reply, Responder
from tests.providers.server import FakeProvider
from traitvec_core.remote import calls

MakeAsker = Callable[..., Asker]
BOUND = 25
DEADLINE_S = 0.4


def true_score(prompt: str) -> int:
    """Never 0, so that a 0 would be a failure that was written down as a score."""
    return 1 + stable_score(prompt) % 100


def openai_says(text: str, finish_reason: str = "stop") -> Reply:
    return replies.openai_answer(
        text, finish_reason=finish_reason, logprobs=[(token, {token: 1.0}) for token in [text]]
    )


OPENAI_FAILURES: dict[str, Reply] = {
    "429": replies.openai_rate_limit(),
    "429 in seconds": replies.openai_rate_limit(retry_after_s=0.05),
    "429 in milliseconds": replies.openai_rate_limit(retry_after_ms=30),
    "500": replies.openai_server_error(),
    "502": replies.html_page(),
    "503": replies.openai_server_error(503),
    "dropped": Reply(action="drop"),
    "dropped midway": Reply(body=openai_says("85").body, action="drop_midway"),
    "hang": Reply(action="hang", hang_s=30.0),
    "trickle": Reply(body=openai_says("85").body, action="trickle", hang_s=30.0),
    "malformed": replies.malformed_json(),
    "no choices": replies.openai_no_choices(),
    "filter": replies.openai_content_filtered(),
    "filter of the prompt": replies.azure_content_filter(),
    "truncated": openai_says('{"score": 8', "length"),
    "truncated to nothing": openai_says("", "length"),
    "out of range": openai_says('{"score": 850}'),
    "negative": openai_says('{"score": -5}'),
    "prose": openai_says("The score is 0 out of 100."),
    "empty": openai_says(""),
}
ANTHROPIC_FAILURES: dict[str, Reply] = {
    "429": replies.anthropic_rate_limit(),
    "429 in seconds": replies.anthropic_rate_limit(retry_after_s=0.05),
    "500": replies.anthropic_server_error(),
    "502": replies.html_page(),
    "529": replies.anthropic_overloaded(),
    "dropped": Reply(action="drop"),
    "hang": Reply(action="hang", hang_s=30.0),
    "malformed": replies.malformed_json(),
    "no content": Reply(body={"type": "message", "content": None, "stop_reason": "end_turn"}),
    "empty": replies.anthropic_answer(),
    "refusal": replies.anthropic_answer(stop_reason="refusal"),
    "truncated": replies.anthropic_answer('{"score": 8', stop_reason="max_tokens"),
    "out of range": replies.anthropic_answer('{"score": 850}'),
    "prose": replies.anthropic_answer("The score is 0 out of 100."),
}
# What no repetition can fix.
FINAL = {"filter", "filter of the prompt", "refusal"}


def storm(good: Responder, failures: dict[str, Reply], seen: Counter[str]) -> Responder:
    dice = random.Random(7)
    happened: dict[str, list[str]] = {}

    def respond(call: Call) -> Reply:
        if dice.random() < 0.3:
            kind = dice.choice(sorted(failures))
            seen[kind] += 1
            happened.setdefault(call.prompt, []).append(kind)
            return failures[kind]
        return good(call)

    respond.happened = happened  # type: ignore[attr-defined]
    return respond


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "good", "failures"),
    [
        ("gpt-5-mini", partial(models.gpt_5_mini, score_of=true_score), OPENAI_FAILURES),
        (
            "gpt-4.1-mini",
            partial(models.gpt_4_1_mini, distribution_of=lambda p: {true_score(p): 1.0}),
            OPENAI_FAILURES,
        ),
        (
            "claude-haiku-4-5",
            partial(models.claude_haiku_4_5, score_of=true_score),
            ANTHROPIC_FAILURES,
        ),
    ],
)
def test_every_prompt_ends_with_its_score_or_its_reason(
    asker: MakeAsker, name: str, good: Responder, failures: dict[str, Reply]
) -> None:
    seen: Counter[str] = Counter()
    respond = storm(good, failures, seen)
    prompts = rated(300)
    with FakeProvider(respond, latency_s=0.005) as server:
        first = asker(server, name, max_concurrent_judges=BOUND, judge_timeout_s=DEADLINE_S)
        found, _, asked = first.ask(prompts)
        assert set(seen) == set(failures)
        assert (set(found), asked) == (set(prompts), 300)
        assert server.log.max_in_flight <= BOUND
        for prompt, judgement in found.items():
            if judgement.status == "ok":
                assert judgement.score == true_score(prompt)
                continue
            assert judgement.score is None
            assert judgement.reason
            # A reason is no invention: this prompt did go wrong.
            happened = respond.happened[prompt]  # type: ignore[attr-defined]
            if FINAL & set(happened):
                assert judgement.status in ("refusal", "error")
                assert judgement.is_final
            else:
                assert len(happened) >= 3
        n_final = sum(bool(FINAL & set(h)) for h in respond.happened.values())  # type: ignore[attr-defined]
        n_missing = sum(j.status != "ok" for j in found.values())
        # Three unusable answers, or six failures, one after the other are rare at 30%.
        assert n_final <= n_missing <= n_final + 10
        # What is not final is asked again by the next run, and nothing else is.
        unfinished = [p for p, j in found.items() if not j.is_final]
        server.responder = good
        asked_before = server.log.total
        later = asker(server, name)
        _, _, asked_again = later.ask(prompts)
        assert asked_again == len(unfinished) == server.log.total - asked_before


@pytest.mark.parametrize(
    ("name", "reply", "status", "reason"),
    [
        ("gpt-5-mini", replies.openai_content_filtered(), "refusal", "content filter"),
        ("gpt-5-mini", replies.azure_content_filter(), "error", "content filter"),
        (
            "gpt-5-mini",
            replies.openai_answer(None, refusal="I won't"),
            "refusal",
            "the judge refused: I won't",
        ),
        ("gpt-5-mini", replies.openai_context_exceeded(), "error", "longer than"),
        ("claude-haiku-4-5", replies.anthropic_answer(stop_reason="refusal"), "refusal", "refused"),
        ("claude-haiku-4-5", replies.anthropic_prompt_too_long(), "error", "longer than"),
        (
            "claude-haiku-4-5",
            replies.anthropic_error(413, "request_too_large", "Request exceeds the maximum size"),
            "error",
            "longer than",
        ),
    ],
)
def test_what_is_about_the_prompt_is_final(
    asker: MakeAsker, name: str, reply: Reply, status: str, reason: str
) -> None:
    with FakeProvider(lambda call: reply) as server:
        found, _, asked = asker(server, name).ask(rated(2))
        assert (asked, server.log.total) == (2, 2)
        for judgement in found.values():
            assert (judgement.score, judgement.status) == (None, status)
            assert reason in judgement.reason
        again, _, asked = asker(server, name).ask(rated(2))
        assert (asked, server.log.total) == (0, 2)
        assert again == found


@pytest.mark.parametrize("name", ["gpt-5-mini", "claude-haiku-4-5"])
def test_what_may_pass_is_asked_again_by_the_next_run(asker: MakeAsker, name: str) -> None:
    with FakeProvider(lambda call: replies.html_page(503)) as server:
        found, _, _ = asker(server, name).ask(rated(3))
        assert {j.status for j in found.values()} == {"error"}
        assert {j.reason for j in found.values()} == {"busy (503)"}
        server.responder = models.by_model
        again, _, asked = asker(server, name).ask(rated(3))
        assert asked == 3
        assert {p: j.score for p, j in again.items()} == {p: stable_score(p) for p in rated(3)}


def test_a_request_too_large_for_the_account_is_not_tried_again(asker: MakeAsker) -> None:
    message = "Request too large for gpt-5-mini on tokens per min (TPM): Limit 30000, Requested 5e4"
    reply = replies.openai_error(429, message, type="tokens", code="rate_limit_exceeded")
    with FakeProvider(lambda call: reply) as server:
        (judgement,) = asker(server, "gpt-5-mini").ask(rated(1))[0].values()
        assert server.log.total == 1
        assert "Request too large" in judgement.reason
        # A larger account may come.
        assert not judgement.is_final


@pytest.mark.slow
def test_a_trickling_answer_is_cut_at_the_deadline(asker: MakeAsker) -> None:
    slow = Reply(body=openai_says("85").body, action="trickle", hang_s=60.0)
    with FakeProvider(lambda call: slow) as server:
        found, _, _ = asker(server, "gpt-5-mini", judge_timeout_s=0.2).ask(rated(1))
        (judgement,) = found.values()
        # Not after the 60 s that the answer takes.
        assert judgement.reason == "no answer within 0.2 s"
        assert not judgement.is_final
        assert 0 < server.log.total <= calls.MAX_ATTEMPTS


def test_the_limit_halves_under_429_and_climbs_back(asker: MakeAsker) -> None:
    """A server that takes 4 at a time is not asked more than that for long."""
    refused = 0

    def narrow(call: Call) -> Reply:
        nonlocal refused
        if server.log.in_flight > 4 and server.log.total < 200:
            refused += 1
            return replies.openai_rate_limit(retry_after_ms=20)
        return models.gpt_5_mini(call)

    with FakeProvider(narrow, latency_s=0.01) as server:
        found, _, _ = asker(server, "gpt-5-mini", max_concurrent_judges=32).ask(rated(400))
        assert {j.status for j in found.values()} == {"ok"}
        assert refused < 100
        # Nothing is refused any more in the second half: it climbs.
        late = server.log.calls[-100:]
        assert len(late) == 100
        assert server.log.max_in_flight <= 32


def test_two_runs_at_once_pay_for_nothing_twice(asker: MakeAsker) -> None:
    prompts = rated(120)
    bound = 6
    with FakeProvider(models.gpt_5_mini, latency_s=0.02) as server:
        asker(server, "gpt-5-mini").judge()  # imports, before the clock runs
        results: list[dict[str, float | None]] = []

        def run(order: int) -> None:
            mine = asker(server, "gpt-5-mini", max_concurrent_judges=bound)
            results.append(mine.scores(prompts[::order]))

        threads = [threading.Thread(target=run, args=(order,)) for order in (1, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert results == [{p: stable_score(p) for p in prompts}] * 2
        # Each in an order of its own, so that it finds what the other has finished; both may be
        # at the same ones in the end.
        assert server.log.total <= len(prompts) + 8 * bound
        assert asker(server, "gpt-5-mini").ask(prompts)[2] == 0


def test_a_run_that_starts_later_asks_for_the_rest_only(asker: MakeAsker) -> None:
    prompts = rated(60)
    with FakeProvider(models.gpt_5_mini) as server:
        asker(server, "gpt-5-mini").ask(prompts[:45])
        assert asker(server, "gpt-5-mini").ask(prompts)[2] == 15
        assert server.log.answers == dict.fromkeys(prompts, 1)


def test_the_store_reads_as_json_what_the_judge_is(asker: MakeAsker) -> None:
    with FakeProvider(models.gpt_5_mini) as server:
        identity = json.loads(asker(server, "gpt-5-mini").judge().identity)
        assert identity["model"] == "gpt-5-mini"
        assert identity["server"] == server.base_url_openai
