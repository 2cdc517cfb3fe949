"""estimate and judgements: what judging will cost, and has cost."""

import json
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import FEW_VECTORS, SmallProject, write_experiment
from tests.providers import models
from tests.providers.replies import openai_answer
from tests.providers.server import FakeProvider
from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE
from traitvec_core.judging.preflight import preflight_prompts


@pytest.fixture
def remote(empty: SmallProject) -> SmallProject:
    """An experiment whose judge is behind an API; no key is set."""
    settings = {
        "judge_model": "gpt-5-mini", "judge_preflight": False, "n_examples": 6, **FEW_VECTORS,
    }  # fmt: skip
    write_experiment(empty.folder, "remote", ["refusal", "uncertainty"], settings)
    return empty


def estimated(traitvec: Command, *more: str) -> dict:
    done = traitvec("estimate", "--experiment", "remote", "--json", *more)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_an_estimate_needs_no_key_and_asks_nobody(traitvec: Command, remote: SmallProject) -> None:
    found = estimated(traitvec)
    # Two judgements for each of 12 responses.
    assert [row["judgements"] for row in found["traits"]] == [24, 24]
    assert found["total"]["known"] == 0
    assert found["total"]["usd"] > found["total"]["usd_batch"] > 0
    assert found["total"]["usd_batch"] == pytest.approx(found["total"]["usd"] / 2, rel=1e-3)
    assert all(row["is_planned"] for row in found["traits"])
    assert not (remote.folder / "experiments" / JUDGEMENTS_FILE).exists()
    table = traitvec("estimate", "--experiment", "remote", "--trait", "refusal")
    assert table.code == 0
    assert "≤ $" in table.out
    assert "uncertainty" not in table.out
    assert "will be shut down on 2026-12-11" in table.err or "was to be" in table.err


def test_an_estimate_counts_the_sample_and_other_traits(
    traitvec: Command, remote: SmallProject
) -> None:
    found = estimated(
        traitvec, "--trait", "refusal", "--set", "second_judge=claude-haiku-4-5",
        "--set", "judge_repeats=2", "--set", "agreement_sample=10",
        "--set", "also_judge=[uncertainty]",
    )  # fmt: skip
    counts = [(row["judge"], row["purpose"], row["judgements"]) for row in found["traits"]]
    assert counts == [
        ("gpt-5-mini", "scores", 36),
        ("claude-haiku-4-5", "sample", 10),
        ("gpt-5-mini", "sample", 20),
    ]


def test_an_estimate_counts_what_is_monitored(traitvec: Command, remote: SmallProject) -> None:
    prompts = ("--trait", "refusal", "--set", 'monitoring_prompts=["Why?", "How?"]')
    scores, dynamics = estimated(traitvec, *prompts)["traits"]
    # Two judgements of each prompt without and with either instruction.
    assert (scores["judgements"], dynamics["judgements"]) == (24, 12)
    assert dynamics["purpose"] == "dynamics"
    assert dynamics["usd"] == dynamics["usd_batch"] > 0
    table = traitvec("estimate", "--experiment", "remote", *prompts)
    assert "`--set monitoring_prompts=[]` skips them" in " ".join(table.out.split())


def test_a_price_that_is_not_known_is_not_zero(traitvec: Command, remote: SmallProject) -> None:
    found = estimated(traitvec, "--judge-model", "gpt-99-unheard-of")
    assert found["total"]["usd"] is None
    done = traitvec("estimate", "--experiment", "remote", "--judge-model", "gpt-99-unheard-of")
    assert "price unknown" in done.out
    priced = estimated(
        traitvec, "--judge-model", "gpt-99-unheard-of",
        "--set", "judge_prices={gpt-99-unheard-of: {input: 1, output: 2}}",
    )  # fmt: skip
    assert priced["total"]["usd"] > 0


