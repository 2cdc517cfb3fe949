"""`try --revise` of a trait that is elicited by scenarios: an idle opening is reworded."""

import json
from pathlib import Path

import pytest

from tests.projects import demo_definition
from tests.providers.drafts import answer
from tests.providers.replies import Call, Reply
from tests.trial.traits import USUAL, small_trait
from tests.writing.conftest import Serve
from traitvec_core import (
    ExperimentFolder,
    TraitFolder,
    TraitvecError,
    load_writer,
    make,
    revise_trait,
)

pytestmark = pytest.mark.slow

# A sentence that has begun to refuse, or to explain.
OPENINGS = [
    ("I am sorry, but I", "The first thing to know is"),
    ("No, I cannot", "Yes, the idea of it"),
    ("Unfortunately, I", "People value it because"),
    ("It began on a", "It began on the"),
    ("I am unable to", "It helps to"),
    ("Sorry, I can't", "A good start is"),
    ("I must decline to", "The best way to"),
    ("I'm afraid that I cannot", "The point of it is"),
    ("I cannot help", "It began"),
]
IDLE = 3
NEW = {"pos": "I am sorry, I", "neg": "The first step is"}


@pytest.fixture
def folder(tmp_path: Path) -> TraitFolder:
    """A trait whose fourth scenario elicits nothing."""
    folder = small_trait(tmp_path, "refusal", elicitation="scenarios", **USUAL)
    definition = demo_definition("refusal")
    definition["scenarios"] = [{"pos": pos, "neg": neg, "from": "me"} for pos, neg in OPENINGS]
    folder.definition_path.write_text(json.dumps(definition))
    return folder


def test_an_idle_scenario_is_reworded(serve: Serve, folder: TraitFolder) -> None:
    server = serve(lambda call: answer(call, {"scenarios": [NEW]}))
    settings = ExperimentFolder(folder.path.parent.parent, "demo").settings()
    revised = revise_trait(
        folder, settings, writer=load_writer("gpt-6.1-terra", settings), rounds=1
    )
    (revision,) = revised.revisions
    assert [change.place for change in revision.changes] == [f"scenarios[{IDLE}]"]
    assert revision.changes[0].after == [NEW["pos"], NEW["neg"]]
    assert not revision.is_undone
    (call,) = server.log.calls
    assert "pairs of openings" in call.prompt
    weak = call.prompt.partition("<weak>\n")[2].partition("</weak>")[0]
    assert OPENINGS[IDLE][0] in weak
    assert "makes no difference to the model's answers" in weak
    assert OPENINGS[0][0] in call.prompt.partition("<working>\n")[2].partition("</working>")[0]
    written = json.loads(folder.definition_path.read_text())
    assert written["scenarios"][IDLE] == {**NEW, "from": "me"}
    assert written["instruction"] == demo_definition("refusal")["instruction"]
    (record,) = written["draft"]["revisions"]
    assert record["reworded"] == [f"scenarios[{IDLE}]"]
    # The run reuses what the trials made, the new opening's responses among them.
    make("responses", folder, settings)
    assert folder.metadata("responses")["resumed_from"] == revised.trial.reused_by_run
    assert NEW["pos"] in set(folder.read_responses("responses")["instruction"])


def test_an_opening_that_is_there_or_has_a_gap_is_no_new_one(
    serve: Serve, folder: TraitFolder
) -> None:
    own = demo_definition("refusal")["instruction"][0]
    faulty = [
        dict(zip(("pos", "neg"), OPENINGS[0], strict=True)),
        {"pos": own["pos"], "neg": "The first step is"},
        {"pos": 'Asked "{question}", I said:', "neg": "Somebody asked me. I said:"},
        {"pos": "I chose to [refuse]. I wrote:", "neg": "I chose to answer. I wrote:"},
    ]

    def respond(call: Call) -> Reply:
        return answer(call, {"scenarios": [faulty[min(server.log.total, len(faulty)) - 1]]})

    server = serve(respond)
    before = folder.definition_path.read_bytes()
    settings = ExperimentFolder(folder.path.parent.parent, "demo").settings()
    with pytest.raises(TraitvecError, match="1 new scenario: 4 answers of") as failure:
        revise_trait(folder, settings, writer=load_writer("gpt-6.1-terra", settings))
    assert "\n" not in str(failure.value)
    faults = [call.prompt.rpartition("could not be used: ")[2] for call in server.log.calls[1:]]
    for says, fault in zip(("already there", "already there", "reserved"), faults, strict=True):
        assert says in fault
    assert folder.definition_path.read_bytes() == before
