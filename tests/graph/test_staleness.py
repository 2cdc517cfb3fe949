"""A change makes stale exactly what depends on it, and the states say so before anything runs."""

from typing import Any

import pytest

from tests.projects import FEW_VECTORS, SmallProject, demo_definition, results, snapshot
from traitvec_core.stage_names import STAGES, Stage

ALL: list[Stage] = list(STAGES[1:])


def _behind(first: Stage | None) -> list[Stage]:
    """A stage and what is made from it; nothing is made from the report."""
    if first is None or first == "validation_report":
        return [first] if first else []
    return ALL[ALL.index(first) :]


def _stale(project: SmallProject, trait: str = "refusal", **overrides: Any) -> list[Stage]:
    states = project.states(trait, **overrides)
    assert set(states.values()) <= {"fresh", "stale"}
    return [stage for stage, state in states.items() if state == "stale"]


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({"eval_prompt": "Rate it. {question} {answer} Reply with a number."}, "judged_responses"),
        ({"questions": ["What is tea?", "What is rain?", "What is a map?"]}, "responses"),
        ({"description": "Said in other words."}, "validation_report"),
        ({"about": ["length"]}, "validation_report"),
        ({"eval_questions": ["Held out?"]}, None),
    ],
    ids=["rubric", "questions", "description", "about", "held-out questions"],
)
def test_states_after_a_change_of_the_definition(
    finished: SmallProject, change: dict[str, Any], first: Stage | None
) -> None:
    finished.define("refusal", {**demo_definition(), **change})
    assert _stale(finished) == _behind(first)
    assert _stale(finished, "uncertainty") == []


@pytest.mark.parametrize(
    ("setting", "first"),
    [
        ({"sampling.seed": 5}, "responses"),
        ({"n_examples": 6}, "responses"),
        ({"instruction_role": "user"}, "responses"),
        ({"threshold": 60}, "activations"),
        ({"min_coherence": 10}, "activations"),
        ({"layers": [2]}, "vectors"),
        ({"scale": "unit"}, "vectors"),
        ({"thresholds.accuracy": 0.5}, "validation_report"),
        ({"monitoring_prompts": ["How are you?"]}, "trait_dynamics"),
        ({"batch_size": 3}, None),
        ({"max_concurrent_judges": 3}, None),
        ({"description": "no result depends on it"}, None),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_states_after_a_change_of_a_setting(
    finished_folder: Any, own_environment: None, setting: dict[str, Any], first: Stage | None
) -> None:
    with SmallProject(finished_folder) as project:  # only looked at
        assert _stale(project, **setting) == _behind(first)


@pytest.mark.slow
def test_a_new_rubric_keeps_the_responses_and_the_other_trait(finished: SmallProject) -> None:
    other = snapshot(finished.trait("uncertainty").path)
    folder = finished.trait("refusal").path
    before = results(folder)
    definition = demo_definition()
    definition["eval_prompt"] += " Answer with one number."
    finished.define("refusal", definition)
    assert _stale(finished) == ALL[1:]
    done = finished.run("refusal", **FEW_VECTORS)
    assert done.is_good, done.problems
    assert done.reused == ["responses"]
    assert list(done.made) == ALL[1:]
    after = results(folder)
    assert after["responses/raw_pos.csv"] == before["responses/raw_pos.csv"]
    assert after["responses/pos.csv"] != before["responses/pos.csv"]
    assert snapshot(finished.trait("uncertainty").path) == other


@pytest.mark.slow
def test_there_and_back_again_gives_the_first_result(finished: SmallProject) -> None:
    """A → B → A: rerun each time, as only one result is kept; the last equals the first."""
    folder = finished.trait("refusal").path
    first = results(folder)
    before = finished.materializations("activations", "refusal")[0].tags
    definition = demo_definition()
    definition["questions"][0] = "What should one know about lanterns?"
    finished.define("refusal", definition)
    assert _stale(finished) == ALL
    there = finished.run("refusal", select="+activations")
    assert list(there.made) == ALL[:3], there.problems
    assert results(folder) != first
    finished.define("refusal", demo_definition())
    assert _stale(finished) == ALL
    back = finished.run("refusal", select="+activations")
    assert list(back.made) == ALL[:3], back.problems
    assert results(folder) == first
    newest, between, _ = (made.tags for made in finished.materializations("activations", "refusal"))
    assert newest is not None
    assert between is not None
    assert before is not None
    version = "dagster/data_version"
    assert newest[version] == before[version] != between[version]
    # What follows was made from the same, so it is fresh again without being made.
    assert _stale(finished) == []


@pytest.mark.slow
def test_another_threshold_keeps_the_judgements(finished: SmallProject) -> None:
    finished.set(**FEW_VECTORS, threshold=45)
    assert _stale(finished) == ALL[2:]
    done = finished.run("refusal")
    assert done.is_good, done.problems
    assert done.reused == ["responses", "judged_responses"]
    assert list(done.made) == ALL[2:]
    assert _stale(finished) == []
    # The file is the experiment's, so the other trait waits for the same.
    assert _stale(finished, "uncertainty") == ALL[2:]


def test_equal_results_stop_what_follows(finished: SmallProject) -> None:
    """A changed input whose result is the same leaves all after it fresh."""
    path = finished.trait("refusal").path / "responses/judging_metadata.json"
    path.unlink()
    states = finished.states("refusal")
    assert states["judged_responses"] == "missing"
    done = finished.run("refusal")
    assert done.is_good, done.problems
    assert list(done.made) == ["judged_responses"]
