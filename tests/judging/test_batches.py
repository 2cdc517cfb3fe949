"""Batches: half the price, nothing paid for twice, whatever dies on the way."""

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.judging.conftest import KEYS, Asker, rated
from tests.providers import models, replies
from tests.providers.models import stable_score
from tests.providers.replies import Call, Reply
from tests.providers.server import FakeProvider
from traitvec_core.judging import batch
from traitvec_core.judging.judgement_store import JudgementStore
from traitvec_core.judging.prices import price_of
from traitvec_core.remote.calls import StopError

MakeAsker = Callable[..., Asker]
both = pytest.mark.parametrize("name", ["gpt-5-mini", "claude-haiku-4-5"])
openai_alone = pytest.mark.parametrize("name", ["gpt-5-mini"])


def right(prompts: list[str]) -> dict[str, float | None]:
    return {prompt: stable_score(prompt) for prompt in prompts}


def submits(server: FakeProvider) -> int:
    return sum(
        request in ("POST /v1/batches", "POST /v1/messages/batches")
        for request in server.log.requests
    )


def in_batches(asker: MakeAsker, server: FakeProvider, name: str, **settings: object) -> Asker:
    return asker(server, name, judge_mode="batch", **settings)


@both
def test_a_batch_is_scored_at_half_the_price(asker: MakeAsker, name: str) -> None:
    prompts = rated(40)
    with FakeProvider() as server:
        server.batch_settings.polls_to_finish = 4
        mine = in_batches(asker, server, name)
        found, paid, asked = mine.ask(prompts)
        assert {p: j.score for p, j in found.items()} == right(prompts)
        assert (asked, submits(server)) == (40, 1)
        assert (server.log.total, server.log.batch_total) == (0, 40)
        price = price_of(name)
        assert price is not None
        assert paid.usd == pytest.approx(price.usd(paid.tokens_in, paid.tokens_out) / 2)
        assert mine.store.spent_usd("demo") == pytest.approx(paid.usd)
        # Its end and its progress are reported.
        assert "submitted, 40 judgements" in mine.said[0]
        assert any(re.search(r": 40 of 40 answered$", said) for said in mine.said)
        assert in_batches(asker, server, name).ask(prompts)[2] == 0
        assert submits(server) == 1


# ---------------------------------------------------------------------------- death


def _run_in_child(base_url: str, name: str, store: Path) -> None:
    os.environ |= KEYS
    with FakeProvider() as unused, JudgementStore(store) as opened:
        # The server is the parent's.
        unused.port = int(base_url.rsplit(":", 1)[1])
        Asker(unused, opened, name, {"judge_mode": "batch"}).ask(rated(12))


