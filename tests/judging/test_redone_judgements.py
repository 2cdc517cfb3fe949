"""What is asked for again: unusable answers, by three runs; what a run redoes; what is pruned."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from traitvec_core.judging.judgement_store import JudgementStore, Origin
from traitvec_core.judging.reading import Judgement

JUDGE = '{"provider": "openai", "model": "gpt-5-mini"}'
SCORED = Judgement(85.5, "ok", "", 120, 3, 0.25)
FAILED = Judgement(None, "error", "busy (429)", 10, 1, 0.5, is_final=False)


def keep(store: JudgementStore, key: str, judgement: Judgement, judge: str = JUDGE) -> None:
    store.keep([(key, "trait", "kind_0", judgement)], judge, Origin("demo", "kind"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "experiments" / "judgements.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[JudgementStore]:
    with JudgementStore(path) as opened:
        yield opened


UNUSABLE = Judgement(None, "unparseable", "answered 'x'", 5, 2, 0.25, is_final=False)
REFUSED = Judgement(None, "refusal", "the judge answered REFUSAL", 5, 2, 0.25)


def test_unusable_answers_are_final_after_three_runs_and_cost_what_all_cost(path: Path) -> None:
    for run in range(3):
        with JudgementStore(path) as store:
            assert store.find("k") is None, run
            keep(store, "k", UNUSABLE)
            store.count_unusable(["k"])
    with JudgementStore(path) as store:
        assert store.find("k") == Judgement(None, "unparseable", "answered 'x'", 15, 6, 0.75)


def test_a_run_that_was_stopped_does_not_count(path: Path) -> None:
    for _ in range(9):
        with JudgementStore(path) as store:
            keep(store, "k", UNUSABLE)
    with JudgementStore(path) as store:
        assert store.find("k") is None


def test_a_score_after_unusable_answers_stays(store: JudgementStore) -> None:
    keep(store, "k", UNUSABLE)
    store.count_unusable(["k"])
    keep(store, "k", SCORED)
    for _ in range(3):
        store.count_unusable(["k"])
    found = store.find("k")
    assert found is not None
    assert (found.score, found.status) == (85.5, "ok")


def test_unusable_answers_that_an_older_version_kept_for_ever_are_asked_for_again(
    path: Path,
) -> None:
    local = '{"provider": "local", "model": "tiny"}'
    final = replace(UNUSABLE, is_final=True)
    with JudgementStore(path) as store:
        keep(store, "of an API", final)
        keep(store, "refused", REFUSED)
        # The same weights answer the same again.
        keep(store, "of this process", final, judge=local)
    with closing(sqlite3.connect(path)) as db:
        db.executescript("drop table unusable; pragma user_version = 0")
    with JudgementStore(path) as store:
        assert store.find("of an API") is None
        assert store.find("refused") == REFUSED
        assert store.find("of this process") == final
        keep(store, "of an API", SCORED)
    with JudgementStore(path) as store:
        assert store.find("of an API") is not None


@pytest.mark.parametrize(
    ("redo", "again"),
    [(None, set()), ("missing", {"unusable"}), ("all", {"unusable", "scored", "refused"})],
)
def test_what_is_redone_is_asked_for_once_more_and_replaced(
    path: Path, redo: Any, again: set[str]
) -> None:
    final = replace(UNUSABLE, is_final=True)
    before = {"unusable": final, "scored": SCORED, "refused": REFUSED}
    with JudgementStore(path) as store:
        for key, judgement in before.items():
            keep(store, key, judgement)
    new = Judgement(12.0, "ok", "", 1, 1, 1.0)
    with JudgementStore(path, redo=redo) as store:
        assert {key for key in before if store.find(key) is None} == again
        for key in again:
            keep(store, key, new)
            # From now on this run gets the new one.
            found = store.find(key)
            assert found is not None
            assert found.score == 12.0
        spent = store.spent_usd("demo")
    assert spent == 0.25 + 0.25 + 0.25 + len(again)
    with JudgementStore(path) as store:
        for key, old in before.items():
            found = store.find(key)
            assert found is not None
            assert found.score == (12.0 if key in again else old.score)


def test_what_could_not_be_redone_is_missing_and_has_its_runs_again(path: Path) -> None:
    with JudgementStore(path) as store:
        keep(store, "k", UNUSABLE)
        for _ in range(3):
            store.count_unusable(["k"])
        assert store.find("k") is not None
    with JudgementStore(path, redo="missing") as store:
        keep(store, "k", UNUSABLE)
        store.count_unusable(["k"])
        assert store.find("k") is None
    with JudgementStore(path) as store:
        assert store.find("k") is None


def test_redoing_what_is_missing_never_replaces_a_score(path: Path) -> None:
    with JudgementStore(path) as store, JudgementStore(path, redo="missing") as redoing:
        assert redoing.find("k") is None
        # Another run was first.
        keep(store, "k", SCORED)
        keep(redoing, "k", UNUSABLE)
        found = redoing.find("k")
        assert found is not None
        assert found.score == 85.5


def test_pruning_what_is_missing_keeps_scores_and_refusals(store: JudgementStore) -> None:
    keep(store, "unusable", replace(UNUSABLE, is_final=True))
    keep(store, "failed", FAILED)
    keep(store, "scored", SCORED)
    keep(store, "refused", REFUSED)
    assert store.prune(only_missing=True) == 2
    assert store.find("unusable") is None
    assert store.find("scored") == SCORED
    assert store.find("refused") == REFUSED
