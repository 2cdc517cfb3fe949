"""Stages whose inputs changed run again: the conditions, and the sensor that is the switch."""

import dagster as dg

from traitvec_core.stage_names import STAGES
from traitvec_dagster.automation.settings import usable_settings
from traitvec_dagster.graph.names import Graph

__all__ = ["build_condition_sensor", "follow_data_versions"]


def follow_data_versions(graph: Graph, asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """Add the automation condition to a stage.

    Returns the definition unchanged, which has no inputs.
    """
    if asset.key == graph.key("definition"):
        return asset
    condition = dg.AutomationCondition
    # Edited settings and files make stages stale; only the content of earlier stages starts runs.
    inputs = dg.AssetSelection.assets(*(graph.inputs_key(stage) for stage in STAGES))
    # `eager()` would fire at every materialization, even when the content is the same.
    changed = (
        condition.any_deps_match(condition.data_version_changed()).ignore(inputs)
        | condition.code_version_changed()
    )
    run_when = (
        changed.since(condition.newly_requested() | condition.newly_updated())
        & ~condition.any_deps_missing().ignore(inputs)
        & condition.all_deps_blocking_checks_passed()
        & ~condition.in_progress()
    ).with_label("the content of its inputs has changed")
    return asset.map_asset_specs(
        lambda spec: spec.replace_attributes(automation_condition=run_when)
    )


def build_condition_sensor(graph: Graph) -> dg.SensorDefinition:
    """Build the sensor that evaluates the conditions. It is always there, to be switched on.

    `follow_data_versions` in experiment.yaml sets whether it is on until somebody uses the switch.
    Changes take effect after "Reload definitions".
    """
    settings = usable_settings(graph)
    is_on = settings is not None and settings.follow_data_versions
    return dg.AutomationConditionSensorDefinition(
        f"{graph.python_name}_data_versions",
        target=dg.AssetSelection.assets(*(graph.key(stage) for stage in STAGES)),
        default_status=dg.DefaultSensorStatus.RUNNING if is_on else dg.DefaultSensorStatus.STOPPED,
        description="Runs a stage when the content of its inputs has changed. The switch decides"
        " whether it does; `follow_data_versions` in experiment.yaml, whether it is on at first.",
    )