def _killed(
    server: FakeProvider, name: str, store: Path, when: threading.Event, timeout_s: float = 30
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.judging.test_batches", "openai", "anthropic"])
    child = context.Process(
        target=_run_in_child, args=(server.base_url_anthropic, name, store), daemon=True
    )
    child.start()
    try:
        assert when.wait(timeout_s)
    finally:
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join(10)


@both
@pytest.mark.parametrize("moment", ["before submitting", "before its id", "while it is polled"])
def test_a_run_that_is_killed_pays_for_nothing_twice(
    tmp_path: Path, asker: MakeAsker, name: str, moment: str
) -> None:
    reached = threading.Event()
    posts = 0

    def intercept(method: str, path: str, work: Callable[[], Reply]) -> Reply:
        nonlocal posts
        if method == "POST" and path.endswith("batches"):
            posts += 1
            if posts == 1 and moment == "before submitting":
                reached.set()
                return Reply(action="hang", hang_s=60)
            reply = work()
            if posts == 1 and moment == "before its id":
                reached.set()
                return Reply(body=reply.body, action="hang", hang_s=60)
            return reply
        if "batches/" in path and moment == "while it is polled":
            reached.set()
        return work()

    with FakeProvider(intercept=intercept) as server:
        server.batch_settings.polls_to_finish = None
        _killed(server, name, tmp_path / "judgements.sqlite", reached)
        server.batch_settings.polls_to_finish = 2
        mine = in_batches(asker, server, name)
        assert mine.scores(rated(12)) == right(rated(12))
        is_found = moment == "while it is polled" or (
            moment == "before its id" and name == "gpt-5-mini"
        )
        # Anthropic's batches carry no name of ours: one whose id was lost is submitted again.
        assert posts == (1 if is_found else 2)
        assert server.log.batch_total == 12
        assert is_found == any("submitted earlier, 12 judgements" in said for said in mine.said)
        assert mine.store.open_batches(mine.judge().identity) == []


@both
def test_a_batch_of_an_earlier_run_is_kept_whole(asker: MakeAsker, name: str) -> None:
    """Also what nobody wants now: it is paid for."""
    with FakeProvider() as server:
        server.batch_settings.polls_to_finish = None
        stopped = in_batches(asker, server, name)
        stop_when_submitted(stopped, rated(20))
        server.batch_settings.polls_to_finish = 1
        mine = in_batches(asker, server, name)
        assert mine.scores(rated(5)) == right(rated(5))
        assert (submits(server), server.log.batch_total) == (1, 20)
        # The other fifteen are known too, and so is their cost.
        spent = mine.store.spent_usd("demo")
        found, paid, asked = in_batches(asker, server, name).ask(rated(20))
        assert {p: j.score for p, j in found.items()} == right(rated(20))
        assert (asked, paid.usd or 0) == (0, 0)
        assert spent == pytest.approx(sum(j.usd or 0 for j in found.values()))
        assert submits(server) == 1


class _StoppedError(Exception):
    pass


def stop_when_submitted(asker: Asker, prompts: list[str]) -> None:
    def stop(text: str) -> None:
        raise _StoppedError(text)

    judge = asker.judge()
    judge.batches = batch.Batches(stop)
    with pytest.raises(_StoppedError):
        asker.ask(prompts, judge)


# ---------------------------------------------------------------------------- several runs


@both
def test_two_runs_that_want_the_same_share_a_batch(
    tmp_path: Path, asker: MakeAsker, name: str
) -> None:
    """Each waits for what the other has submitted."""
    wanted = [rated(30), rated(30, start=15)]
    with FakeProvider() as server:
        server.batch_settings.polls_to_finish = 8
        in_batches(asker, server, name).judge()
        results: dict[int, dict[str, float | None]] = {}

        def run(number: int) -> None:
            with JudgementStore(tmp_path / "judgements.sqlite") as store:
                mine = Asker(server, store, name, {"judge_mode": "batch"})
                results[number] = mine.scores(wanted[number])

        threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert results == {number: right(prompts) for number, prompts in enumerate(wanted)}
        assert server.log.batch_answers == dict.fromkeys(rated(45), 1)
        assert submits(server) == 2
        assert in_batches(asker, server, name).ask(rated(45))[2] == 0


@both
def test_what_another_run_has_fetched_meanwhile_is_not_counted_again(
    asker: MakeAsker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two wait for a batch of a third, with some answers that hold no score."""

    def unlucky(call: Call) -> Reply:
        if call.in_batch and stable_score(call.prompt) % 3 == 0:
            if name == "gpt-5-mini":
                return replies.openai_answer("It depends.", completion_tokens=1000)
            return replies.anthropic_answer("It depends.", output_tokens=1000)
        return models.by_model(call)

    with FakeProvider(unlucky) as server:
        server.batch_settings.polls_to_finish = None
        stop_when_submitted(in_batches(asker, server, name), rated(20))
        server.batch_settings.polls_to_finish = 1
        slow, fast = in_batches(asker, server, name), in_batches(asker, server, name)
        judge = slow.judge()
        real = judge.model.results  # type: ignore[attr-defined]
        spent = 0.0

        async def results(id_: str) -> object:
            nonlocal spent
            got = await real(id_)
            if not spent:
                assert fast.scores(rated(10)) == right(rated(10))
                spent = fast.store.spent_usd("demo")
            return got

        monkeypatch.setattr(judge.model, "results", results)
        found, _, _ = slow.ask(rated(10, start=5), judge)
        assert {p: j.score for p, j in found.items()} == right(rated(10, start=5))
        live = [c.prompt for c in server.log.calls]
        assert len(live) == len(set(live))
        price = price_of(name)
        assert price is not None
        later = [p for p in rated(15)[10:] if stable_score(p) % 3 == 0]
        assert later
        cost = sum(price.usd(8 + len(p) // 4, 70 if name == "gpt-5-mini" else 12) for p in later)
        assert slow.store.spent_usd("demo") == pytest.approx(spent + cost, rel=0.02)


# ---------------------------------------------------------------------------- what goes wrong


@both
def test_what_failed_in_a_batch_is_asked_for_by_itself(asker: MakeAsker, name: str) -> None:
    bad = set(rated(20)[::4])

    def partly(call: Call) -> Reply:
        if call.in_batch and call.prompt in bad:
            return replies.openai_server_error()
        return models.by_model(call)

    with FakeProvider(partly) as server:
        assert in_batches(asker, server, name).scores(rated(20)) == right(rated(20))
        assert submits(server) == 1
        assert server.log.answers == dict.fromkeys(bad, 1)


@both
def test_what_expired_is_submitted_again(asker: MakeAsker, name: str) -> None:
    with FakeProvider() as server:
        server.batch_settings.outcome = "expired"
        server.batch_settings.done_share = 0.5
        assert in_batches(asker, server, name).scores(rated(16)) == right(rated(16))
        # 8, 4 and 2 of them; then the last two by themselves.
        assert (submits(server), server.log.batch_total, server.log.total) == (3, 14, 2)
        assert server.log.batch_answers | server.log.answers == dict.fromkeys(rated(16), 1)


@openai_alone
def test_a_batch_that_is_not_taken_is_one_line(asker: MakeAsker, name: str) -> None:
    with FakeProvider() as server:
        server.batch_settings.outcome = "failed"
        with pytest.raises(StopError, match="Enqueued token limit reached") as raised:
            in_batches(asker, server, name).ask(rated(6))
        assert "\n" not in str(raised.value)
        assert "judge_mode: live" in str(raised.value)
        assert server.log.total == 0
        server.batch_settings.outcome = "completed"
        assert in_batches(asker, server, name).scores(rated(6)) == right(rated(6))


@both
def test_a_batch_that_somebody_cancelled_is_one_line_and_what_it_answered_is_kept(
    asker: MakeAsker, name: str
) -> None:
    def intercept(method: str, path: str, work: Callable[[], Reply]) -> Reply:
        reply = work()
        if method == "POST" and path.endswith("batches") and submits(server) == 1:
            assert isinstance(reply.body, dict)
            server._store.route("POST", f"{path}/{reply.body['id']}/cancel", "", {}, b"")
        return reply

    with FakeProvider(intercept=intercept) as server:
        with pytest.raises(StopError, match=r"failed: .*cancelled") as raised:
            in_batches(asker, server, name).ask(rated(6))
        assert "\n" not in str(raised.value)
        assert in_batches(asker, server, name).scores(rated(6)) == right(rated(6))
        assert submits(server) == 2
        assert server.log.batch_answers == dict.fromkeys(rated(6), 1)


@both
def test_a_batch_that_the_provider_does_not_know_is_submitted_again(
    asker: MakeAsker, name: str
) -> None:
    with FakeProvider() as server:
        stop_when_submitted(in_batches(asker, server, name), rated(6))
        server._store.batches.clear()
        mine = in_batches(asker, server, name)
        assert mine.scores(rated(6)) == right(rated(6))
        assert any("no such batch" in said for said in mine.said)
        assert (submits(server), server.log.total) == (2, 0)


@both
@pytest.mark.parametrize(
    "failure", [replies.openai_server_error(), replies.html_page(503), Reply(action="drop")]
)
def test_a_failure_that_passes_does_not_end_the_run(
    asker: MakeAsker, name: str, failure: Reply
) -> None:
    looks = 0

    def intercept(method: str, path: str, work: Callable[[], Reply]) -> Reply:
        nonlocal looks
        looks += method == "GET"
        return failure if method == "GET" and looks in (1, 2, 4) else work()

    with FakeProvider(intercept=intercept) as server:
        server.batch_settings.polls_to_finish = 3
        assert in_batches(asker, server, name).scores(rated(6)) == right(rated(6))
        assert looks > 4
        assert submits(server) == 1
        assert server.log.batch_answers == dict.fromkeys(rated(6), 1)


# ---------------------------------------------------------------------------- limits


@both
def test_more_requests_than_a_batch_takes_are_several_batches(
    asker: MakeAsker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_REQUESTS", 7)
    with FakeProvider() as server:
        assert in_batches(asker, server, name).scores(rated(20)) == right(rated(20))
        assert submits(server) == 3
        assert sorted(len(b.requests) for b in server._store.batches.values()) == [6, 7, 7]


@both
def test_more_bytes_than_a_batch_takes_are_several_batches(
    asker: MakeAsker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_BYTES", 20_000)
    # Six bytes each as they are sent.
    prompts = [prompt + "é" * 1500 for prompt in rated(5)]
    with FakeProvider() as server:
        assert in_batches(asker, server, name).scores(prompts) == right(prompts)
        assert submits(server) == 5


@both
def test_a_budget_holds_in_batches_too(asker: MakeAsker, name: str) -> None:
    prompts = rated(30)
    with FakeProvider() as server:
        limit = asker(server, name).judge().most_usd(prompts[0]) / 2 * 10.5
        mine = in_batches(asker, server, name, max_judge_usd=limit)
        found, paid, _ = mine.ask(prompts)
        # By what they may cost; once that is known, there was money for further batches. Nothing is
        # asked for by itself, at the whole price.
        assert server.log.batch_total > 10
        assert server.log.total == 0
        assert submits(server) > 1
        assert paid.usd is not None
        assert paid.usd <= limit
        assert mine.store.spent_usd("demo") == pytest.approx(paid.usd)
        for prompt, judgement in found.items():
            if judgement.score is None:
                assert judgement.reason == f"the budget of ${limit:g} is spent"
                assert not judgement.is_final
            else:
                assert judgement.score == stable_score(prompt)
