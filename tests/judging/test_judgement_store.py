"""What was paid for stays: over processes, over kills, over what others write at the time."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traitvec_core.errors import TraitvecError
from traitvec_core.judging import judgement_database
from traitvec_core.judging.judgement_store import Batch, JudgementStore, Origin, judgement_key
from traitvec_core.judging.reading import Judgement, Status

JUDGE = '{"provider": "openai", "model": "gpt-5-mini"}'
OTHER = '{"provider": "local", "model": "tiny"}'
ORIGIN = Origin("demo", "kind")


def keep(
    store: JudgementStore,
    key: str,
    judgement: Judgement,
    judge: str = JUDGE,
    origin: Origin = ORIGIN,
) -> None:
    store.keep([(key, "trait", "kind_0", judgement)], judge, origin)


def rows(path: Path, sql: str = "select * from judgements") -> list[sqlite3.Row]:
    """As any other program would read it."""
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        return db.execute(sql).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "experiments" / "judgements.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[JudgementStore]:
    with JudgementStore(path) as opened:
        yield opened


# -- judgements -----------------------------------------------------------------------------------

SCORED = Judgement(85.5, "ok", "", 120, 3, 0.25)
FAILED = Judgement(None, "error", "busy (429)", 10, 1, 0.5, is_final=False)


@pytest.mark.parametrize(
    "judgement",
    [
        SCORED,
        Judgement(0.0, "ok"),
        Judgement(None, "refusal", "the judge answered REFUSAL", 5, 2, None),
        Judgement(None, "unparseable", "answered 'x'", 5, 2, 1e-7),
    ],
)
def test_a_judgement_survives_being_closed(path: Path, judgement: Judgement) -> None:
    with JudgementStore(path) as store:
        assert store.find("k") is None
        keep(store, "k", judgement)
        assert store.find("k") == judgement
    with JudgementStore(path) as store:
        assert store.find("k") == judgement


def test_without_a_file_it_is_forgotten() -> None:
    with JudgementStore() as store:
        keep(store, "k", SCORED)
        assert store.find("k") == SCORED
    with JudgementStore() as store:
        assert store.find("k") is None


def test_what_is_not_final_is_asked_again_and_what_it_cost_stays(store: JudgementStore) -> None:
    keep(store, "k", FAILED)
    assert store.find("k") is None
    keep(store, "k", replace(FAILED, reason="no answer in time"))
    assert store.find("k") is None
    assert store.spent_usd("demo") == 1.0
    keep(store, "k", SCORED)
    assert store.find("k") == Judgement(85.5, "ok", "", 140, 5, 1.25)


def test_what_is_final_stays_and_both_who_asked_have_paid(store: JudgementStore) -> None:
    keep(store, "k", SCORED)
    keep(store, "k", Judgement(10.0, "ok", "", 120, 3, 0.25), origin=Origin("late", "kind"))
    keep(store, "k", FAILED)
    assert store.find("k") == Judgement(85.5, "ok", "", 250, 7, 1.0)
    assert len(rows(store._path or Path(), "select * from judgements where is_final")) == 1


OUTCOMES: list[tuple[float | None, Status]] = [(None, "error"), (0.0, "ok"), (70.0, "ok")]


@settings(max_examples=50)
@given(
    st.lists(
        st.builds(
            lambda outcome, tokens, usd, final: Judgement(*outcome, "", tokens, tokens, usd, final),
            st.sampled_from(OUTCOMES),
            st.integers(0, 1000),
            st.none() | st.integers(0, 64).map(lambda n: n / 64),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_the_first_final_judgement_counts_and_all_are_paid(attempts: list[Judgement]) -> None:
    with JudgementStore() as store:
        for judgement in attempts:
            keep(store, "k", judgement)
        final = next((j for j in attempts if j.is_final), None)
        found = store.find("k")
        costs = [j.usd for j in attempts]
        known = None if None in costs else sum(c for c in costs if c is not None)
        if final is None:
            assert found is None
        else:
            assert found == Judgement(
                final.score, final.status, "",
                sum(j.tokens_in for j in attempts), sum(j.tokens_out for j in attempts), known,
            )  # fmt: skip
        (line,) = store.summary()
        assert line["usd"] == known
        assert store.spent_usd("demo") == (known or 0.0)


def test_the_key_holds_all_that_determines_a_judgement() -> None:
    keys = [
        judgement_key(judge, prompt, repeat)
        for judge in (JUDGE, OTHER)
        for prompt in ("a", "b", "", "a\n", "a lone \ud83d", "a lone \udc4d", "a lone ?")
        for repeat in (0, 1)
    ]
    assert len(set(keys)) == len(keys)
    assert judgement_key(JUDGE, "a") == judgement_key(JUDGE, "a", 0) == keys[0]


# -- money ----------------------------------------------------------------------------------------


def test_an_unknown_price_is_not_free(store: JudgementStore) -> None:
    keep(store, "a", SCORED)
    keep(store, "b", replace(SCORED, usd=None))
    keep(store, "c", replace(SCORED, usd=None), origin=Origin("demo", "cold"))
    keep(store, "d", replace(SCORED, usd=2.0), origin=Origin("other", "kind"))
    by_trait = {(line["experiment"], line["trait"]): line for line in store.summary()}
    assert by_trait["demo", "kind"]["usd"] is None
    assert by_trait["demo", "cold"]["usd"] is None
    assert by_trait["other", "kind"]["usd"] == 2.0
    # The budget counts what is known; a budget with an unknown price is refused beforehand.
    assert store.spent_usd("demo") == 0.25
    assert store.spent_usd("nobody") == 0.0


def test_the_summary(store: JudgementStore) -> None:
    assert store.summary() == []
    keep(store, "a", SCORED)
    keep(store, "b", FAILED)
    keep(store, "c", SCORED, judge=OTHER)
    lines = store.summary()
    assert [(line["model"], line["judgements"], line["scored"]) for line in lines] == [
        ("gpt-5-mini", 2, 1), ("tiny", 1, 1),
    ]  # fmt: skip
    assert (lines[0]["tokens_in"], lines[0]["tokens_out"], lines[0]["usd"]) == (130, 4, 0.75)
    assert lines[0]["first"] <= lines[0]["last"]


def test_tokens_of_an_answer_are_learned_from_answers(store: JudgementStore) -> None:
    assert store.tokens_per_judgement("gpt-5-mini") is None
    keep(store, "a", replace(SCORED, tokens_out=100))
    keep(store, "b", replace(SCORED, tokens_out=300))
    keep(store, "c", replace(FAILED, tokens_out=9000))
    keep(store, "d", replace(SCORED, tokens_out=7), judge=OTHER)
    assert store.tokens_per_judgement("gpt-5-mini") == (200.0, 2)


# -- pruning --------------------------------------------------------------------------------------


@pytest.fixture
def aged(path: Path) -> Iterator[JudgementStore]:
    """Judgements of two models and two experiments, half of them 90 days old."""
    with JudgementStore(path) as store:
        for judge in (JUDGE, OTHER):
            for experiment in ("demo", "other"):
                for age in ("old", "new"):
                    key = f"{experiment} {age} {judge}"
                    keep(store, key, SCORED, judge, Origin(experiment, "kind"))
        store._db.execute(
            "update judgements set created_at ="
            " strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now', '-90 days') where key like '% old %'"
        )
        yield store


@pytest.mark.parametrize(
    ("what", "deleted"),
    [
        ({"older_than_days": 30}, 4),
        ({"older_than_days": 90.1}, 0),
        ({"older_than_days": 89.9}, 4),
        ({"older_than_days": 1e12}, 0),
        ({"model": "gpt-5-mini"}, 4),
        ({"model": "gpt-5"}, 0),
        ({"experiment": "demo"}, 4),
        ({"experiment": "demo", "model": "tiny"}, 2),
        ({"experiment": "demo", "model": "tiny", "older_than_days": 30}, 1),
        ({"experiment": "'; drop table judgements; --"}, 0),
    ],
)
def test_pruning_deletes_what_matches_everything(
    aged: JudgementStore, path: Path, what: dict[str, float | str], deleted: int
) -> None:
    before = {row["key"] for row in rows(path)}
    assert aged.prune(**what) == deleted  # type: ignore[arg-type]
    after = {row["key"] for row in rows(path)}
    assert after <= before
    assert len(after) == 8 - deleted
    if "older_than_days" in what:
        assert all(" old " in key for key in before - after)
    if "model" in what:
        assert all(str(what["model"]) in key for key in before - after)
    if "experiment" in what:
        assert all(key.startswith(str(what["experiment"])) for key in before - after)


# -- what a model can do, and batches -------------------------------------------------------------


def test_what_was_learned_is_remembered_by_server_and_model(path: Path) -> None:
    with JudgementStore(path) as store:
        assert store.learned("", "m") is None
        store.learn("", "m", {"logprobs": True})
        store.learn("http://a", "m", {"logprobs": False})
        store.learn("", "m", {"logprobs": False, "effort": True})
    with JudgementStore(path) as store:
        assert store.learned("", "m") == {"logprobs": False, "effort": True}
        assert store.learned("http://a", "m") == {"logprobs": False}
        assert store.learned("http://b", "m") is None
        store.prune(model="m")
        assert store.learned("http://a", "m") is None


def test_a_batch_is_on_disk_until_it_is_closed(path: Path) -> None:
    with JudgementStore(path) as store:
        store.open_batch("one", JUDGE, ["a", "b"])
        store.open_batch("two", OTHER, ["c"])
    with JudgementStore(path) as store:
        assert store.open_batches(JUDGE) == [Batch("one", None, frozenset("ab"))]
        store.name_batch("one", "batch_123")
    with JudgementStore(path) as store:
        assert store.open_batches(JUDGE) == [Batch("one", "batch_123", frozenset("ab"))]
        store.close_batch("one")
        store.close_batch("never was")
        assert store.open_batches(JUDGE) == []
        assert store.open_batches(OTHER) == [Batch("two", None, frozenset("c"))]


# -- several processes ----------------------------------------------------------------------------

_WRITER = """
import os, sys, time
from pathlib import Path
from traitvec_core.judging.judgement_store import JudgementStore, Origin
from traitvec_core.judging.reading import Judgement
path, start, name = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
"""


def _run(code: str, path: Path, names: list[str], start: float = 0.0) -> list[tuple[int, str]]:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER + code, str(path), str(start), name],
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    return [(process.wait(120), (process.communicate()[1])) for process in processes]


def test_processes_that_write_the_same_at_once_lose_nothing(path: Path) -> None:
    """They open the file, which none of them finds there, at the same moment too."""
    path.parent.mkdir()
    code = """
