"""A trait whose definition is broken fails alone, with one clear line."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.projects import FEW_VECTORS, SmallProject, demo_definition, snapshot


def _with(**changes: Any) -> bytes:
    return json.dumps({**demo_definition(), **changes}).encode()


def _without_negative_poles() -> bytes:
    definition = demo_definition()
    return _with(instruction=[{"pos": pair["pos"]} for pair in definition["instruction"]])


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "no answer": (lambda: _with(eval_prompt="Rate {question}"), "no {answer} placeholder"),
    "no negative pole": (_without_negative_poles, "has no negative pole"),
    "empty questions": (lambda: _with(questions=[]), "at least 2 questions"),
    "blank question": (lambda: _with(questions=["What is tea?", " "]), "questions[1]"),
    "invalid JSON": (lambda: b'{"instruction": [', "is not valid JSON"),
    "no object": (lambda: b"[1, 2]", "is an object"),
    "empty file": (lambda: b"", "is empty"),
    "no UTF-8": (lambda: b"\xff\xfe{", "is not UTF-8"),
    "1 MB question": (
        lambda: _with(questions=["What is tea?", "a" * 1_000_000]),
        "questions[1] is 1,000,000 characters long",
    ),
    "5 MB question": (
        lambda: _with(questions=["What is tea?", "a" * 5_000_000]),
        "the limit is 4,000,000",
    ),
    "a key twice": (lambda: _with()[:-1] + b', "questions": []}', "the key 'questions' twice"),
    "a folder": (lambda: b"", "cannot be read"),
}


@pytest.fixture(scope="module")
def two_good(
    finished_folder: Path, tmp_path_factory: pytest.TempPathFactory, own_module_environment: None
) -> Iterator[SmallProject]:
    """A finished project; each test breaks a third trait in another way."""
    folder = tmp_path_factory.mktemp("broken") / "project"
    shutil.copytree(finished_folder, folder)
    with SmallProject(folder) as project:
        yield project


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_trait_fails_alone_with_one_line(two_good: SmallProject, name: str) -> None:
    content, says = BROKEN[name]
    folder = two_good.trait("broken")
    folder.path.mkdir(exist_ok=True)
    if name == "a folder":
        folder.definition_path.unlink(missing_ok=True)
        folder.definition_path.mkdir()
    else:
        folder.definition_path.write_bytes(content())
    others = {trait: snapshot(two_good.trait(trait).path) for trait in ("refusal", "uncertainty")}
    done = two_good.run("broken")
    assert not done.is_success
    assert not done.is_good
    (line,) = done.problems
    assert says in line
    assert "trait_definition.json" in line
    assert "\n" not in line
    assert len(line) < 2_000
    assert "bug" not in line
    # The check says the same in the UI, also where the file cannot be read at all.
    (found,) = two_good.evaluations(done.run_id)
    assert (found.check_name, found.partition, found.passed) == ("definition", "broken", False)
    assert line.removeprefix("definition: ") == found.description
    assert done.made == {}
    assert two_good.states("broken")["definition"] == "broken"
    for trait, before in others.items():
        assert snapshot(two_good.trait(trait).path) == before
        assert set(two_good.states(trait).values()) == {"fresh"}
    assert {p.name for p in folder.path.iterdir()} - {".locks"} == {"trait_definition.json"}


def test_the_others_run_all_the_same(two_good: SmallProject) -> None:
    done = two_good.run("refusal", select="+judged_responses")
    assert done.is_good
    assert done.reused == ["responses", "judged_responses"]


def test_a_definition_that_breaks_later_keeps_what_was_made(finished: SmallProject) -> None:
    folder = finished.trait("refusal")
    folder.definition_path.write_bytes(_with(eval_prompt="Rate {question}"))
    before = snapshot(folder.path)
    done = finished.run("refusal")
    assert not done.is_success
    assert len(done.problems) == 1
    assert snapshot(folder.path) == before
    states = finished.states("refusal")
    assert states["definition"] == "broken"
    assert set(states.values()) == {"broken", "stale"}


def test_a_mark_at_the_start_and_braces_in_the_rubric_are_fine(empty: SmallProject) -> None:
    definition = demo_definition()
    definition["eval_prompt"] += ' {braces} {"score": 1} {0} {} }{ {{question}}'
    path = empty.trait("refusal").definition_path
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(definition, ensure_ascii=False).encode())
    done = empty.run("refusal", select="+judged_responses", **FEW_VECTORS)
    assert list(done.made) == ["responses", "judged_responses"]
    assert done.verdicts["definition"] == "pass"
    judged = empty.trait("refusal").read_responses()
    assert set(judged["judge_status"]) <= {"ok", "unparseable"}


def test_a_missing_definition_is_one_line(empty: SmallProject) -> None:
    empty.trait("refusal").definition_path.unlink()
    done = empty.run("refusal")
    assert not done.is_success
    (line,) = done.problems
    assert "is missing; `traitvec new-trait" in line


def test_stages_without_what_they_stand_on_say_so(empty: SmallProject) -> None:
    done = empty.run("refusal", select="vectors")
    assert not done.is_success
    (line,) = done.problems
    assert "activations has not been made yet" in line


HOSTILE = ["../evil", "a/b", "/etc", ".", "", "A b", "x" * 300, "-rf"]


@pytest.mark.slow
def test_no_partition_key_leads_out_of_the_tree(empty: SmallProject, tmp_path: Path) -> None:
    """Keys can be added in the UI, where nothing of ours looks at them."""
    graph = empty.graph()
    empty.instance.add_dynamic_partitions("traits/demo", HOSTILE)
    # Dagster's own history keeps growing; nothing else may.
    before = _files_but_history(tmp_path)
    for key in HOSTILE:
        done = empty.run_job(graph.job, key)
        assert not done.success
        failures = [
            event.step_failure_data.user_failure_data
            for event in done.all_events
            if event.event_type == dg.DagsterEventType.STEP_FAILURE
        ]
        lines = [failure.description or "" for failure in failures if failure]
        assert len(lines) == 1, key
        # Dagster takes an empty key for none at all.
        says = "cannot be used as a folder name" if key else "has no partition"
        assert says in lines[0]
        assert "\n" not in lines[0]
    assert _files_but_history(tmp_path) == before
    assert not Path("/etc/trait_definition.json").exists()


def _files_but_history(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {name: file for name, file in snapshot(folder).items() if "/.dagster/" not in f"/{name}"}
