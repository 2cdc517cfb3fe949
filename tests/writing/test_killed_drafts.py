"""`kill -9` in the middle of a draft: the same command goes on and pays for nothing twice."""

import json
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.projects import start_traitvec
from tests.providers.drafts import PARTS, PartName, drafting, good_draft, part_of
from tests.providers.replies import Call, Reply
from tests.writing.conftest import SENTENCE, Serve, files
from tests.writing.test_second_look import Writer, is_rewording
from traitvec_core import TraitvecError, draft_trait, load_writer
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.writing.unfinished import draft_key

pytestmark = pytest.mark.slow


def _start(experiments: Path) -> subprocess.Popen[str]:
    return start_traitvec(experiments, "new-trait", "--experiment", "mine", "--from", SENTENCE)


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


@pytest.mark.parametrize("killed_at", ["new pairs", "new questions"])
def test_a_draft_killed_in_its_second_look_goes_on(
    serve: Serve, experiment: ExperimentFolder, killed_at: str
) -> None:
    writer = Writer()

    def hangs_once(call: Call) -> Reply:
        reply = writer(call)
        if (
            writer.asked[killed_at] == 1
            and killed_at.endswith(part_of(call))
            and is_rewording(call)
        ):
            return Reply(reply.status, reply.body, action="hang", hang_s=300)
        return reply

    server = serve(hangs_once)
    n_before = len(PARTS) + (0 if killed_at == "new pairs" else 2)
    first = _start(experiment.path.parent)
    assert server.log.wait_until(lambda log: log.total == n_before + 1, timeout_s=300)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert experiment.traits() == []

    second = _start(experiment.path.parent)
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    assert err.count("kept from before") == n_before
    assert writer.asked.pop(killed_at) == 2
    assert set(writer.asked.values()) == {1}
    written = json.loads(experiment.trait("sycophancy").definition_path.read_text())
    assert len(written["draft"]["replaced"]) == 4
    assert written["draft"]["calls"] == len(PARTS) + 3
    # Nothing is left that the linter would name.
    assert "warning:" not in out


def test_an_unfinished_draft_of_earlier_prompts_starts_over_and_leaves_nothing(
    serve: Serve, experiment: ExperimentFolder
) -> None:
    server = serve(drafting({"questions": [lambda good: "no"]}))
    with pytest.raises(TraitvecError):
        draft_trait(SENTENCE, "gpt-6.1-terra", experiment=experiment)
    (name,) = files(experiment)
    earlier = draft_key(SENTENCE, load_writer("gpt-6.1-terra"), 0, prompt_version=1)
    (experiment.path / name).rename(experiment.path / f".drafts/{earlier}.json")
    n_calls = server.log.total
    server.responder = good_draft
    said: list[str] = []
    draft = draft_trait(SENTENCE, "gpt-6.1-terra", experiment=experiment, say=said.append)
    assert said[0] == "the unfinished draft of an earlier version starts over, with new prompts"
    assert not [line for line in said if "kept from before" in line]
    assert server.log.total == n_calls + len(PARTS)
    draft.write(experiment)
    assert files(experiment) == ["sycophancy/trait_definition.json"]
