"""Judgements asked for again: all, or those that are missing; by a judge that may be down."""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.graph.conftest import Serve, scores_that_separate
from tests.projects import SmallProject, results
from tests.providers.models import gpt_5_mini
from tests.providers.replies import Call, Reply, openai_answer, openai_server_error
from traitvec_core.remote import calls

pytestmark = pytest.mark.slow

JUDGE = "judged_responses"


class Judge:
    """A judge whose answers change while it serves."""

    def __init__(self, score_of: Callable[[str], int]) -> None:
        self.score_of = score_of
        self.is_up = True
        self.shift = 0
        self.answers_prose: Callable[[Call], bool] = lambda call: False
        self.asked: Counter[str] = Counter()

    def __call__(self, call: Call) -> Reply:
        if not self.is_up:
            return openai_server_error()
        self.asked[call.prompt] += 1
        if self.answers_prose(call):
            return openai_answer("The response is rather good, I would say.")
        return gpt_5_mini(call, score_of=lambda prompt: self.score_of(prompt) + self.shift)


@pytest.fixture
def judge(generated: SmallProject, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """The judge of a project whose responses are made."""
    # A server that is down is waited for; here not for long.
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 0.05)
    judge = Judge(scores_that_separate(generated))
    serve(judge)
    return judge


def scores(project: SmallProject) -> list[float]:
    return [float(score) for score in project.trait("refusal").read_responses()["trait_score"]]


def test_all_judgements_are_asked_for_again(generated: SmallProject, judge: Judge) -> None:
    assert generated.run("refusal").is_good
    before, asked = scores(generated), set(judge.asked)
    assert generated.run("refusal", JUDGE).reused == [JUDGE]
    judge.asked.clear()
    judge.shift = 1
    again = generated.run("refusal", redo=[JUDGE])
    assert again.is_good, again.problems
    # What comes before is not made again; what depends on the scores is.
    assert "responses" in again.reused
    assert list(again.made)[:2] == [JUDGE, "activations"]
    assert asked <= set(judge.asked)
    assert scores(generated) == [score + 1 for score in before]
    assert set(generated.states("refusal").values()) == {"fresh"}
    # The next run that needs them gets the new ones, for nothing.
    n_asked = judge.asked.total()
    for pole in ("pos", "neg"):
        (generated.trait("refusal").path / f"responses/{pole}.csv").unlink()
    assert generated.run("refusal", JUDGE).is_good
    assert scores(generated) == [score + 1 for score in before]
    assert judge.asked.total() == n_asked


def test_a_judge_that_is_down_takes_nothing_away(generated: SmallProject, judge: Judge) -> None:
    assert generated.run("refusal").is_good
    before = results(generated.trait("refusal").path)
    judge.is_up = False
    failed = generated.run("refusal", redo=[JUDGE])
    assert not failed.is_good
    assert all("\n" not in problem for problem in failed.problems)
    assert results(generated.trait("refusal").path) == before
    assert set(generated.states("refusal").values()) == {"fresh"}
    # The store has kept them, too: tables that are lost are made again without the judge.
    for pole in ("pos", "neg"):
        (generated.trait("refusal").path / f"responses/{pole}.csv").unlink()
    again = generated.run("refusal", JUDGE)
    assert again.is_good, again.problems
    assert results(generated.trait("refusal").path) == before


def test_only_what_is_missing_is_asked_for_again(generated: SmallProject, judge: Judge) -> None:
    responses = generated.trait("refusal").read_responses("responses")["response"]
    # Few enough for a judge that is not given up.
    hard = {text for text in responses if len(text) > 20}.difference(sorted(responses)[:-2])
    assert hard
    judge.answers_prose = lambda call: any(text in call.prompt for text in hard)
    # Unusable answers are final after some runs.
    while generated.states("refusal")[JUDGE] != "fresh":
        assert generated.run("refusal", JUDGE).is_success
    table = generated.trait("refusal").read_responses()
    unusable = set(table.loc[table["judge_status"] == "unparseable", "question_id"])
    assert 0 < len(unusable) < len(table)
    assert generated.run("refusal", JUDGE).reused == [JUDGE]
    # The judge is repaired, and would give other scores now.
    judge.answers_prose = lambda call: False
    judge.shift = 1
    judge.asked.clear()
    again = generated.run("refusal", redo=[JUDGE], only_missing=True)
    assert again.is_success, again.problems
    after = generated.trait("refusal").read_responses()
    assert set(after["judge_status"]) == {"ok"}
    kept = ~table["question_id"].isin(unusable)
    assert after.loc[kept, "trait_score"].tolist() == table.loc[kept, "trait_score"].tolist()


def test_the_launchpad_redoes_too(generated: SmallProject, judge: Judge) -> None:
    assert generated.run("refusal").is_good
    judge.asked.clear()
    assert generated.run_job("demo_traits", "refusal").success
    assert not judge.asked
    assert generated.run_job("demo_traits", "refusal", redo=[JUDGE]).success
    assert judge.asked
    (newest, *_) = generated.materializations(JUDGE, "refusal")
    assert newest.metadata["reused"].value is False
