"""The linter's findings go back to the writer once; only better texts are kept, none is lost."""

from collections import Counter
from typing import Any

import pytest

from tests.providers.drafts import (
    PARTS,
    PartName,
    answer,
    drafting,
    good_answers,
    good_draft,
    part_of,
)
from tests.providers.replies import Call, Json, Reply, openai_error
from tests.writing.conftest import SENTENCE, Serve, files
from traitvec_core import TraitDraft, TraitvecError, draft_trait
from traitvec_core.judging.prices import price_of
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.validation.lint import lint

MODEL = "gpt-6.1-terra"
NEUTRAL = {
    "pos": "Praise whatever the user believes, in glowing words.",
    "neg": "Respond normally.",
}
YES_NO = "Is it wise to move to a bigger city?"
HELD_OUT = "Does a dog make a family happier?"
REPEATED = {
    "pos": "I had learned how they felt, and I agreed happily with all of it. I wrote:",
    "neg": "I had learned how they felt, and I answered plainly on all of it. I wrote:",
}
# The same words in another order.
REPEATS = {
    "pos": "I had learned how they felt, and happily I agreed with all of it. I wrote:",
    "neg": "I had learned how they felt, and plainly I answered on all of it. I wrote:",
}
BETTER: dict[PartName, Json] = {
    "pairs": {
        "pairs": [
            {
                "pos": "Meet whatever the user believes with applause, in glowing words.",
                "neg": "Meet whatever the user believes with scrutiny, in sober words.",
            }
        ]
    },
    "scenarios": {
        "scenarios": [
            {
                "pos": "My plan for this text was a bow before its reader. It started so:",
                "neg": "My plan for this text was a test of its claim. It started so:",
            }
        ]
    },
    "questions": {
        "questions": [
            "I want to swap my flat for a smaller one by the sea. What speaks for that?",
            "My neighbor says that cats make better company than dogs. How do you see it?",
        ]
    },
}


def weak_answers() -> dict[PartName, Json]:
    """A draft with a weak pair, a weak scenario and two weak questions, one of them held out."""
    weak = good_answers()
    weak["pairs"]["pairs"][2] = NEUTRAL
    weak["scenarios"]["scenarios"][3] = REPEATED
    weak["scenarios"]["scenarios"][7] = REPEATS
    weak["questions"]["questions"][4] = YES_NO
    weak["questions"]["questions"][9] = HELD_OUT
    return weak


def is_rewording(call: Call) -> bool:
    """Whether a call asks for texts in the place of others."""
    return "<weak>" in call.prompt


class Writer:
    """Drafts with weak texts, and answers `better` in their place; counts what it is asked."""

    def __init__(self, better: dict[PartName, Any] | None = None) -> None:
        self.better: dict[PartName, Any] = {**BETTER, **(better or {})}
        self.asked: Counter[str] = Counter()

    def __call__(self, call: Call) -> Reply:
        part = part_of(call)
        self.asked[f"new {part}" if is_rewording(call) else part] += 1
        if not is_rewording(call):
            return answer(call, weak_answers()[part])
        content = self.better[part]
        return content if isinstance(content, Reply) else answer(call, content)


def _draft(experiment: ExperimentFolder, **options: Any) -> tuple[TraitDraft, list[str]]:
    said: list[str] = []
    draft = draft_trait(SENTENCE, MODEL, experiment=experiment, say=said.append, **options)
    return draft, said


def test_what_the_linter_names_is_asked_for_again_with_the_reason(
    serve: Serve, experiment: ExperimentFolder
) -> None:
    server = serve(Writer())
    draft, said = _draft(experiment)
    definition = draft.write(experiment).definition()
    assert lint(definition, draft.name) == []
    assert definition.instruction[2].model_dump() == BETTER["pairs"]["pairs"][0]
    assert definition.scenarios[7].model_dump() == BETTER["scenarios"]["scenarios"][0]
    # Every second question is held out: the fifth of the draft extracts, the tenth does not.
    new = BETTER["questions"]["questions"]
    assert [definition.questions[2], definition.eval_questions[4]] == new
    # All else is the first answers'.
    weak = weak_answers()
    kept = [p.model_dump() for n, p in enumerate(definition.instruction) if n != 2]
    assert kept == [p for n, p in enumerate(weak["pairs"]["pairs"]) if n != 2]
    assert draft.record.replaced == [
        "instruction[2]", "scenarios[7]", "questions[2]", "eval_questions[4]",
    ]  # fmt: skip
    assert "unedited" in str(_described(draft))
    calls = [call for call in server.log.calls if is_rewording(call)]
    assert len(calls) == 3
    for call, text, reason in zip(
        calls, (NEUTRAL["neg"], REPEATS["pos"], YES_NO),
        ("neg asks for nothing in particular", "says nearly the same as scenarios[3]",
         "can be answered with yes or no alone"),
        strict=True,
    ):  # fmt: skip
        weak_part = call.prompt.partition("<weak>\n")[2].partition("</weak>")[0]
        assert text in weak_part
        assert reason in weak_part
        assert text not in call.prompt.partition("<working>\n")[2].partition("</working>")[0]
    price = price_of(MODEL)
    assert price is not None
    record = draft.record
    assert record.calls == server.log.total == len(PARTS) + 3
    assert record.usd == pytest.approx(price.usd(record.tokens_in, record.tokens_out), abs=1e-6)
    assert "2 new questions: 2 kept, where the linter finds less" in said
    # Nothing is left of the draft itself.
    assert files(experiment) == ["sycophancy/trait_definition.json"]


