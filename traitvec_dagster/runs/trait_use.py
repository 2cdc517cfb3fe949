"""Keeps the trait of a run from being removed while this process executes the run's steps.

The lock is on the trait's folder, so it also counts for processes with another `DAGSTER_HOME`.
"""

import os
from contextlib import ExitStack
from pathlib import Path

from traitvec_core.storage.trait_lock import using_trait

__all__ = ["release_trait", "use_trait"]


class _Held:
    """The trait that this process uses, and the lock on it."""

    trait: Path | None = None
    lock: ExitStack = ExitStack()


def use_trait(trait: Path, run_id: str) -> None:
    """Hold a trait until `release_trait`, or until this process ends or uses another trait.

    Args:
        trait: The trait's folder.
        run_id: The run.

    Raises:
        TraitvecError: If another process removes or replaces the trait, or it does not exist.
    """
    if _Held.trait == trait:
        return
    release_trait()
    _Held.lock.enter_context(using_trait(trait, f"run {run_id[:8]}"))
    _Held.trait = trait


def release_trait() -> None:
    """Release the trait that this process uses; no-op without one."""
    _Held.trait = None
    _Held.lock.close()


# A forked child shares the lock, and would keep it when this process is killed.
os.register_at_fork(after_in_child=release_trait)
