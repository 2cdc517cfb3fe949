"""A judge behind an API works while responses are generated; results do not depend on it."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from tests.judging.conftest import Asker
from tests.providers.server import FakeProvider
from tests.steering_evaluation.tiny import FEW, TINY, VECTORS, separation_of, tiny
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.judging import JudgementStore
from traitvec_core.judging.judgement_store import Origin
from traitvec_core.steering_evaluation.evaluate import SteeringPlan, evaluate_steering
from traitvec_core.steering_evaluation.result import SteeringEvaluation
from traitvec_core.steering_evaluation.trials import TrialLog, TrialSetup

pytestmark = pytest.mark.slow

MakeAsker = Callable[..., Asker]


def evaluate(asker: Asker, log: TrialLog = TrialLog()) -> SteeringEvaluation:
    setup = TrialSetup(
        tiny(), asker.judge(), TINY, Sampling(max_new_tokens=5, seed=3), asker.store,
        Origin(asker.experiment, "trait"), batch_size=4,
    )  # fmt: skip
    plan = SteeringPlan(VECTORS, separation_of(VECTORS), FEW)
    return evaluate_steering(setup, plan, log=log)


def test_judging_begins_before_the_last_response_is_generated(asker: MakeAsker) -> None:
    with FakeProvider() as server:
        n_rows = 0

        def wait(rows: list[dict[str, Any]]) -> None:
            nonlocal n_rows
            n_rows += len(rows)
            # In the first round, after some of its 16 rows.
            if 4 < n_rows < 12:
                assert server.log.wait_until(lambda log: log.total > 0)

        one = asker(server, "gpt-4.1-mini")
        early = evaluate(one, TrialLog(append=wait))
        assert n_rows == early.n_generated
        assert set(server.log.answers.values()) == {1}
        spent = one.store.spent_usd(one.experiment)
        assert early.paid.usd == pytest.approx(spent)
        assert early.paid.tokens_in > 0 < spent


def test_a_run_that_finds_every_judgement_has_the_same_result(asker: MakeAsker) -> None:
    with FakeProvider() as server:
        first = evaluate(asker(server, "gpt-4.1-mini"))
        n_asked = server.log.total
        second = evaluate(asker(server, "gpt-4.1-mini"))
        assert server.log.total == n_asked
    assert second.paid.usd == 0
    assert second.model_dump(exclude={"paid"}) == first.model_dump(exclude={"paid"})
    pd.testing.assert_frame_equal(second.responses, first.responses)


def test_an_interrupt_ends_judging_and_the_next_run_goes_on(asker: MakeAsker) -> None:
    with FakeProvider(latency_s=0.01) as server:
        rows: list[dict[str, Any]] = []

        def interrupt(new: list[dict[str, Any]]) -> None:
            rows.extend(new)
            if len(rows) > 30:
                raise KeyboardInterrupt

        one = asker(server, "gpt-4.1-mini")
        with pytest.raises(KeyboardInterrupt):
            evaluate(one, TrialLog(append=interrupt))
        more: list[dict[str, Any]] = []
        whole = evaluate(asker(server, "gpt-4.1-mini"), TrialLog(rows, more.extend))
        assert len(rows) + len(more) == whole.n_generated
        # What was in flight was stored.
        assert set(server.log.answers.values()) == {1}
        with JudgementStore() as other:
            undisturbed = evaluate(Asker(server, other, "gpt-4.1-mini"))
        assert whole.model_dump(exclude={"paid"}) == undisturbed.model_dump(exclude={"paid"})


def test_a_wrong_key_is_one_line_and_loses_no_response(asker: MakeAsker) -> None:
    with FakeProvider(valid_key="another") as server:
        rows: list[dict[str, Any]] = []
        with pytest.raises(TraitvecError, match="OPENAI_API_KEY") as error:
            evaluate(asker(server, "gpt-4.1-mini"), TrialLog(append=rows.extend))
        assert "\n" not in str(error.value)
        assert len(rows) > 0


def test_judgements_that_fail_are_asked_for_again_and_missing_otherwise(asker: MakeAsker) -> None:
    with FakeProvider() as server:
        part = evaluate(asker(server, "gpt-4.1-mini", max_judge_usd=0.001))
        assert list(part.unfinished) == ["the budget of $0.001 is spent"]
        assert (part.paid.usd or 0) <= 0.001
        assert part.responses["trait_score"].isna().any()
        whole = evaluate(asker(server, "gpt-4.1-mini"))
        assert whole.unfinished == {}
        assert whole.responses["trait_score"].notna().all()
