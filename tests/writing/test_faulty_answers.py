"""Faulty answers: asked for again with the fault named, at most three times, then one line."""

import json
from collections.abc import Callable

import pytest

from tests.providers.drafts import PARTS, PartName, Spoil, drafting, good_answers
from tests.providers.replies import (
    Json,
    anthropic_answer,
    openai_answer,
    openai_content_filtered,
)
from tests.writing.conftest import SENTENCE, Serve, files
from traitvec_core import TraitvecError, draft_trait
from traitvec_core.storage.folders import ExperimentFolder


def _edited(*path: str | int, value: object) -> Spoil:
    """The good answer with one value replaced."""

    def spoil(good: Json) -> Json:
        place = good
        for step in path[:-1]:
            place = place[step]  # type: ignore[index]
        place[path[-1]] = value  # type: ignore[index]
        return good

    return spoil


def _without(*path: str | int) -> Spoil:
    def spoil(good: Json) -> Json:
        place = good
        for step in path[:-1]:
            place = place[step]  # type: ignore[index]
        del place[path[-1]]  # type: ignore[arg-type]
        return good

    return spoil


def _as_text(change: Callable[[str], str]) -> Spoil:
    return lambda good: change(json.dumps(good))


FIRST_QUESTION = good_answers()["questions"]["questions"][0]
FAULTS: dict[str, tuple[PartName, Spoil, str]] = {
    "nine pairs": ("pairs", _without("pairs", 9), "9 pairs instead of 10"),
    "no pairs": ("pairs", _edited("pairs", value=[]), "0 pairs instead of 10"),
    "eleven pairs": (
        "pairs", lambda good: {"pairs": [*good["pairs"], {"pos": "One.", "neg": "Two."}]},
        "11 pairs instead of 10",
    ),
    "a pair twice": (
        "pairs", lambda good: {"pairs": [*good["pairs"][:9], good["pairs"][0]]},
        "contains the same text twice",
    ),
    "poles alike": (
        "pairs", _edited("pairs", 3, value={"pos": "Be kind.", "neg": "be  kind"}),
        "contains the same text twice",
    ),
    "no negative": ("pairs", _without("pairs", 2, "neg"), "pairs[2].neg: field required"),
    "empty": ("pairs", _edited("pairs", 1, "pos", value="  "), "pairs[1].pos is empty"),
    "a number": ("pairs", _edited("pairs", 1, "pos", value=7), "pairs[1].pos: input should be"),
    "control character": (
        "pairs", _edited("pairs", 0, "neg", value="Be\x1b[31m plain."), "invisible character"
    ),
    "half a surrogate": (
        "pairs", _edited("pairs", 0, "neg", value="Be \ud83d plain."), "invisible character"
    ),
    "null": ("pairs", _edited("pairs", 0, "neg", value="Be\0 plain."), "invisible character"),
    "form gap": ("pairs", _edited("pairs", 0, "neg", value="FILL IN: it"), "is no text"),
    "endless": ("pairs", _edited("pairs", 0, "neg", value="very " * 400), "at most 1000"),
    "39 questions": ("questions", _without("questions", 5), "39 questions instead of 40"),
    "a question twice": (
        "questions", _edited("questions", 7, value=f" {FIRST_QUESTION.upper()} "),
        "contains the same text twice",
    ),
    "objects": (
        "questions", lambda good: {"questions": [{"text": q} for q in good["questions"]]},
        "questions[0]: input should be a valid string",
    ),
    "no list": ("questions", _edited("questions", value="Why?"), "questions: input should be"),
    "another key": ("questions", lambda good: {"items": good["questions"]}, "field required"),
    "a bare list": ("questions", lambda good: json.dumps(good["questions"]), "is no JSON object"),
    "not JSON": ("questions", _as_text(lambda text: text[:-20]), "it is not one JSON object"),
    "prose around": (
        "questions", _as_text(lambda text: f"Sure! {text}"), "it begins with 'Sure!"
    ),
    "fence and prose": (
        "questions", _as_text(lambda text: f"```json\n{text}\n```\nEnjoy!"), "it begins with '```"
    ),
    "two objects": ("questions", _as_text(lambda text: text + text), "Extra data"),
    "a key twice": (
        "questions", _as_text(lambda text: f'{{"questions": [], {text[1:]}'), "a key is there twice"
    ),
    "nested": ("questions", lambda good: "[" * 5000, "it is not one JSON object"),
    "blank": ("questions", lambda good: " \n", "it has no text"),
    "still thinking": ("questions", lambda good: "<think>Hmm", "still thinking"),
    "placeholder": (
        "outline", _edited("anchors", "at_50", value="Half: {answer}"), "which is reserved"
    ),
    "delimiter": (
        "outline", _edited("is_not", 0, value="a [ANSWER END] mark"), "which is reserved"
    ),
    "no anchor": ("outline", _without("anchors", "at_75"), "anchors.at_75: field required"),
    "anchors alike": (
        "outline", _edited("anchors", "at_75", value=good_answers()["outline"]["anchors"]["at_50"]),
        "anchors contains the same text twice",
    ),
    "no confusions": ("outline", _edited("is_not", value=[]), "is_not has 0 entries"),
    "labels alike": ("outline", _edited("negative_label", value="Sycophantic"), "are the same"),
    "a path": ("outline", _edited("name", value="../../evil"), "cannot be used as a folder name"),
    "two lines": ("outline", _edited("description", value="One.\nTwo."), "line break"),
    "nine scenarios": ("scenarios", _without("scenarios", 4), "9 scenarios instead of 10"),
    "a scenario twice": (
        "scenarios", _edited("scenarios", 6, value=good_answers()["scenarios"]["scenarios"][0]),
        "contains the same text twice",
    ),
    "an instruction as opening": (
        "scenarios",
        _edited("scenarios", 2, "pos", value=good_answers()["pairs"]["pairs"][4]["neg"].upper()),
        "scenarios contains a text that is already there",
    ),
    "opening with the question": (
        "scenarios", _edited("scenarios", 0, "pos", value='"{question}" they asked. I said:'),
        "contains {question}, which is reserved",
    ),
    "opening with a gap": (
        "scenarios", _edited("scenarios", 0, "neg", value="I chose to [be plain]. I wrote:"),
        "scenarios[0].neg contains '[', as if something had to be filled in",
    ),
    "opening with dots": (
        "scenarios", _edited("scenarios", 0, "neg", value="I decided to …. I wrote:"),
        "as if something had to be filled in",
    ),
    "opening in two lines": (
        "scenarios", _edited("scenarios", 0, "neg", value="I chose.\nI wrote:"), "a line break"
    ),
    "scenarios cut off": (
        "scenarios", lambda good: openai_answer('{"scen', finish_reason="length"), "was cut off"
    ),
    "scenarios refused": (
        "scenarios", lambda good: openai_answer(None, refusal="No."), "it was refused: No."
    ),
    "cut off": (
        "pairs", lambda good: openai_answer('{"pairs": [', finish_reason="length"), "was cut off"
    ),
    "refused": (
        "outline", lambda good: openai_answer(None, refusal="I can't help with that."),
        "it was refused: I can't help with that.",
    ),
    "filtered": ("outline", lambda good: openai_content_filtered(), "stopped by a content filter"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_answer_is_asked_for_again_with_the_fault_named(
    serve: Serve, experiment: ExperimentFolder, fault: str
) -> None:
    part, spoil, says = FAULTS[fault]
    server = serve(drafting({part: [spoil, lambda good: None]}))
    draft = draft_trait(SENTENCE, "gpt-6.1-terra", experiment=experiment)
    assert draft.write(experiment).definition().warnings == []
    assert server.log.total == draft.record.calls == len(PARTS) + 1
    (again,) = [call for call in server.log.calls if "could not be used" in call.prompt]
    assert says in again.prompt.rpartition("could not be used: ")[2]


@pytest.mark.parametrize(
    "fault", ["nine pairs", "not JSON", "refused", "cut off", "nine scenarios"]
)
def test_a_writer_that_stays_faulty_ends_in_one_line_and_nothing_is_half_written(
    serve: Serve, experiment: ExperimentFolder, fault: str
) -> None:
    part, spoil, says = FAULTS[fault]
    server = serve(drafting({part: [spoil]}))
    with pytest.raises(TraitvecError) as failure:
        draft_trait(SENTENCE, "gpt-6.1-terra", experiment=experiment)
    line = str(failure.value)
    assert says in line
    assert "4 answers of 'gpt-6.1-terra' were unusable" in line
    assert "run again" in line
    assert len(line) < 300
    assert "\n" not in line
    n_before = PARTS.index(part)
    assert server.log.total == n_before + 4
    assert [name for name in files(experiment) if not name.startswith(".drafts/")] == []
    assert experiment.traits() == []
    if fault == "cut off":
        limits = [call.body["max_completion_tokens"] for call in server.log.calls][n_before:]
        first, second, third, last = limits
        assert first < second < third == last


def test_the_next_command_goes_on_behind_the_parts_that_were_valid(
    serve: Serve, experiment: ExperimentFolder
) -> None:
    server = serve(drafting({"questions": [lambda good: "no"] * 4 + [lambda good: None]}))
    with pytest.raises(TraitvecError):
        draft_trait(SENTENCE, "gpt-6.1-terra", experiment=experiment)
    draft = draft_trait(SENTENCE, "gpt-6.1-terra", experiment=experiment)
    assert server.log.total == 2 + 4 + 2
    # All of it counts as the draft's cost.
    assert draft.record.calls == 8


def test_anthropic_refuses_and_cuts_off_in_its_own_words(
    serve: Serve, experiment: ExperimentFolder
) -> None:
    replies: list[Spoil] = [
        lambda good: anthropic_answer("I", stop_reason="max_tokens"),
        lambda good: anthropic_answer(None, stop_reason="refusal"),
        lambda good: None,
    ]
    server = serve(drafting({"pairs": replies}))
    draft = draft_trait(SENTENCE, "claude-haiku-4-5", experiment=experiment)
    assert draft.record.calls == len(PARTS) + 2
    first, second, third = [call.body["max_tokens"] for call in server.log.calls[1:4]]
    assert first < second == third


def test_an_answer_in_one_code_fence_is_read(serve: Serve, experiment: ExperimentFolder) -> None:
    fenced = _as_text(lambda text: f"```json\n{text}\n```\n")
    server = serve(drafting({part: [fenced] for part in PARTS}))
    draft_trait(SENTENCE, "gpt-6.1-terra", experiment=experiment).write(experiment)
    assert server.log.total == len(PARTS)


def test_a_kept_part_that_was_edited_into_a_fault_is_asked_for_again(
    serve: Serve, experiment: ExperimentFolder
) -> None:
    server = serve(drafting({"questions": [lambda good: "no"] * 4 + [lambda good: None]}))
    with pytest.raises(TraitvecError):
        draft_trait(SENTENCE, "gpt-6.1-terra", experiment=experiment)
    (name,) = files(experiment)
    kept = json.loads(experiment.read(name))
    kept["parts"]["pairs"]["pairs"].pop()
    experiment.write(name, json.dumps(kept).encode())
    draft_trait(SENTENCE, "gpt-6.1-terra", experiment=experiment)
    assert server.log.total == 6 + 3


@pytest.mark.parametrize("content", [b"", b"{", b'{"usd": -1}', b'{"calls": "many"}', b"\xff"])
def test_a_damaged_draft_is_not_paid_for_again_in_silence(
    serve: Serve, experiment: ExperimentFolder, content: bytes
) -> None:
    server = serve(drafting({"questions": [lambda good: "no"]}))
    with pytest.raises(TraitvecError):
        draft_trait(SENTENCE, "gpt-6.1-terra", experiment=experiment)
    (name,) = files(experiment)
    experiment.write(name, content)
    n_calls = server.log.total
    with pytest.raises(TraitvecError, match="cannot be read; delete it to start over"):
        draft_trait(SENTENCE, "gpt-6.1-terra", experiment=experiment)
    assert server.log.total == n_calls


def test_a_part_cannot_be_written_through_a_link(
    serve: Serve, experiment: ExperimentFolder, tmp_path: object
) -> None:
    serve()
    outside = experiment.path.parent.parent / "outside"
    outside.mkdir()
    (experiment.path / ".drafts").symlink_to(outside)
    with pytest.raises(TraitvecError, match="is a link to"):
        draft_trait(SENTENCE, "gpt-6.1-terra", experiment=experiment)
    assert list(outside.iterdir()) == []
