"""Scenarios for a trait that has none: only they are added, and what was made stays fresh."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.projects import demo_definition, write_experiment
from tests.providers.drafts import answer, drafting, good_answers, good_draft, part_of
from tests.providers.replies import Call, Reply
from tests.writing.conftest import Serve, files
from tests.writing.test_second_look import BETTER, REPEATED, REPEATS, is_rewording
from traitvec_core import (
    ExperimentFolder,
    TraitFolder,
    TraitvecError,
    add_scenarios,
    make,
    stage_states,
)
from traitvec_core.stage_names import Stage
from traitvec_core.storage.trait_lock import using_trait
from traitvec_core.writing import describe_draft

MODEL = "gpt-6.1-terra"
OPENINGS = good_answers()["scenarios"]["scenarios"]
OWN: dict[str, Any] = {
    "source": {"paper": "2507.21509", "numbers": [1.5, 10, True, None]},
    **demo_definition("refusal"),
    "about": ["refusal"],
    "notes": "\u00fcber \u2028 \U0001f600",
}


@pytest.fixture
def folder(tmp_path: Path) -> TraitFolder:
    """A trait of the demo, with keys that are the user's own."""
    write_experiment(tmp_path, "mine", ["refusal"])
    folder = ExperimentFolder(tmp_path / "experiments", "mine").trait("refusal")
    folder.definition_path.write_text(json.dumps(OWN))
    return folder


def _written(folder: TraitFolder) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(folder.definition_path.read_text())
    return written


def test_scenarios_are_added_and_all_else_stays(serve: Serve, folder: TraitFolder) -> None:
    server = serve()
    added = add_scenarios(folder, MODEL)
    written = _written(folder)
    assert written.pop("scenarios") == OPENINGS
    (record,) = written.pop("draft")["revisions"]
    assert written == OWN
    assert list(written) == list(OWN)
    after_pairs = list(_written(folder))
    assert after_pairs[after_pairs.index("instruction") + 1] == "scenarios"
    assert record == added.record
    assert (record["added"], record["model"], record["calls"]) == ("scenarios", MODEL, 1)
    assert record["usd"] > 0
    assert describe_draft(folder.definition()) == f"scenarios by {MODEL}"
    (call,) = server.log.calls
    # The writer knows what the definition says of the trait.
    assert OWN["description"] in call.prompt
    experiment = ExperimentFolder(folder.path.parent.parent, "mine")
    assert files(experiment) == ["refusal/trait_definition.json"]
    with pytest.raises(TraitvecError, match="has scenarios already"):
        add_scenarios(folder, MODEL)
    assert server.log.total == 1


@pytest.mark.parametrize("draft", ["by hand", ["a", "list"], {"revisions": "v2", "tool": "mine"}])
def test_another_tools_draft_key_stays(serve: Serve, folder: TraitFolder, draft: Any) -> None:
    serve()
    folder.definition_path.write_text(json.dumps({**OWN, "draft": draft}))
    add_scenarios(folder, MODEL)
    assert _written(folder)["draft"] == draft


@pytest.mark.slow
def test_what_was_made_by_instructions_stays_fresh(serve: Serve, folder: TraitFolder) -> None:
    settings = ExperimentFolder(folder.path.parent.parent, "mine").settings()
    made: tuple[Stage, ...] = (
        "responses", "judged_responses", "activations", "vectors", "steering_evaluation",
        "validation_report",
    )  # fmt: skip
    for stage in made:
        make(stage, folder, settings)
    before = stage_states(folder, settings)
    assert {before[stage] for stage in made} == {"fresh"}
    serve()
    add_scenarios(folder, MODEL)
    assert stage_states(folder, settings) == before


def test_a_trait_in_use_is_left_alone_and_nothing_is_paid(
    serve: Serve, folder: TraitFolder
) -> None:
    server = serve()
    busy = "refusal cannot be changed now: it is in use by run 1a2b"
    with using_trait(folder.path, "run 1a2b3c4d"), pytest.raises(TraitvecError, match=busy):
        add_scenarios(folder, MODEL)
    assert server.log.total == 0
    assert _written(folder) == OWN