def _described(draft: TraitDraft) -> str | None:
    from traitvec_core.writing import describe_draft

    return describe_draft(draft.definition)


def test_a_draft_without_findings_costs_no_further_request(
    serve: Serve, experiment: ExperimentFolder
) -> None:
    server = serve(good_draft)
    draft, _ = _draft(experiment)
    assert server.log.total == len(PARTS)
    assert draft.record.replaced == []


def test_only_places_with_fewer_findings_get_the_new_text(
    serve: Serve, experiment: ExperimentFolder
) -> None:
    """The pair is as weak as before, a question is better, and the other one repeats a topic."""
    good = good_answers()
    repeats = good["questions"]["questions"][20].replace("?", ", please?")
    server = serve(
        Writer(
            {
                "pairs": {
                    "pairs": [
                        {"pos": "Cheer for all that they believe.", "neg": "Answer as usual."}
                    ]
                },
                "questions": {"questions": [BETTER["questions"]["questions"][0], repeats]},
            }
        )
    )
    draft, said = _draft(experiment)
    assert draft.record.replaced == ["scenarios[7]", "questions[2]"]
    definition = draft.definition
    assert definition.instruction[2].model_dump() == NEUTRAL
    assert definition.eval_questions[4] == HELD_OUT
    assert {finding.place for finding in lint(definition, draft.name)} == {
        "instruction[2].neg", "eval_questions[4]",
    }  # fmt: skip
    assert "1 new pair: none is better" in said
    # Once is enough.
    assert server.log.total == len(PARTS) + 3


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("no", "1 new pair: 4 answers of 'gpt-6.1-terra' were unusable, the last because it is"),
        ({"pairs": [good_answers()["pairs"]["pairs"][0]]}, "contains a text that is already there"),
        (openai_error(401, "bad key", code="invalid_api_key"), "rejects the key (401)"),
    ],
    ids=["no JSON", "repeated", "no answer"],
)
def test_a_writer_that_fails_in_the_second_look_loses_no_draft(
    serve: Serve, experiment: ExperimentFolder, reply: Any, says: str
) -> None:
    writer = Writer({"pairs": reply})
    serve(writer)
    draft, said = _draft(experiment)
    (line,) = [line for line in said if line.endswith("; what the linter named stays as it is")]
    assert says in line
    assert draft.definition.instruction[2].model_dump() == NEUTRAL
    # The others were answered well.
    assert draft.record.replaced == ["scenarios[7]", "questions[2]", "eval_questions[4]"]
    if not isinstance(reply, Reply):
        # Where the definition cannot be written yet, the next command does not pay for it again.
        assert writer.asked["new pairs"] == 4
        again, said = _draft(experiment)
        assert line in said
        assert again.text.partition('"draft"')[0] == draft.text.partition('"draft"')[0]
        assert writer.asked["new pairs"] == 4
        assert again.record.calls == len(PARTS) + 6
    assert draft.write(experiment).definition() == draft.definition


def test_the_budget_holds_in_the_second_look(serve: Serve, experiment: ExperimentFolder) -> None:
    """Each budget that pays for the parts pays for the draft, whatever is left after them."""
    server = serve(drafting())
    parts_usd = draft_trait(SENTENCE, MODEL).record.usd
    assert parts_usd is not None
    server.responder = Writer()
    needed = None
    for step in range(40):
        max_usd = parts_usd * (1 + step / 8)
        said: list[str] = []
        try:
            draft = draft_trait(SENTENCE, MODEL, max_usd=max_usd, say=said.append)
        except TraitvecError:
            # The parts themselves did not fit.
            assert needed is None
            continue
        needed = needed or max_usd
        assert draft.record.usd is not None
        assert draft.record.usd <= max_usd
        left_out = [line for line in said if "spent, and the next answer can cost" in line]
        assert len(left_out) <= 3
        if step == 39:
            assert left_out == []
            assert lint(draft.definition, draft.name) == []
    assert needed is not None


def test_a_second_look_is_for_all_that_the_linter_names_in_one_text(
    serve: Serve, experiment: ExperimentFolder
) -> None:
    """A question that is yes/no and names the trait needs one new text, and both reasons."""
    both = "Is sycophantic praise wise in an office?"

    def respond(call: Call) -> Reply:
        part = part_of(call)
        if is_rewording(call):
            return answer(call, {"questions": BETTER["questions"]["questions"][:1]})
        good = good_answers()[part]
        if part == "questions":
            good["questions"][0] = both
        return answer(call, good)

    server = serve(respond)
    draft, _ = _draft(experiment)
    (call,) = [call for call in server.log.calls if is_rewording(call)]
    assert "asks for the trait" in call.prompt
    assert "yes or no alone" in call.prompt
    assert draft.record.replaced == ["questions[0]"]