for number in range(8):
    while time.time() < start + number * 0.1:
        pass
    with JudgementStore(path.with_name(f"{number}.sqlite")) as store:
        for i in range(25):
            row = (f"k{i}", "trait", "q", Judgement(float(i), "ok", "", 1, 2, 0.5))
            own = (f"{name} {i}", "trait", "q", Judgement(float(i), "ok", "", 1, 2, 0.5))
            store.keep([row, own], '{"model": "m"}', Origin(name, "t"))
            assert store.find(f"k{i}").score == i
"""
    names = ["first", "second", "third"]
    assert _run(code, path, names, time.time() + 1.5) == [(0, "")] * 3
    for number in range(8):
        file = path.with_name(f"{number}.sqlite")
        found = {row["key"]: row for row in rows(file)}
        assert found.keys() == {f"{who} {i}" for who in names for i in range(25)} | {
            f"k{i}" for i in range(25)
        }
        assert all(row["usd"] == (1.5 if key[0] == "k" else 0.5) for key, row in found.items())
        assert rows(file, "pragma integrity_check")[0][0] == "ok"


class _BusyAtFirst(sqlite3.Connection):
    """As SQLite is to one of two that make the file at once: it says so without waiting."""

    n_refused = 0

    def execute(self, *args: Any) -> sqlite3.Cursor:
        if _BusyAtFirst.n_refused < 3:
            _BusyAtFirst.n_refused += 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return super().execute(*args)


def test_a_store_that_another_run_is_making_is_opened_a_moment_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=_BusyAtFirst))
    monkeypatch.setattr(_BusyAtFirst, "n_refused", 0)
    with JudgementStore(path) as store:
        assert _BusyAtFirst.n_refused == 3
        keep(store, "k", SCORED)
        assert store.find("k") == SCORED
    monkeypatch.setattr(_BusyAtFirst, "n_refused", -(10**9))
    monkeypatch.setattr(judgement_database, "LOCKED_TIMEOUT_S", 0.05)
    assert "another program locks it" in _said(path)


def test_what_a_killed_process_has_written_is_there(path: Path) -> None:
    code = """
