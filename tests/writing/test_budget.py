"""What a draft may cost: the budget holds over attempts and over interrupted commands."""

import pytest

from tests.providers.drafts import PARTS, drafting
from tests.providers.replies import Call, Reply, openai_answer
from tests.writing.conftest import SENTENCE, Serve, files
from traitvec_core import ExperimentSettings, TraitvecError, draft_trait, load_writer
from traitvec_core.experiment import JudgePrice
from traitvec_core.judging.prices import price_of
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.writing import estimate_draft

MODEL = "gpt-6.1-terra"


def _paid(calls: list[Call], replies: list[Reply]) -> float:
    price = price_of(MODEL)
    assert price is not None
    usages = [reply.body["usage"] for reply in replies if isinstance(reply.body, dict)]
    assert len(usages) == len(calls)
    return sum(price.usd(usage["prompt_tokens"], usage["completion_tokens"]) for usage in usages)


def _first_usd() -> float:
    """The most that the first answer can cost."""
    first = estimate_draft(SENTENCE, load_writer(MODEL)).first_usd
    assert first is not None
    return first


@pytest.mark.parametrize("answers", [0.0, 0.99, 1.01, 2.5, 8.0])
def test_a_writer_that_keeps_failing_never_costs_more_than_the_budget(
    serve: Serve, experiment: ExperimentFolder, answers: float
) -> None:
    """Its answers are as long as they may be, and it is asked again and again.

    Args:
        answers: The budget, as so many answers of the greatest length.
    """
    replies: list[Reply] = []

    def greedy(call: Call) -> Reply:
        replies.append(
            openai_answer(
                "I think that",
                prompt_tokens=len(call.prompt) // 4,
                completion_tokens=call.body["max_completion_tokens"],
            )
        )
        return replies[-1]

    server = serve(greedy)
    max_usd = answers * _first_usd()
    said = ""
    for _ in range(12):
        with pytest.raises(TraitvecError) as failure:
            draft_trait(SENTENCE, MODEL, experiment=experiment, max_usd=max_usd)
        said = str(failure.value)
    assert _paid(server.log.calls, replies) <= max_usd
    assert f"of ${max_usd:g} spent, and the next answer can cost" in said
    assert "raise max_usd (--max-usd) and run again" in said
    n_calls = server.log.total
    # Input is cheaper than it could have been, so that another answer may fit.
    assert int(answers) <= n_calls <= 2 * answers
    assert experiment.traits() == []


def test_more_money_goes_on_where_the_budget_ended(
    serve: Serve, experiment: ExperimentFolder
) -> None:
    server = serve()
    # Room for the first answer.
    max_usd = 1.01 * _first_usd()
    with pytest.raises(TraitvecError, match=r"10 instruction pairs: .* spent"):
        draft_trait(SENTENCE, MODEL, experiment=experiment, max_usd=max_usd)
    assert server.log.total == 1
    draft = draft_trait(SENTENCE, MODEL, experiment=experiment)
    assert server.log.total == draft.record.calls == len(PARTS)


def test_the_recorded_cost_is_that_of_all_answers(
    serve: Serve, experiment: ExperimentFolder
) -> None:
    server = serve(drafting({"pairs": [lambda good: "no", lambda good: None]}))
    draft = draft_trait(SENTENCE, MODEL, experiment=experiment)
    price = price_of(MODEL)
    assert price is not None
    record = draft.record
    assert record.calls == server.log.total == len(PARTS) + 1
    assert record.usd == pytest.approx(price.usd(record.tokens_in, record.tokens_out), abs=1e-6)


def test_a_server_that_reports_no_tokens_counts_as_if_it_had_used_all(
    serve: Serve, experiment: ExperimentFolder
) -> None:
    def silent(call: Call) -> Reply:
        reply = openai_answer("no")
        assert isinstance(reply.body, dict)
        return Reply(body={name: value for name, value in reply.body.items() if name != "usage"})

    server = serve(silent)
    for _ in range(30):
        with pytest.raises(TraitvecError):
            draft_trait(SENTENCE, MODEL, experiment=experiment, max_usd=0.5)
    assert 0 < server.log.total < 30


def test_an_unknown_price_is_no_price_and_ends_after_four_attempts(
    serve: Serve, experiment: ExperimentFolder
) -> None:
    server = serve(lambda call: openai_answer("no"))
    settings = ExperimentSettings(
        model="x", judge_model="mine-7b", judge_base_url=server.base_url_openai
    )
    writer = load_writer(settings=settings)
    assert estimate_draft(SENTENCE, writer).usd is None
    with pytest.raises(TraitvecError, match="4 answers of 'mine-7b' were unusable"):
        draft_trait(SENTENCE, writer, experiment=experiment, max_usd=0.0)
    assert server.log.total == 4


def test_the_users_own_price_counts(serve: Serve) -> None:
    server = serve()
    settings = ExperimentSettings(
        model="x", judge_model="mine-7b", judge_base_url=server.base_url_openai,
        judge_prices={"mine-7b": JudgePrice(input=1, output=10)},
    )  # fmt: skip
    draft = draft_trait(SENTENCE, load_writer(settings=settings))
    record = draft.record
    assert record.usd == pytest.approx((record.tokens_in + 10 * record.tokens_out) / 1e6, abs=1e-6)


@pytest.mark.parametrize("max_usd", [-1.0, float("nan"), float("inf")])
def test_a_budget_that_is_none_is_refused(
    serve: Serve, experiment: ExperimentFolder, max_usd: float
) -> None:
    server = serve()
    with pytest.raises(TraitvecError, match="give an amount in dollars"):
        draft_trait(SENTENCE, MODEL, experiment=experiment, max_usd=max_usd)
    assert server.log.total == 0
    assert files(experiment) == []
