"""The API key of a judge: a wrong one is reported, and no key is written anywhere."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.graph.conftest import SECRET, Serve, scores_that_separate
from tests.projects import SmallProject, snapshot
from tests.providers.models import gpt_5_mini
from tests.providers.replies import (
    Call,
    Reply,
    anthropic_error,
    anthropic_wrong_key,
    openai_error,
    openai_wrong_key,
)
from traitvec_core.judging.providers.openai import OpenAIModel
from traitvec_core.remote import calls

pytestmark = pytest.mark.slow

JUDGE = "judged_responses"
# As the server masks it: the head and the last four, which are still too much.
PARTS = (SECRET, SECRET[8:20], f"*{SECRET[-4:]}")


def _places_of_the_key(*places: Path | str) -> list[str]:
    """Where any part of the key is: names of files, or the beginning of a text."""
    found = []
    for place in places:
        texts = (
            {place[:40]: place.encode()}
            if isinstance(place, str)
            else {name: data for name, (_, data) in snapshot(place).items()}
        )
        assert texts
        found += [
            name for name, data in texts.items() if any(part.encode() in data for part in PARTS)
        ]
    return found


def _echo(call: Call) -> str:
    return call.headers.get("x-api-key") or call.headers["authorization"].removeprefix("Bearer ")


@pytest.mark.parametrize(
    ("model", "variable", "reply"),
    [
        ("gpt-5-mini", "OPENAI_API_KEY", lambda call: openai_wrong_key(_echo(call))),
        ("gpt-5-mini", "OPENAI_API_KEY", lambda call: openai_wrong_key(_echo(call), is_whole=True)),
        ("claude-haiku-4-5", "ANTHROPIC_API_KEY", lambda call: anthropic_wrong_key()),
        (
            "claude-haiku-4-5",
            "ANTHROPIC_API_KEY",
            lambda call: anthropic_error(401, "authentication_error", f"bad key {_echo(call)}"),
        ),
    ],
    ids=["openai", "openai-whole", "anthropic", "anthropic-whole"],
)
def test_a_wrong_key_stops_the_run_and_is_not_written(
    generated: SmallProject, serve: Serve, model: str, variable: str, reply: Callable[[Call], Reply]
) -> None:
    server = serve(reply)
    generated.set(judge_model=model)
    done = generated.run("refusal", "judged_responses+")
    (problem,) = done.problems
    assert f"set {variable} to a valid one" in problem
    assert "\n" not in problem
    assert "bug" not in problem
    # It stops at the first refusals, long before all 32 prompts.
    assert server.log.total < 32
    assert generated.states("refusal")[JUDGE] == "missing"
    assert _places_of_the_key(generated.folder, problem) == []


@pytest.mark.parametrize(
    "reply",
    [
        lambda call: openai_error(400, f"Bad header: Bearer {_echo(call)}"),
        lambda call: openai_error(403, f"Project of {_echo(call)} has no access"),
        lambda call: openai_error(404, f"No such model for {_echo(call)}"),
        lambda call: Reply(400, f"<html>{_echo(call)}</html>", {"content-type": "text/html"}),
        lambda call: Reply(200, f"not JSON {_echo(call)}"),
    ],
    ids=["400", "403", "404", "page", "no json"],
)
def test_a_key_in_a_reply_is_not_written(
    generated: SmallProject,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    reply: Callable[[Call], Reply],
) -> None:
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.001)
    serve(reply)
    done = generated.run("refusal", JUDGE)
    assert "bug" not in "".join(done.problems)
    assert _places_of_the_key(generated.folder, *done.problems) == []


def test_a_key_is_not_written_by_a_run_that_goes_well(
    generated: SmallProject, serve: Serve
) -> None:
    serve(partial(gpt_5_mini, score_of=scores_that_separate(generated)))
    done = generated.run("refusal")
    assert done.is_good, done.problems
    assert _places_of_the_key(generated.folder) == []


@pytest.mark.parametrize("where", ["open", "post"])
@pytest.mark.parametrize("shows", [False, True], ids=["plain", "shows the key"])
def test_a_bug_in_the_judge_does_not_write_the_key(
    generated: SmallProject,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    shows: bool,
) -> None:
    serve()

    def broken(*arguments: Any, **options: Any) -> None:
        headers = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
        try:
            raise KeyError(f"in {headers if shows else 'the judge'}")
        except KeyError as error:
            raise RuntimeError(f"broken by {headers if shows else 'design'}") from error

    monkeypatch.setattr(OpenAIModel, where, broken)
    done = generated.run("refusal", JUDGE)
    assert not done.is_success
    (problem,) = done.problems
    assert "this is a bug; the traceback is in run" in problem
    assert "RuntimeError" in problem or "broken by" in problem
    assert _places_of_the_key(generated.folder, problem) == []


def _traitvec(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in its own process, without a terminal, with the SDK logging at debug level."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME",)}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "from traitvec_dagster.cli.main import main; main()",
         *arguments, "--experiments-dir", str(folder / "experiments")],
        cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        env={**environment, "OPENAI_LOG": "debug", "NO_COLOR": "1"},
    )  # fmt: skip


def test_the_command_shows_progress_and_cost(generated: SmallProject, serve: Serve) -> None:
    serve(partial(gpt_5_mini, score_of=scores_that_separate(generated)))
    done = _traitvec(
        generated.folder, "run", "--experiment", "demo", "--trait", "refusal",
        "--select", "judged_responses",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if "refusal: judged_responses" in line]
    assert any("32/32 $0.00" in line for line in lines), done.stderr[:3000]
    assert "1 of 1 traits" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert _places_of_the_key(generated.folder, done.stdout, done.stderr) == []


def test_the_command_says_once_why_it_stopped(generated: SmallProject, serve: Serve) -> None:
    serve(lambda call: openai_wrong_key(_echo(call), is_whole=True))
    done = _traitvec(generated.folder, "run", "--experiment", "demo", "--trait", "refusal")
    assert done.returncode == 1
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "OPENAI_API_KEY" in line]
    assert len(lines) == 1, done.stdout + done.stderr
    assert lines[0].startswith("refusal failed:")
    assert "Traceback" not in done.stdout + done.stderr
    assert _places_of_the_key(generated.folder, done.stdout, done.stderr) == []
