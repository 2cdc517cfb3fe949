"""The check before an experiment's file may run code or send a key."""

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.trust.grants import Grant, grants_of
from traitvec_core.trust.record import is_allowed

__all__ = ["check_trust", "untrusted_grants"]


def check_trust(folder: ExperimentFolder, settings: ExperimentSettings) -> None:
    """Check that the owner has allowed what an experiment's file makes this machine do.

    Raises:
        TraitvecError: If not; names the first such setting, what it does, and the command.
    """
    if grants := untrusted_grants(folder, settings):
        first, *others = grants
        more = f" (and {len(others)} more)" if others else ""
        raise TraitvecError(
            f"{display_path(folder.settings_path)}: {first.setting} {first.allows}{more}, not"
            f" allowed here yet; read the file, then `traitvec trust {folder.name}`"
        )


def untrusted_grants(folder: ExperimentFolder, settings: ExperimentSettings) -> list[Grant]:
    """Return what an experiment's file would do that nobody has allowed.

    What the caller gave, on the command line or in code, is allowed by that.
    """
    return [
        grant
        for grant in grants_of(folder, settings)
        if settings.is_from_file(grant.setting) and not is_allowed(folder, grant)
    ]
