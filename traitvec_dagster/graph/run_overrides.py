"""What one run does differently, from its config: the resource `overrides`."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import STAGES
from traitvec_core.stages import SPECS
from traitvec_core.stages.redo import Redo, parse_redo
from traitvec_dagster.graph.config_schema import read_settings, settings_schema
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.graph.owner_overrides import settings_with_overrides
from traitvec_dagster.runs.trait_use import release_trait

__all__ = ["InvalidOverridesError", "SettingsOverrides", "build_overrides", "overrides_tags"]

# `traitvec run` may set what no run config can, so its overrides are not in the config.
# "Re-execute" copies tags, so the UI repeats such a run with them, or refuses what it may not set.
_TAG = "traitvec/overrides"


class InvalidOverridesError(dg.DagsterError):
    """A run's config with a value out of range; the run is not launched."""


@dataclass(frozen=True)
class SettingsOverrides:
    """What one run does differently: settings other than those of `experiment.yaml`, and redoing.

    In the launchpad: `resources: {overrides: {config: {settings: {n_examples: 10}}}}`, or
    `resources: {overrides: {config: {redo: [judged_responses]}}}`.

    Attributes:
        settings: Names, dotted for those in groups, and values as in `experiment.yaml`.
        redo: Stages to make again although they are fresh.
        only_missing: Whether `judged_responses` asks again only for what is missing.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    redo: tuple[str, ...] = ()
    only_missing: bool = False

    def settings_of(self, graph: Graph) -> ExperimentSettings:
        """Return the experiment's settings with this run's overrides applied.

        Raises:
            TraitvecError: If an override is not valid, or would run code; see `owner_overrides`.
        """
        return settings_with_overrides(graph.folder, dict(self.settings))

    @property
    def redone(self) -> Redo:
        """What this run makes again although it is fresh."""
        return parse_redo(self.redo, only_missing=self.only_missing)


def overrides_tags(overrides: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags that record what `traitvec run` overrides."""
    return {_TAG: json.dumps(dict(overrides), default=str)} if overrides else {}


@cache
def build_overrides() -> dg.ResourceDefinition:
    """Build the resource, whose config the launchpad checks before it starts a run.

    Returns the same object each time, or definitions that use it could not be merged.
    """

    @dg.resource(config_schema={"settings": dict, "redo": [str], "only_missing": bool})
    def read_config(context: dg.InitResourceContext) -> Iterator[SettingsOverrides]:
        config = context.resource_config
        recorded = _recorded(context.run.tags if context.run is not None else {})
        settings = {**recorded, **config["settings"]}
        try:
            yield SettingsOverrides(settings, tuple(config["redo"]), config["only_missing"])
        finally:
            # This process has executed its last step of the run.
            release_trait()

    @dg.configured(read_config, config_schema=_schema())
    def overrides(config: Mapping[str, Any]) -> dict[str, Any]:
        try:
            settings = read_settings(config.get("settings", {}))
            parse_redo(config["redo"], only_missing=config["only_missing"])
        except (ValueError, TraitvecError) as error:
            raise InvalidOverridesError(str(error)) from None
        return {**config, "settings": settings}

    built: dg.ResourceDefinition = overrides
    return built


def _schema() -> dict[str, dg.Field]:
    can_be_made = [stage for stage in STAGES if SPECS[stage].make is not None]
    return {
        "settings": dg.Field(
            settings_schema(),
            is_required=False,
            description="Settings for this run only, by their names in experiment.yaml. What is not"
            " named is as in experiment.yaml.",
        ),
        "redo": dg.Field(
            [dg.Enum("StageToMake", [dg.EnumValue(stage) for stage in can_be_made])],
            default_value=[],
            description="Stages to make again although they are fresh. What depends on them follows"
            " if their content has changed. `judged_responses` asks, and pays, for all judgements"
            " again; the others use the stored ones. `responses` draws with the same seed: for"
            " others, change `sampling.seed`. The earlier result stays until the new one is"
            " complete.",
        ),
        "only_missing": dg.Field(
            bool,
            default_value=False,
            description="With `redo: [judged_responses]`: ask again only for the judgements without"
            " a usable answer.",
        ),
    }


def _recorded(tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the overrides of a run of `traitvec run`; an edited tag counts as a config."""
    try:
        recorded = json.loads(tags.get(_TAG, "{}"))
    except ValueError:
        recorded = None
    if not isinstance(recorded, dict):
        raise dg.Failure(f"the tag {_TAG} is not a JSON object; launch the run without it")
    return recorded