def test_an_edit_while_the_writer_writes_is_kept(serve: Serve, folder: TraitFolder) -> None:
    def edits(call: Call) -> Reply:
        folder.definition_path.write_text(json.dumps({**OWN, "description": "Says no."}))
        return good_draft(call)

    serve(edits)
    add_scenarios(folder, MODEL)
    assert _written(folder)["description"] == "Says no."
    assert _written(folder)["scenarios"] == OPENINGS


def test_an_edit_while_the_writer_looks_again_is_kept(serve: Serve, folder: TraitFolder) -> None:
    weak = [*OPENINGS[:3], REPEATED, *OPENINGS[4:7], REPEATS, *OPENINGS[8:]]

    def edits(call: Call) -> Reply:
        if not is_rewording(call):
            return answer(call, {"scenarios": weak})
        folder.definition_path.write_text(json.dumps({**OWN, "description": "Says no."}))
        return answer(call, BETTER["scenarios"])

    serve(edits)
    assert add_scenarios(folder, MODEL).record["replaced"] == ["scenarios[7]"]
    assert _written(folder)["description"] == "Says no."
    assert _written(folder)["scenarios"][7] == BETTER["scenarios"]["scenarios"][0]


def test_an_instruction_is_no_opening_and_what_the_linter_names_is_asked_for_again(
    serve: Serve, folder: TraitFolder
) -> None:
    own = [dict(pair) for pair in OPENINGS]
    own[2]["neg"] = OWN["instruction"][1]["pos"]
    weak = [*OPENINGS[:3], REPEATED, *OPENINGS[4:7], REPEATS, *OPENINGS[8:]]
    firsts = [own, weak]

    def respond(call: Call) -> Reply:
        assert part_of(call) == "scenarios"
        if is_rewording(call):
            return answer(call, BETTER["scenarios"])
        return answer(call, {"scenarios": firsts.pop(0)})

    server = serve(respond)
    added = add_scenarios(folder, MODEL)
    assert "already there" in server.log.calls[1].prompt
    assert added.record["replaced"] == ["scenarios[7]"]
    assert added.record["calls"] == server.log.total == 3
    assert _written(folder)["scenarios"][7] == BETTER["scenarios"]["scenarios"][0]
    # What the linter says of the rest is the user's.
    assert _written(folder)["instruction"] == OWN["instruction"]


def test_a_writer_that_stays_faulty_changes_nothing_and_the_budget_holds(
    serve: Serve, folder: TraitFolder
) -> None:
    server = serve(drafting({"scenarios": [lambda good: "no"]}))
    before = folder.definition_path.read_bytes()
    with pytest.raises(TraitvecError, match="10 scenarios: 4 answers of") as failure:
        add_scenarios(folder, MODEL)
    assert "\n" not in str(failure.value)
    with pytest.raises(TraitvecError, match=r"raise max_usd \(--max-usd\)"):
        add_scenarios(folder, MODEL, max_usd=0.0)
    assert server.log.total == 4
    assert folder.definition_path.read_bytes() == before


def test_a_long_fault_is_cut_visibly(serve: Serve, folder: TraitFolder) -> None:
    faulty = [{**pair, "pos": "\u202e{answer} I wrote:"} for pair in OPENINGS]
    serve(drafting({"scenarios": [lambda good: {"scenarios": faulty}]}))
    with pytest.raises(TraitvecError, match="…; name another writer, or run again") as failure:
        add_scenarios(folder, MODEL)
    assert len(str(failure.value)) < 250


def test_a_missing_trait_is_not_created(serve: Serve, folder: TraitFolder) -> None:
    serve()
    with pytest.raises(TraitvecError, match="is missing"):
        add_scenarios(folder.sibling("other"), MODEL)
    assert not (folder.path.parent / "other").exists()
