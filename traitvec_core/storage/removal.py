"""Removes a trait from this machine and from the storage, unless somebody works in it."""

import secrets
import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from traitvec_core.storage.files import DEFINITION_FILE
from traitvec_core.storage.trait_folder import TraitFolder
from traitvec_core.storage.trait_lock import changing_trait, is_locked_ever

__all__ = ["check_unused", "remove_trait"]

_ASIDE = ".removed-"


def check_unused(trait: Path) -> None:
    """Raise if a process works in a trait's folder.

    Args:
        trait: The trait's folder.

    Raises:
        TraitvecError: If a process works there. The line names it.
    """
    if is_locked_ever(trait):
        with _alone_in(trait):
            pass


def remove_trait(folder: TraitFolder) -> None:
    """Remove a trait from the storage, then from this machine.

    A trait that is a link is removed from the experiment; what the link leads to is kept.

    Args:
        folder: The trait.

    Raises:
        TraitvecError: If a process works in the trait, or the storage cannot be reached.
        OSError: If the folder cannot be removed.
    """
    path = folder.path
    if not (path.is_symlink() or path.is_dir()):
        folder.remove_from_storage()
        return
    with _alone_in(path):
        folder.remove_from_storage()
        if path.is_symlink():
            path.unlink()
            return
        # Under another name at once: nobody can begin to work in a folder that is half removed.
        aside = path.with_name(f"{_ASIDE}{path.name}-{secrets.token_hex(4)}")
        path.rename(aside)
        (aside / DEFINITION_FILE).unlink(missing_ok=True)
    for leftover in path.parent.glob(f"{_ASIDE}{path.name}-*"):
        # Its own, and those of removals that were killed; never through a link.
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)


def _alone_in(path: Path) -> AbstractContextManager[None]:
    if path.is_symlink():
        # Only the link goes, and nothing is written through it, not even a lock.
        return nullcontext()
    return changing_trait(path, "its removal", "cannot be removed now")
