"""Opens the SQLite file of judgements: its tables, upgrades of older files, and locks."""

import sqlite3
import time
from pathlib import Path

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.tree import check_in_place

__all__ = ["open_database", "unusable"]

_SQLITE_FILES = ("", "-wal", "-shm", "-journal")
# Wait for another run's write, which takes milliseconds.
LOCKED_TIMEOUT_S = 60.0
_OPEN_AGAIN_S = 0.02
_SCHEMA = """
create table if not exists judgements (
    key text primary key,
    experiment text not null, trait text not null, rubric text not null,
    question_id text not null, judge text not null,
    score real, status text not null, reason text not null,
    tokens_in integer not null, tokens_out integer not null, usd real,
    is_final integer not null, created_at text not null
) without rowid;
create index if not exists by_experiment on judgements (experiment, trait);
create table if not exists unusable (
    key text primary key, n_runs integer not null
) without rowid;
create table if not exists learned (
    server text not null, model text not null, capabilities text not null, created_at text not null,
    primary key (server, model)
) without rowid;
create table if not exists batches (
    intent text primary key,
    id text, judge text not null, keys text not null, created_at text not null
) without rowid;
"""
# Version 0 kept unusable answers of judges behind an API for ever.
_UPGRADES = """
update judgements set is_final = 0
    where status = 'unparseable' and json_extract(judge, '$.provider') in ('openai', 'anthropic');
pragma user_version = 1;
"""


def open_database(path: Path | None) -> sqlite3.Connection:
    """Open the file, with its tables; None keeps everything in memory.

    Raises:
        TraitvecError: If the file cannot be opened, is a link, or is not a store.
    """
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            # SQLite writes in place, into files beside it too.
            for suffix in _SQLITE_FILES:
                check_in_place(path.with_name(f"{path.name}{suffix}"))
        return _opened(path)
    except (sqlite3.Error, OSError) as error:
        raise unusable(path, error) from None


def unusable(path: Path | None, error: Exception) -> TraitvecError:
    """Return the line for a file that SQLite or the disk refuses."""
    return TraitvecError(
        f"{path}: cannot be used as the judgement store ({error}); "
        + (
            "another program locks it: close that program, then run again"
            if _is_locked(error)
            else "check the disk and the folder's permissions, or move the file away (its"
            " judgements are then requested again)"
        )
    )


def _opened(path: Path | None) -> sqlite3.Connection:
    until = time.monotonic() + LOCKED_TIMEOUT_S
    while True:
        # Autocommit: each write is its own transaction, which survives the death of the process;
        # a power cut may lose the last few.
        db = sqlite3.connect(
            path or ":memory:",
            timeout=LOCKED_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = normal")
            db.executescript(_SCHEMA)
            if db.execute("pragma user_version").fetchone()[0] < 1:
                db.executescript(_UPGRADES)
        except sqlite3.Error as error:
            db.close()
            # When two processes create the file at once, SQLite fails in one without waiting.
            if not _is_locked(error) or time.monotonic() > until:
                raise
            time.sleep(_OPEN_AGAIN_S)
        else:
            return db


def _is_locked(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }
