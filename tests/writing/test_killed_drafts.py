"""`kill -9` in the middle of a draft: the same command goes on and pays for nothing twice."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.projects import REPOSITORY
from tests.providers.drafts import PARTS, PartName, good_draft, part_of
from tests.providers.replies import Call, Reply
from tests.writing.conftest import SENTENCE, Serve, files
from traitvec_core.storage.folders import ExperimentFolder


def _start(experiments: Path) -> subprocess.Popen[str]:
    arguments = ["new-trait", "--experiment", "mine", "--from", SENTENCE]
    return subprocess.Popen(
        [
            sys.executable, "-W", "ignore", "-c",
            "from traitvec_dagster.cli.main import main; main()",
            *arguments, "--experiments-dir", str(experiments),
        ],
        cwd=experiments, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("killed_at", PARTS)
def test_a_killed_draft_goes_on(
    serve: Serve, experiment: ExperimentFolder, killed_at: PartName
) -> None:
    asked: Counter[PartName] = Counter()

    def hangs_once(call: Call) -> Reply:
        part = part_of(call)
        asked[part] += 1
        reply = good_draft(call)
        if part == killed_at and asked[part] == 1:
            return Reply(reply.status, reply.body, action="hang", hang_s=300)
        return reply

    server = serve(hangs_once)
    n_before = PARTS.index(killed_at)
    first = _start(experiment.path.parent)
    assert server.log.wait_until(lambda log: log.total == n_before + 1, timeout_s=300)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert experiment.traits() == []
    assert not [name for name in files(experiment) if not name.startswith(".drafts/")]

    second = _start(experiment.path.parent)
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    assert err.count("kept from before") == n_before
    # One more: the answer that the killed process was waiting for.
    assert asked == {part: 1 + (part == killed_at) for part in PARTS}
    assert "wrote mine/sycophancy/trait_definition.json: a draft by gpt-6.1-terra ($0." in out
    assert files(experiment) == ["sycophancy/trait_definition.json"]
    written = json.loads(experiment.trait("sycophancy").definition_path.read_text())
    assert written["draft"]["calls"] == len(PARTS)


def test_two_at_once_do_not_pay_twice(serve: Serve, experiment: ExperimentFolder) -> None:
    def slow(call: Call) -> Reply:
        reply = good_draft(call)
        return Reply(reply.status, reply.body, action="hang", hang_s=300)

    server = serve(slow)
    first = _start(experiment.path.parent)
    try:
        assert server.log.wait_until(lambda log: log.total == 1, timeout_s=300)
        second = _start(experiment.path.parent)
        _, err = second.communicate(timeout=300)
        assert second.returncode == 1
        (line,) = [line for line in err.splitlines() if line.startswith("error:")]
        assert "this draft is being written by process" in line
        assert server.log.total == 1
    finally:
        first.kill()
        first.communicate()
