"""What a trial names, what the run reuses of it, and who may not work on the trait meanwhile."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.projects import demo_definition
from tests.trial.traits import USUAL, sabotaged, small_trait
from traitvec_core import ExperimentFolder, TraitFolder, TraitvecError, Workbench, make, try_trait
from traitvec_core.judging.judgement_store import JudgementStore
from traitvec_core.storage.trait_lock import using_trait
from traitvec_core.trial import estimate_trial

pytestmark = pytest.mark.slow


def _settings(trait: TraitFolder, **overrides: Any) -> Any:
    root = trait.path.parent.parent
    return ExperimentFolder(root, trait.path.parent.name).settings(overrides)


class _Counted:
    """A workbench that counts responses as they are generated, and can be interrupted."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.bench = Workbench(progress=self._progress)
        self.first: int | None = None
        self._stop_after = stop_after

    def _progress(self, stage: str, done: int, total: int, *more: Any, **options: Any) -> None:
        if stage != "responses":
            return
        if self.first is None:
            self.first = done
        if self._stop_after is not None and done >= self._stop_after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("trait", ["uncertainty", "verbosity"])
def test_a_sabotaged_pair_and_question_are_named_and_no_other(
    tmp_path: Path, own_environment: None, trait: str
) -> None:
    folder = small_trait(tmp_path, trait, **USUAL)
    settings = _settings(folder)
    assert try_trait(folder, settings).elicit_nothing == []
    folder.definition_path.write_text(json.dumps(sabotaged(trait)))
    tried = try_trait(folder, settings)
    assert [item.place for item in tried.elicit_nothing] == ["instruction[3]", "questions[8]"]
    assert {item.proposal for item in tried.to_reword} == {"reword"}
    # Only the responses to the new texts: 5 of the pair and 5 of the question, under both poles.
    assert tried.generated <= 20
    pair = tried.pairs[3]
    assert pair.contrast.value is not None
    assert pair.contrast.value < 20 < tried.contrast.value  # type: ignore[operator]
    assert len(pair.examples) == 3
    assert {example.pole for example in pair.examples} == {"pos", "neg"}


def test_the_run_goes_on_from_the_trial(tmp_path: Path, own_environment: None) -> None:
    folder = small_trait(tmp_path, n_examples=40)
    settings = _settings(folder)
    tried = try_trait(folder, settings)
    assert (tried.generated, tried.reused_by_run, tried.planned) == (tried.n_responses, 80, 80)
    whole = _settings(folder, n_examples=60)
    counted = _Counted()
    make("responses", folder, whole, counted.bench)
    after = folder.read_responses("responses")
    assert counted.first == folder.metadata("responses")["resumed_from"] == tried.n_responses
    # The same as without a trial, in other words and tokens.
    fresh = small_trait(tmp_path / "fresh")
    make("responses", fresh, whole)
    assert after.equals(fresh.read_responses("responses"))
    assert folder.read_token_ids() == fresh.read_token_ids()
    # A second trial finds all of it in the run.
    again = try_trait(folder, whole)
    assert again.generated == 0
    assert again.n_responses > tried.n_responses


def test_an_interrupted_trial_loses_nothing(tmp_path: Path, own_environment: None) -> None:
    folder = small_trait(tmp_path, n_examples=40)
    settings = _settings(folder)
    with pytest.raises(KeyboardInterrupt):
        try_trait(folder, settings, _Counted(stop_after=1).bench)
    kept = _Counted()
    tried = try_trait(folder, settings, kept.bench)
    assert kept.first is not None
    assert kept.first > 0
    assert tried.generated == tried.n_responses - kept.first
    assert tried.contrast == try_trait(small_trait(tmp_path / "whole"), settings).contrast


def test_a_run_and_a_trial_do_not_meet(tmp_path: Path, own_environment: None) -> None:
    folder = small_trait(tmp_path)
    settings = _settings(folder)
    busy = "cannot be tried now: it is in use by run 1a2b"
    with using_trait(folder.path, "run 1a2b3c4d"), pytest.raises(TraitvecError, match=busy):
        try_trait(folder, settings)

    def meanwhile(*arguments: Any, **options: Any) -> None:
        make("responses", folder, settings)

    with pytest.raises(TraitvecError, match="cannot be used now: it is in use by a trial, process"):
        try_trait(folder, settings, Workbench(progress=meanwhile))


def test_openings_are_tried_as_instructions_are(tmp_path: Path, own_environment: None) -> None:
    folder = small_trait(tmp_path, "uncertainty", elicitation="scenarios", n_examples=20)
    definition = demo_definition("uncertainty")
    definition["scenarios"] = [
        {"pos": f"I am not sure, {k}. Perhaps", "neg": f"I am certain, {k}. Clearly"}
        for k in range(4)
    ]
    folder.definition_path.write_text(json.dumps(definition))
    tried = try_trait(folder, _settings(folder))
    assert [pair.place for pair in tried.pairs] == [f"scenarios[{k}]" for k in range(4)]
    make("responses", folder, _settings(folder))
    assert folder.metadata("responses")["resumed_from"] == tried.n_responses


def test_an_estimate_knows_what_is_there(tmp_path: Path, own_environment: None) -> None:
    folder = small_trait(tmp_path, n_examples=40, judge_model="gpt-5-mini")
    settings = _settings(folder)
    before = estimate_trial(folder, settings, JudgementStore())
    assert before.n_new == before.n_responses
    assert before.judgements == 2 * before.n_responses
    assert before.usd
    make("responses", folder, settings)
    after = estimate_trial(folder, settings, JudgementStore())
    assert (after.n_responses, after.n_new) == (before.n_responses, 0)
    assert after.usd is not None
    assert after.usd <= before.usd


def test_a_definition_without_such_pairs_is_one_line(tmp_path: Path, own_environment: None) -> None:
    folder = small_trait(tmp_path, elicitation="scenarios")
    with pytest.raises(TraitvecError, match="has no 'scenarios'"):
        try_trait(folder, _settings(folder))
