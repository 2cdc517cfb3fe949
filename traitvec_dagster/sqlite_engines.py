"""One SQLAlchemy engine per SQLite database of Dagster's, instead of one per query.

A run makes some 700 short connections. Dagster creates an engine for each, which compiles every
statement anew, and SQLite waits for the disk after each commit.
"""

from functools import lru_cache
from typing import Any

import sqlalchemy
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from sqlalchemy.pool import NullPool

__all__ = ["share_engines"]

_NAME = "create_engine"
# Databases: those of the instance, and one per run, of which few are in use at once.
_N_ENGINES = 16


def share_engines() -> None:
    """Make Dagster's SQLite storages of this process use one engine per database."""
    for module in (sqlite_event_log, sqlite_run_storage):
        setattr(module, _NAME, _create_engine)


def _create_engine(url: str, *, poolclass: type[NullPool], **options: Any) -> sqlalchemy.Engine:
    return _engine(url, options.get("connect_args", {}).get("timeout"))


@lru_cache(_N_ENGINES)
def _engine(url: str, timeout_s: float | None) -> sqlalchemy.Engine:
    arguments = {} if timeout_s is None else {"timeout": timeout_s}
    # Without a pool, so that nothing stays open: neither a fork nor another thread shares it.
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args=arguments)
    sqlalchemy.event.listen(engine, "connect", _wait_less)
    return engine


def _wait_less(connection: Any, _: object) -> None:
    # In WAL mode, which Dagster sets, a power cut then loses the last events but breaks nothing.
    connection.execute("PRAGMA synchronous=NORMAL")
