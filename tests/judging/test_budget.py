"""What an experiment may spend is never exceeded, and is made use of."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.judging.conftest import Asker, rated
from tests.providers import models, replies
from tests.providers.replies import Call, Reply, Responder
from tests.providers.server import FakeProvider
from traitvec_core.judging.judgement_store import JudgementStore
from traitvec_core.judging.prices import price_of
from traitvec_core.judging.reading import Judgement

MakeAsker = Callable[..., Asker]


class Till:
    """What the server charges for every answer that it gives, useful or not."""

    def __init__(self, responder: Responder = models.by_model) -> None:
        self.responder = responder
        self.usd = 0.0

    def __call__(self, call: Call) -> Reply:
        reply = self.responder(call)
        if reply.status == 200 and isinstance(reply.body, dict):
            price = price_of(call.body["model"])
            usage = reply.body["usage"]
            assert price is not None
            self.usd += (price.batch if call.in_batch else 1.0) * price.usd(
                usage.get("prompt_tokens", usage.get("input_tokens")),
                usage.get("completion_tokens", usage.get("output_tokens")),
            )
        return reply


def missing(found: dict[str, Judgement], limit: float) -> list[str]:
    """Prompts that the budget left out; everything else must have its score."""
    out = []
    for prompt, judgement in found.items():
        if judgement.status == "ok":
            assert judgement.score == models.stable_score(prompt)
        else:
            assert judgement.reason == f"the budget of ${limit:g} is spent"
            assert (judgement.score, judgement.status) == (None, "error")
            assert not judgement.is_final
            assert judgement.usd == 0
            out.append(prompt)
    return out


def cost_of(name: str, n: int) -> float:
    """What the server charges for so many of these prompts."""
    till = Till()
    with FakeProvider(till) as server, JudgementStore() as store:
        Asker(server, store, name).ask(rated(n))
    return till.usd


@pytest.mark.parametrize(
    ("name", "concurrent"),
    [("gpt-5-mini", 1), ("gpt-5-mini", 30), ("gpt-5-nano", 7), ("claude-haiku-4-5", 30)],
)
def test_the_budget_is_used_and_not_exceeded(asker: MakeAsker, name: str, concurrent: int) -> None:
    limit = 0.0
    prompts = rated(150)
    with FakeProvider(till := Till(), latency_s=0.002) as server:
        settings = {"max_concurrent_judges": concurrent, "max_judge_usd": 1.0}
        most = asker(server, name, **settings).judge().most_usd(prompts[0])
        # What one call may cost at most, and fifty judgements more.
        limit = most + cost_of(name, 50)
        mine = asker(server, name, **settings | {"max_judge_usd": limit})
        found, paid, _ = mine.ask(prompts)
        assert set(found) == set(prompts)
        left_out = missing(found, limit)
        # One call's reserve is ever unspent, however many calls there are at once.
        assert limit - most <= till.usd <= limit
        assert 50 <= len(prompts) - len(left_out) < 150
        assert paid.usd == pytest.approx(till.usd)
        assert mine.store.spent_usd("demo") == pytest.approx(till.usd)
        # What does not fit is not asked for.
        assert server.log.total == len(prompts) - len(left_out)


def test_the_budget_holds_when_much_goes_wrong(asker: MakeAsker) -> None:
    """Answers without a score are paid for, and tried again with four times more room."""

    def unlucky(call: Call) -> Reply:
        if call.number % 5 == 0:
            return replies.openai_server_error()
        if call.number % 5 == 1:
            room = call.body["max_completion_tokens"]
            return replies.openai_answer(
                "", finish_reason="length", completion_tokens=room, reasoning_tokens=room
            )
        if call.number % 5 == 2:
            return replies.openai_answer("It depends.", completion_tokens=3000)
        return models.gpt_5_mini(call, reasoning_tokens=2000)

    limit = 0.5
    with FakeProvider(till := Till(unlucky), latency_s=0.002) as server:
        mine = asker(server, "gpt-5-mini", max_judge_usd=limit, max_concurrent_judges=20)
        found, paid, _ = mine.ask(rated(200))
        assert limit / 2 < till.usd <= limit
        assert paid.usd == pytest.approx(till.usd)
        assert mine.store.spent_usd("demo") == pytest.approx(till.usd)
        reasons = {j.reason for j in found.values() if j.status == "error"}
        assert reasons == {f"the budget of ${limit:g} is spent"}


def test_large_reserves_of_thinking_models_wait_for_calls_under_way(asker: MakeAsker) -> None:
    """Only three calls fit by what they may cost; by what they do cost, all do."""
    prompts = rated(100)
    with FakeProvider(
        till := Till(partial(models.gpt_5_mini, reasoning_tokens=10)), latency_s=0.005
    ) as server:
        most = asker(server, "gpt-5-mini").judge().most_usd(prompts[0])
        limit = 3.5 * most
        found, _, _ = asker(
            server, "gpt-5-mini", max_judge_usd=limit, max_concurrent_judges=50
        ).ask(prompts)
        assert missing(found, limit) == []
        assert server.log.max_in_flight <= 3
        assert till.usd <= limit


@pytest.mark.parametrize("name", ["gpt-5-mini", "claude-haiku-4-5"])
@pytest.mark.parametrize("mode", ["live", "batch"])
def test_a_budget_of_nothing_asks_for_nothing(asker: MakeAsker, name: str, mode: str) -> None:
    with FakeProvider() as server:
        found, paid, _ = asker(server, name, max_judge_usd=0.0, judge_mode=mode).ask(rated(8))
        assert sorted(missing(found, 0.0)) == rated(8)
        assert paid.usd == 0
        assert server.log.requests == []


def test_what_is_free_fits_into_a_budget_of_nothing(asker: MakeAsker) -> None:
    prices = {"gpt-5-mini": {"input": 0, "output": 0}}
    with FakeProvider() as server:
        found, _, _ = asker(server, "gpt-5-mini", max_judge_usd=0.0, judge_prices=prices).ask(
            rated(8)
        )
        assert missing(found, 0.0) == []


@pytest.mark.parametrize("name", ["gpt-5-mini", "claude-haiku-4-5"])
def test_a_larger_budget_asks_for_the_rest_only(asker: MakeAsker, name: str) -> None:
    prompts = rated(60)
    with FakeProvider(till := Till()) as server:
        limit = asker(server, name).judge().most_usd(prompts[0]) + cost_of(name, 20)
        first, _, _ = asker(server, name, max_judge_usd=limit).ask(prompts)
        left_out = missing(first, limit)
        assert 0 < len(left_out) <= 40
        # The same budget again buys nothing more.
        spent, total = till.usd, server.log.total
        again, paid, _ = asker(server, name, max_judge_usd=limit).ask(prompts)
        assert len(missing(again, limit)) <= len(left_out)
        assert spent <= till.usd <= limit
        assert paid.usd == pytest.approx(till.usd - spent)
        left_out = missing(again, limit)
        total = server.log.total
        found, _, asked = asker(server, name, max_judge_usd=1.0).ask(prompts)
        assert missing(found, 1.0) == []
        assert asked == len(left_out) == server.log.total - total
        assert server.log.answers == dict.fromkeys(prompts, 1)


def test_two_judges_share_a_budget_through_the_store(asker: MakeAsker) -> None:
    prompts = rated(60)
    with FakeProvider(till := Till()) as server:
        most = asker(server, "gpt-5-mini").judge().most_usd(prompts[0])
        limit = most + cost_of("claude-haiku-4-5", 60) + cost_of("gpt-5-mini", 10)
        first, _, _ = asker(server, "claude-haiku-4-5", max_judge_usd=limit).ask(prompts)
        assert missing(first, limit) == []
        second, _, _ = asker(server, "gpt-5-mini", max_judge_usd=limit).ask(prompts)
        # Had it a budget of its own, three times as many would have fitted.
        assert 10 <= 60 - len(missing(second, limit)) < 15
        assert limit - most <= till.usd <= limit


def test_a_judge_made_early_sees_what_another_has_spent_since(asker: MakeAsker) -> None:
    prompts = rated(60)
    with FakeProvider(till := Till()) as server:
        most = asker(server, "gpt-5-mini").judge().most_usd(prompts[0])
        limit = most + cost_of("gpt-5-mini", 20)
        early = asker(server, "gpt-5-mini", max_judge_usd=limit)
        judge = early.judge()
        early.ask(prompts[:1], judge)
        asker(server, "gpt-5-mini", max_judge_usd=limit).ask(prompts[:40])
        early.ask(prompts, judge)
        assert till.usd <= limit


def test_what_another_experiment_spends_is_not_held_against_this_one(asker: MakeAsker) -> None:
    with FakeProvider(Till()) as server:
        limit = asker(server, "gpt-5-mini").judge().most_usd(rated(1)[0]) * 2
        other = asker(server, "gpt-5-mini")
        other.experiment = "other"
        other.ask(rated(200, start=1000))
        assert other.store.spent_usd("other") > limit
        found, _, _ = asker(server, "gpt-5-mini", max_judge_usd=limit).ask(rated(20))
        assert missing(found, limit) == []


def test_refused_and_failed_calls_leave_the_budget_as_it_is(asker: MakeAsker) -> None:
    def broken(call: Call) -> Reply:
        return replies.openai_error(400, "odd") if call.number % 2 else Reply(action="drop")

    with FakeProvider(broken) as server:
        limit = asker(server, "gpt-5-mini").judge().most_usd(rated(1)[0]) * 1.5
        mine = asker(server, "gpt-5-mini", max_judge_usd=limit)
        found, _, _ = mine.ask(rated(10))
        assert not any("budget" in j.reason for j in found.values())
        assert mine.store.spent_usd("demo") == 0
        server.responder = models.by_model
        assert missing(mine.ask(rated(10))[0], limit) == []
