"""`traitvec rubric`: two rubrics or two judges against people's scores, and what it costs."""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Command
from tests.projects import demo_definition, put_responses, write_experiment
from tests.providers import models
from tests.providers.replies import Call, Reply, openai_answer
from tests.providers.server import FakeProvider
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import ExperimentFolder

ASKED = ("rubric", "--experiment", "mine", "--trait", "uncertainty")
SHARP = "SHARP. Question: {question} Answer: {answer} How unsure is it? A number from 0 to 100."
N = 40
# What each response deserves; people agree with it, the judge only roughly.
LEVELS = [(37 * k) % 101 for k in range(N)]


def score_of(prompt: str) -> int:
    """The judge: right by the sharp rubric, far off by any other."""
    (level,) = re.findall(r"level (\d+)", prompt)
    if "SHARP" in prompt:
        return int(level)
    noise = np.random.default_rng(int(level)).normal(0, 60)
    return int(np.clip(int(level) + noise, 0, 100))


def equally_good(prompt: str) -> int:
    (level,) = re.findall(r"level (\d+)", prompt)
    noise = np.random.default_rng([int(level), "SHARP" in prompt]).normal(0, 15)
    return int(np.clip(int(level) + noise, 0, 100))


def table(rows: list[tuple[Any, ...]], header: tuple[str, ...] = ()) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header or ("question", "response", "human_score"), *rows])
    return text.getvalue()


ROWS = [(f"Why, {k}?", f"It is at level {level}", level) for k, level in enumerate(LEVELS)]