def test_what_was_paid_is_listed_not_estimated_again_and_can_be_pruned(
    traitvec: Command, remote: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = traitvec("judgements", "list")
    assert nothing.code == 1
    assert "nothing has been judged yet" in nothing.err
    with FakeProvider(models.gpt_5_mini) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url_openai)
        before = estimated(traitvec, "--trait", "refusal")["total"]
        run = traitvec("run", "--experiment", "remote", "--trait", "refusal",
                       "--select", "+judged_responses")  # fmt: skip
        assert run.code == 0 or "coverage" in run.err, run.err
        paid = {
            row["model"]: row for row in json.loads(traitvec("judgements", "list", "--json").out)
        }["gpt-5-mini"]
        assert (paid["experiment"], paid["trait"]) == ("remote", "refusal")
        assert paid["judgements"] == paid["scored"] == len(server.log.answers)
        assert 0 < paid["usd"] <= before["usd"], "an estimate before generation is an upper bound"
        after = estimated(traitvec, "--trait", "refusal")
        assert after["total"]["known"] == after["total"]["judgements"] == len(server.log.answers)
        assert after["total"]["usd"] == 0
        assert after["spent_usd"] == pytest.approx(paid["usd"])
        assert "gpt-5-mini" in traitvec("judgements", "list").out

        refused = traitvec("judgements", "prune")
        assert refused.code == 1
        assert "--older-than DAYS" in refused.err
        assert "0 judgements deleted" in traitvec("judgements", "prune", "--older-than", "1").out
        assert "0 judgements deleted" in traitvec("judgements", "prune", "--only-missing").out
        done = traitvec("judgements", "prune", "--judge-model", "gpt-5-mini")
        assert f"{len(server.log.answers)} judgements deleted" in done.out
        assert estimated(traitvec, "--trait", "refusal")["total"]["known"] == 0


def test_any_sqlite_tool_reads_the_store(
    traitvec: Command, remote: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = traitvec("run", "--experiment", "demo", "--trait", "refusal",
                    "--select", "+judged_responses")  # fmt: skip
    assert done.code == 0, done.err
    path: Path = remote.folder / "experiments" / JUDGEMENTS_FILE
    with sqlite3.connect(path) as db:
        rows = db.execute("select rubric, count(*), min(usd) from judgements group by 1").fetchall()
    assert {name for name, _, _ in rows} == {"trait", "coherence", "preflight"}
    assert all(usd == 0 for _, _, usd in rows), "a model in process costs no dollars"


def test_a_judge_that_fails_its_preflight_is_named_before_anything_is_generated(
    traitvec: Command, remote: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.set("remote", judge_preflight=True)
    command = ("run", "--experiment", "remote", "--trait", "refusal", "--select",
               "+judged_responses")  # fmt: skip
    prompts = preflight_prompts()
    with FakeProvider(partial(models.gpt_5_mini, score_of=lambda prompt: 50)) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url_openai)
        failed = traitvec(*command)
        assert failed.code == 1
        assert "gpt-5-mini' failed its preflight: 50 for a clear answer, 50 for noise" in failed.err
        assert "judge_preflight: false" in failed.err
        assert not (remote.trait("refusal", "remote").path / "responses").exists()
        # Two calls, though three rounds were possible: a score is a score.
        assert {call.prompt for call in server.log.calls} == set(prompts.values())
        assert server.log.total == 2

        def able(prompt: str) -> int:
            return {prompts["clear"]: 90, prompts["noise"]: 2}.get(
                prompt, models.stable_score(prompt)
            )

        server.responder = partial(models.gpt_5_mini, score_of=able)
        run = traitvec(*command)
        assert "preflight" not in run.err
        asked = server.log.total
        traitvec(*command)
        assert server.log.total == asked


def test_a_judge_that_only_writes_prose_ends_the_run_with_a_line(
    traitvec: Command, remote: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeProvider(lambda call: openai_answer("It [bold]depends[/].\x1b[2J")) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url_openai)
        remote.set("remote", max_concurrent_judges=2)
        failed = traitvec("run", "--experiment", "remote", "--trait", "refusal",
                          "--select", "+judged_responses")  # fmt: skip
        assert failed.code == 1
        assert "unusable answers and no score; the last answered" in failed.err
        assert "It [bold]depends[/]." in failed.err
        assert "\x1b[2J" not in failed.err
        assert "Traceback" not in failed.err
        assert server.log.total < 24
