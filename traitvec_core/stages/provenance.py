"""What determines a stage's result: its inputs, its settings, its version, and the key over them.

A stage is fresh when its recorded key is the one that its inputs and settings give today and its
files are the ones recorded. That a file exists never counts.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages import SPECS
from traitvec_core.storage.folders import TraitFolder, refresh
from traitvec_core.storage.provenance import content_hash

__all__ = [
    "current_key",
    "refresh_elsewhere",
    "result_settings",
    "stage_inputs",
    "stage_key",
    "stage_settings",
    "upstream_of",
]


def refresh_elsewhere(
    stages: Iterable[Stage], folder: TraitFolder, settings: ExperimentSettings
) -> None:
    """Sync what stages read besides the trait's own folder with the storage. No-op without one.

    Raises:
        TraitvecError: If the storage refuses, or stays unreachable.
    """
    named = [below for stage in stages for below in SPECS[stage].elsewhere(folder, settings)]
    for below in dict.fromkeys(named):
        refresh(folder.path.parent.parent, below=below)


def stage_inputs(stage: Stage, folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    """Return content hashes of everything that a stage is made from.

    Raises:
        TraitvecError: If the definition cannot be used, or an earlier stage has not been made.
    """
    return dict(SPECS[stage].inputs(folder, settings))


def stage_settings(stage: Stage, settings: ExperimentSettings) -> dict[str, Any]:
    """Return the settings that a stage's result depends on, ready for JSON."""
    return SPECS[stage].settings_of(settings)


def stage_key(stage: Stage, inputs: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    """Return the hash of everything that determines a stage's result."""
    determinants = {
        "stage": stage,
        "version": SPECS[stage].version,
        "inputs": dict(inputs),
        "settings": dict(settings),
    }
    return content_hash(json.dumps(determinants, sort_keys=True))


def current_key(stage: Stage, folder: TraitFolder, settings: ExperimentSettings) -> str:
    """Return the key that a stage would have if it were made now.

    Raises:
        TraitvecError: If the definition cannot be used, or an earlier stage has not been made.
    """
    return stage_key(stage, stage_inputs(stage, folder, settings), stage_settings(stage, settings))


def upstream_of(stage: Stage) -> list[Stage]:
    """Return all stages that a stage is made from, direct and transitive, in order."""
    upstream: set[Stage] = set()
    pending = list(SPECS[stage].upstream)
    while pending:
        earlier = pending.pop()
        upstream.add(earlier)
        pending += SPECS[earlier].upstream
    return [earlier for earlier in STAGES if earlier in upstream]


def result_settings() -> set[str]:
    """Return the names of all settings that some stage's result depends on."""
    return {name.partition(".")[0] for spec in SPECS.values() for name in spec.settings}