@pytest.fixture
def server(traitvec: Command) -> Iterator[FakeProvider]:
    """A judge behind both providers' addresses, and an experiment whose judge it is."""
    settings = {"judge_model": "gpt-5-mini", "judge_preflight": False, "n_examples": N // 2}
    write_experiment(Path(), "mine", ["uncertainty", "refusal"], settings)
    Path("labels.csv").write_text(table(ROWS))
    Path("new_rubric.txt").write_text(SHARP)

    def answer(call: Call) -> Reply:
        model = models.gpt_5_mini if call.provider == "openai" else models.claude_haiku_4_5
        return model(call, score_of=score_of)

    with FakeProvider(answer) as started:
        os.environ["OPENAI_BASE_URL"] = started.base_url_openai
        os.environ["ANTHROPIC_BASE_URL"] = started.base_url_anthropic
        os.environ["OPENAI_API_KEY"] = os.environ["ANTHROPIC_API_KEY"] = "sk-of-a-test"
        yield started


def test_the_better_rubric_is_named_and_nothing_is_paid_for_twice(
    traitvec: Command, server: FakeProvider
) -> None:
    asked = (*ASKED, "--against", "new_rubric.txt", "--scores", "labels.csv")
    done = traitvec(*asked)
    assert done.code == 0, done.err
    assert "40 labelled responses, 80 judgements, 0 of them known; about $0." in done.err
    assert "new_rubric.txt agrees better with people (difference +" in done.out
    assert "80 new judgements ($0.0" in done.out
    assert len(server.log.answers) == 80
    again = traitvec(*asked, "--json")
    assert "80 of them known; free of charge" in again.err
    assert server.log.total == 80
    result = json.loads(again.out)
    assert result["better"] == "second"
    assert result["second"]["spearman"]["value"] == 1.0
    first = result["first"]["spearman"]
    assert first["low"] < first["value"] < first["high"] < 1
    assert (result["n"], result["labels"], result["n_asked"], result["paid_usd"]) == (40, 40, 0, 0)
    assert result["conclusion"] in done.out
    # It agrees with people on every response, so there is none to show.
    assert result["disagreements"] == []
    assert [row["anchor"] for row in result["anchors"]] == [0, 25, 50, 75, 100]


def test_two_equally_good_rubrics_are_not_told_apart(
    traitvec: Command, server: FakeProvider
) -> None:
    server.responder = partial(models.gpt_5_mini, score_of=equally_good)
    done = traitvec(*ASKED, "--against", "new_rubric.txt", "--scores", "labels.csv")
    assert done.code == 0, done.err
    assert "no difference that 40 labels could show (difference " in done.out
    assert "furthest from people's order, by " in done.out
    assert done.out.count("people ") >= 3


def test_two_judges_apply_the_same_rubric(traitvec: Command, server: FakeProvider) -> None:
    done = traitvec(
        *ASKED, "--judge-model", "gpt-5-mini", "--against-judge", "claude-haiku-4-5",
        "--scores", "labels.csv", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    result = json.loads(done.out)
    names = [(result[side]["name"], result[side]["judge"]) for side in ("first", "second")]
    assert names == [("gpt-5-mini",) * 2, ("claude-haiku-4-5",) * 2]
    # The same scores by both.
    assert result["first"]["spearman"] == result["second"]["spearman"]
    assert result["better"] is None
    assert {call.provider for call in server.log.calls} == {"openai", "anthropic"}


def test_a_definition_may_bring_the_other_rubric(traitvec: Command, server: FakeProvider) -> None:
    other = demo_definition("uncertainty") | {"eval_prompt": SHARP}
    Path("other.json").write_text(json.dumps(other))
    done = traitvec(*ASKED, "--against", "other.json", "--scores", "labels.csv")
    assert done.code == 0, done.err
    assert "other.json agrees better with people" in done.out


def test_human_scores_are_joined_with_the_traits_responses(
    traitvec: Command, server: FakeProvider
) -> None:
    folder = ExperimentFolder("experiments", "mine")
    trait, settings = folder.trait("uncertainty"), folder.settings()
    nothing = traitvec(*ASKED, "--against", "new_rubric.txt")
    assert nothing.code == 1
    assert "human_scores.csv does not exist: let people score a sheet" in nothing.error_lines[-1]
    put_responses(trait, settings, lambda n: f"It is at level {LEVELS[n]}")
    responses = trait.read_responses("responses")
    # Two people, and one response that nobody scored.
    rows = [
        (name, level + shift)
        for name, level in zip(responses["question_id"][1:], LEVELS[1:], strict=True)
        for shift in ((-1, 1) if 0 < level < 100 else (0,))
    ]
    header = ("question_id", "trait_score")
    trait.human_scores_path.write_text(table([*rows, (responses["question_id"][0], "")], header))
    done = traitvec(*ASKED, "--against", "new_rubric.txt", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert (result["labels"], result["n"]) == (N - 1, N - 1)
    assert result["second"]["spearman"]["value"] == 1.0
    Path("sheet.csv").write_text(trait.human_scores_path.read_text())
    trait.human_scores_path.unlink()
    sheet = traitvec(*ASKED, "--against", "new_rubric.txt", "--scores", "sheet.csv", "--json")
    assert json.loads(sheet.out) | {"n_asked": 78, "paid_usd": 0} == result | {"paid_usd": 0}


def test_a_budget_ends_it_cleanly_and_the_rest_is_asked_for_later(
    traitvec: Command, server: FakeProvider
) -> None:
    asked = (*ASKED, "--against", "new_rubric.txt", "--scores", "labels.csv")
    nothing = traitvec(*asked, "--max-usd", "0")
    assert nothing.code == 0, nothing.err
    assert server.log.total == 0
    assert "no comparison: both have scored only 0 of 40 labelled responses" in nothing.out
    assert "80 judgements are unfinished" in nothing.err
    some = traitvec(*asked, "--max-usd", "0.014", "--json")
    result = json.loads(some.out)
    assert 0 < result["paid_usd"] <= 0.014
    assert 0 < sum(result["unfinished"].values()) < 80
    assert result["n"] >= 10, "a budget leaves complete pairs"
    rest = json.loads(traitvec(*asked, "--json").out)
    assert (rest["n"], rest["unfinished"]) == (40, {})
    assert len(server.log.answers) == server.log.total == 80


def test_missing_scores_are_missing_not_zero(traitvec: Command, server: FakeProvider) -> None:
    def refuses(call: Call) -> Reply:
        if "SHARP" in call.prompt and int(re.findall(r"level (\d+)", call.prompt)[0]) > 90:
            return openai_answer(None, refusal="I'd rather not.")
        return models.gpt_5_mini(call, score_of=score_of)

    server.responder = refuses
    done = traitvec(*ASKED, "--against", "new_rubric.txt", "--scores", "labels.csv", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    n_refused = sum(level > 90 for level in LEVELS)
    assert n_refused > 0
    assert result["n"] == N - n_refused
    assert sum(result["second"]["missing"].values()) == n_refused
    assert result["first"]["missing"] == {}
    assert result["second"]["spearman"]["value"] == 1.0


def test_a_judge_without_an_opinion_is_no_loser(traitvec: Command, server: FakeProvider) -> None:
    server.responder = partial(
        models.gpt_5_mini, score_of=lambda prompt: 50 if "SHARP" in prompt else score_of(prompt)
    )
    done = traitvec(*ASKED, "--against", "new_rubric.txt", "--scores", "labels.csv")
    assert done.code == 0, done.err
    assert "no comparison: new_rubric.txt gave all 40 responses the same score" in done.out


def test_texts_are_shown_not_obeyed(traitvec: Command, server: FakeProvider) -> None:
    rows = [(q, f"[red]\x1b[2J\u202e{r}", score) for q, r, score in ROWS]
    Path("labels.csv").write_text(table(rows))
    Path("new\x1b[31m.txt").write_text(SHARP)
    server.responder = partial(models.gpt_5_mini, score_of=equally_good)
    done = traitvec(*ASKED, "--against", "new\x1b[31m.txt", "--scores", "labels.csv")
    assert done.code == 0, done.err
    for stream in (done.out, done.err):
        assert "\x1b" not in stream
        assert "\u202e" not in stream
    assert r"[red]\x1b[2J\u202eIt is at level" in done.out


AGAINST = ("--against", "new_rubric.txt")
SCORES = ("--scores", "labels.csv")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (SCORES, "name one thing to compare with"),
        ((*AGAINST, "--against-judge", "gpt-4.1-mini", *SCORES), "not both"),
        (("--against-judge", "gpt-5-mini", *SCORES), "both judges are 'gpt-5-mini'"),
        (("--against", "missing.txt", *SCORES), "missing.txt cannot be read: No such file"),
        ((*AGAINST, "--scores", "missing.csv"), "missing.csv cannot be read"),
        ((*AGAINST, "--scores", "."), "cannot be read"),
        ((*AGAINST, "--judge-model", "repetition", *SCORES), "'repetition' reads no rubric"),
        ((*AGAINST, *SCORES, "--judge-model", "gpt-99", "--max-usd", "1"), "needs the price of"),
        ((*AGAINST, *SCORES, "--trait", "nobody"), "trait_definition.json: is missing"),
        (("--against", "labels.csv", *SCORES), "no {question} and no {answer}"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_line_and_costs_nothing(
    traitvec: Command, server: FakeProvider, arguments: tuple[str, ...], says: str
) -> None:
    done = traitvec(*ASKED, *arguments)
    assert done.code == 1
    assert says in done.error_lines[-1]
    assert len(done.error_lines[-1]) < 300
    assert server.log.total == 0


def test_the_same_rubric_is_no_other(traitvec: Command, server: FakeProvider) -> None:
    Path("same.txt").write_text(demo_definition("uncertainty")["eval_prompt"] + "\n")
    done = traitvec(*ASKED, "--against", "same.txt", *SCORES)
    assert done.code == 1
    assert "same.txt is the trait's own rubric" in done.error_lines[-1]


SHEET = ("question_id", "trait_score")
Edit = Callable[[], str | bytes]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda: table(ROWS[:9]), "people have scored 9 responses, and 10 are the fewest"),
        (lambda: table([(*row[:2], "") for row in ROWS]), "people have scored 0 responses"),
        (lambda: table([ROWS[0]] * 30), "people have scored 1 responses"),
        (lambda: table([(*row[:2], 3) for row in ROWS]), "gave all 40 responses the score 3"),
        (lambda: table(ROWS).replace("human_score", "score"), "missing column human_score; it"),
        (lambda: "question;response;human_score\nx;y;1\n", "by semicolons, save it with commas"),
        (lambda: table(ROWS).encode("utf-16"), "is not UTF-8 (it is UTF-16)"),
        (lambda: table(ROWS).encode() + b"\xff,x,1\n", "is not UTF-8"),
        (lambda: b"", "missing column question, response, human_score"),
        (lambda: table([*ROWS, ("a", "b", 101)]), "line 42: '101' is not a score from 0 to 100"),
        (lambda: table([*ROWS, ("a", "b", "nan")]), "line 42: 'nan' is not a score"),
        (lambda: table([*ROWS, ("a", "", 5)]), "line 42: a score without question or response"),
        (
            lambda: table([(*row, 5) for row in ROWS],
                          ("question", "response", "human_score", "trait_score")),
            "has both human_score and trait_score",
        ),
        (
            lambda: table([(*row, "x") for row in ROWS],
                          ("question", "response", "trait_score", "judge_model")),
            "these are a judge's scores",
        ),
        (lambda: table([("x_0_pos", 5)], SHEET), "responses has not been made yet"),
    ],
)  # fmt: skip
def test_a_faulty_table_is_one_line_and_costs_nothing(
    traitvec: Command, server: FakeProvider, content: Edit, says: str
) -> None:
    data = content()
    Path("labels.csv").write_bytes(data.encode() if isinstance(data, str) else data)
    done = traitvec(*ASKED, *AGAINST, *SCORES)
    assert done.code == 1
    assert says in done.error_lines[-1]
    assert server.log.total == 0


def test_scores_of_the_same_response_are_averaged(traitvec: Command, server: FakeProvider) -> None:
    # Half of the people are off by ten, each in the other direction.
    rows = [
        (*row[:2], min(max(row[2] + shift, 0), 100))
        for row in ROWS
        for shift in (-10, 10)
        if 10 <= row[2] <= 90
    ]
    Path("labels.csv").write_text(table(rows))
    done = traitvec(*ASKED, *AGAINST, *SCORES, "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["labels"] == len(rows) // 2
    assert result["second"]["spearman"]["value"] == 1.0


def test_code_of_the_experiment_needs_the_owners_word(
    traitvec: Command, server: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("TRAITVEC_TRUST", raising=False)
    experiment = Path("experiments/mine")
    (experiment / "scorers.py").write_text(
        "def level(question, response):\n    return int(response.split()[-1])\n"
    )
    settings = experiment / "experiment.yaml"
    settings.write_text(settings.read_text() + "second_judge: python:scorers.py:level\n")
    done = traitvec(*ASKED, *AGAINST, *SCORES)
    assert done.code == 1
    assert "traitvec trust mine" in done.error_lines[-1]
    # What the owner types is allowed by that.
    settings.write_text(settings.read_text().replace("second_judge", "# second_judge"))
    typed = traitvec(*ASKED, "--against-judge", "python:scorers.py:level", *SCORES)
    assert typed.code == 0, typed.err
    assert "python:scorers.py:level agrees better with people" in typed.out


def test_the_library_gives_the_same_figures(traitvec: Command, server: FakeProvider) -> None:
    from traitvec_core import compare_rubrics
    from traitvec_core.rubrics import Label

    printed = json.loads(traitvec(*ASKED, *AGAINST, *SCORES, "--json").out)
    labels = [Label(f"line_{k + 2}", q, r, score) for k, (q, r, score) in enumerate(ROWS)]
    experiment = ExperimentFolder("experiments", "mine")
    result = compare_rubrics(experiment, "uncertainty", against=SHARP, labels=labels)
    assert result.second.name == "the other rubric"
    assert result.n_asked == 0
    assert result.difference.model_dump() == printed["difference"]
    assert isinstance(experiment.settings(), ExperimentSettings)