store = JudgementStore(path)
for i in range(1000):
    store.keep([(f"{i}", "trait", "q", Judgement(1.0, "ok"))], '{"model": "m"}', Origin("e", "t"))
    print(i, file=sys.stderr, flush=True)
    if i == 57:
        store._db.execute("begin immediate")
        store._db.execute("delete from judgements")
        os._exit(9)
"""
    ((status, said),) = _run(code, path, ["it"])
    assert status == 9
    # The death left the journal, and in it what was never finished.
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0
    with JudgementStore(path) as store:
        assert [store.find(key) is not None for key in said.split()] == [True] * 58
        assert store.find("58") is None
        keep(store, "58", SCORED)
    assert len(rows(path)) == 59
    assert not path.with_name(f"{path.name}-wal").exists()


def test_the_file_and_its_journal_can_be_copied_while_it_is_open(
    store: JudgementStore, path: Path, tmp_path: Path
) -> None:
    keep(store, "k", SCORED)
    copy = tmp_path / "copy"
    shutil.copytree(path.parent, copy)
    with JudgementStore(copy / path.name) as copied:
        assert copied.find("k") == SCORED


def test_any_sqlite_reads_it_while_it_is_open(store: JudgementStore, path: Path) -> None:
    keep(store, judgement_key(JUDGE, "p"), SCORED)
    (row,) = rows(path)
    assert dict(row) | {"created_at": ""} == {
        "key": judgement_key(JUDGE, "p"), "experiment": "demo", "trait": "kind",
        "rubric": "trait", "question_id": "kind_0", "judge": JUDGE, "score": 85.5, "status": "ok",
        "reason": "", "tokens_in": 120, "tokens_out": 3, "usd": 0.25, "is_final": 1,
        "created_at": "",
    }  # fmt: skip
    assert rows(path, "pragma journal_mode")[0][0] == "wal"


# -- what goes wrong ------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.text(st.characters(), max_size=50))
def test_any_text_is_kept_as_a_reason(reason: str) -> None:
    key = judgement_key(JUDGE, reason)
    with JudgementStore() as store:
        keep(store, key, Judgement(None, "unparseable", reason))
        found = store.find(key)
    assert found is not None
    assert found.reason == reason.encode("utf-8", "replace").decode()


def test_rows_that_cannot_be_written_leave_the_store_usable(store: JudgementStore) -> None:
    with pytest.raises(UnicodeEncodeError):
        store.keep([("a", "trait", "a lone \ud83d", SCORED)], JUDGE, ORIGIN)
    with pytest.raises(TraitvecError):
        keep(store, "b", replace(SCORED, status=None))  # type: ignore[arg-type]
    keep(store, "c", SCORED)
    assert store.find("a") is store.find("b") is None
    assert store.find("c") == SCORED


def _said(path: Path) -> str:
    def use() -> None:
        with JudgementStore(path) as store:
            store.find("k")
            keep(store, "k", SCORED)

    with pytest.raises(TraitvecError) as caught:
        use()
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    assert said.startswith(f"{path}: cannot be used as the judgement store")
    return said


def test_a_file_that_is_no_store_is_told_in_a_line(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("no database\n" * 500)
    assert "not a database" in _said(text)
    assert text.read_text() == "no database\n" * 500

    folder = tmp_path / "folder.sqlite"
    folder.mkdir()
    _said(folder)

    _said(text / "below_a_file.sqlite")

    foreign = tmp_path / "foreign.sqlite"
    with closing(sqlite3.connect(foreign)) as db:
        db.execute("create table judgements (anything)")
    _said(foreign)


def test_a_damaged_store_is_told_in_a_line(path: Path) -> None:
    with JudgementStore(path) as store:
        for i in range(500):
            keep(store, f"{i}", SCORED)
    data = bytearray(path.read_bytes())
    data[4096 * 2 :] = b"\xff" * (len(data) - 4096 * 2)
    path.write_bytes(data)
    assert "malformed" in _said(path)


def test_a_full_disk_is_told_in_a_line(path: Path) -> None:
    with JudgementStore(path) as store:
        keep(store, "k", SCORED)
        pages = store._db.execute("pragma page_count").fetchone()[0]
        store._db.execute(f"pragma max_page_count = {pages}")
        with pytest.raises(TraitvecError, match=r"full.*check the disk"):
            keep(store, "l", Judgement(None, "error", "x" * 100_000))
        assert store.find("k") == SCORED


def test_a_store_that_another_program_holds_is_told_in_a_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judgement_database, "LOCKED_TIMEOUT_S", 0.1)
    with JudgementStore(path) as store, closing(sqlite3.connect(path)) as other:
        keep(store, "k", SCORED)
        other.execute("begin immediate")
        with pytest.raises(TraitvecError, match="another program locks it"):
            keep(store, "l", SCORED)
        assert store.find("k") == SCORED
        other.rollback()
        keep(store, "l", SCORED)


@pytest.fixture
def nobodys_folder() -> Iterator[Path]:
    """A folder that nobody may write to; root may do so everywhere, so it becomes somebody else."""
    folder = Path(tempfile.mkdtemp())
    is_root = os.geteuid() == 0
    try:
        with JudgementStore(folder / "old.sqlite") as store:
            keep(store, "k", SCORED)
        folder.chmod(0o555)
        if is_root:
            os.seteuid(65534)
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_that_cannot_be_written_to_is_told_in_a_line(nobodys_folder: Path) -> None:
    assert "permission" in _said(nobodys_folder / "new.sqlite")
    assert "permission" in _said(nobodys_folder / "old.sqlite")
    assert "permission" in _said(nobodys_folder / "below" / "new.sqlite")
