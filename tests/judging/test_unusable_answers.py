"""Judges that answer, but not with a score: asked again by later runs, not for ever, or stopped."""

from collections.abc import Callable

import pandas as pd
import pytest

from tests.judging.conftest import Asker, rated
from tests.providers import models, replies
from tests.providers.models import stable_score
from tests.providers.replies import Call, Reply
from tests.providers.server import FakeProvider
from traitvec_core.judging.judge import JudgedResponses, judge_responses
from traitvec_core.judging.judgement_store import JudgementStore
from traitvec_core.remote.calls import StopError
from traitvec_core.trait import InstructionPair, TraitDefinition

MakeAsker = Callable[..., Asker]
BOTH = pytest.mark.parametrize("name", ["gpt-5-mini", "claude-haiku-4-5"])
DEFINITION = TraitDefinition(
    instruction=[InstructionPair(pos="Be.", neg="Do not be.")],
    questions=["Why?"],
    eval_prompt="How kind? {question} {answer}",
)


def says(call: Call, text: str, *, is_cut: bool = False) -> Reply:
    if call.provider == "anthropic":
        return replies.anthropic_answer(text, stop_reason="max_tokens" if is_cut else "end_turn")
    return replies.openai_answer(text, finish_reason="length" if is_cut else "stop")


def prose(call: Call) -> Reply:
    return says(call, "It depends.")


UNUSABLE: dict[str, Callable[[Call], Reply]] = {
    "prose": prose,
    "out of range": lambda call: says(call, '{"score": 850}'),
    "cut off": lambda call: says(call, '{"score": 8', is_cut=True),
    "nothing": lambda call: says(call, ""),
    "deeply nested": lambda call: says(call, '{"score":' * 5_000),
    "a page": lambda call: says(call, "<html><body>Welcome</body></html>"),
}


def responses(n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "question": "Why?", "instruction": "Be.", "prompt": "…",
            "response": [f"Because of {i}." for i in range(n)],
            "question_id": [f"kind_{i}" for i in range(n)],
            "prompt_tokens": 5, "response_tokens": 5, "finish_reason": "stop", "pole": "pos",
        }
    )  # fmt: skip


def run(asker: Asker, n: int = 3) -> JudgedResponses:
    """Judge a table of responses, as a later run does: with a judge of its own."""
    return judge_responses(asker.judge(), DEFINITION, responses(n), store=asker.store)


@BOTH
@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_repaired_judge_scores_what_it_could_not_score_before(
    asker: MakeAsker, name: str, kind: str
) -> None:
    with FakeProvider(UNUSABLE[kind]) as server:
        before = run(asker(server, name))
        assert set(before.table["judge_status"]) == {"unparseable"}
        assert before.table["trait_score"].isna().all()
        assert sum(before.unfinished.values()) == 6
        # Three answers for each of six prompts, and all of them paid for.
        assert server.log.total == 18
        if kind == "prose":
            assert before.paid.tokens_in == 18 * 100
        server.responder = models.by_model
        after = run(asker(server, name))
    assert set(after.table["judge_status"]) == {"ok"}
    assert not after.unfinished
    assert after.cost.tokens_in > before.cost.tokens_in


@BOTH
def test_a_hopeless_prompt_is_final_after_three_runs(asker: MakeAsker, name: str) -> None:
    def but_one(call: Call) -> Reply:
        return prose(call) if "Because of 1." in call.prompt else models.by_model(call)

    with FakeProvider(but_one) as server:
        for attempt in range(3):
            before = server.log.total
            result = run(asker(server, name))
            assert bool(result.unfinished) == (attempt < 2)
            assert server.log.total - before == (6 + 4 if attempt == 0 else 6)
        before = server.log.total
        result = run(asker(server, name))
        assert server.log.total == before
        assert not result.unfinished
        assert result.table["judge_status"].tolist() == ["ok", "unparseable", "ok"]


def test_a_refusal_is_an_answer(asker: MakeAsker) -> None:
    with FakeProvider(lambda call: says(call, '{"score": "REFUSAL"}')) as server:
        result = run(asker(server, "gpt-5-mini"), n=30)
        assert set(result.table["judge_status"]) == {"refusal"}
        assert not result.unfinished
        before = server.log.total
        run(asker(server, "gpt-5-mini"), n=30)
        assert server.log.total == before


@BOTH
@pytest.mark.parametrize("bound", [1, 20])
def test_a_judge_without_any_usable_answer_is_stopped(
    asker: MakeAsker, name: str, bound: int
) -> None:
    with FakeProvider(lambda call: says(call, "\x1b[2JIt depends.")) as server:
        asked = asker(server, name, max_concurrent_judges=bound)
        with pytest.raises(StopError) as error:
            asked.ask(rated(300))
        # Those in progress are let through, since they are paid for.
        assert 20 <= server.log.total < 20 + bound
        store: JudgementStore = asked.store
        (line,) = store.summary()
        assert line["tokens_in"] == server.log.total * 100
        text = str(error.value)
        assert "unusable answers and no score" in text
        assert "answered 'It depends.'" in text or "answered '[2JIt depends.'" in text
        assert text.isprintable()
        assert len(text) < 300
        # A stop says nothing about the prompts: however often it happens, all are asked again.
        for _ in range(3):
            with pytest.raises(StopError):
                asker(server, name, max_concurrent_judges=bound).ask(rated(300))
        server.responder = models.by_model
        scores = asker(server, name).scores(rated(300))
    assert scores == {prompt: stable_score(prompt) for prompt in rated(300)}


def test_a_judge_that_has_given_a_score_is_not_stopped(asker: MakeAsker) -> None:
    def first_only(call: Call) -> Reply:
        return models.by_model(call) if call.number == 0 else prose(call)

    with FakeProvider(first_only) as server:
        found, _, _ = asker(server, "gpt-5-mini", max_concurrent_judges=1).ask(rated(30))
    statuses = [judgement.status for judgement in found.values()]
    assert sorted(statuses) == ["ok"] + 29 * ["unparseable"]


def test_finished_work_of_a_stopped_run_is_kept(asker: MakeAsker) -> None:
    with FakeProvider(models.by_model) as server:
        asker(server, "gpt-5-mini").ask(rated(10))
        server.responder = prose
        with pytest.raises(StopError):
            asker(server, "gpt-5-mini").ask(rated(100))
        server.responder = models.by_model
        before = server.log.total
        assert asker(server, "gpt-5-mini").ask(rated(100))[2] == 90
        assert server.log.total - before == 90
