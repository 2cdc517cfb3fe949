"""What is checked once at the start of a run: that the judges it will need can work."""

import dagster as dg

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages import SPECS
from traitvec_core.stages.judge_check import check_judges_ahead
from traitvec_core.stages.redo import Redo
from traitvec_core.visible_text import one_line
from traitvec_dagster.graph.names import Graph

__all__ = ["check_run_start", "selected_stages"]


def selected_stages(context: dg.AssetExecutionContext) -> list[Stage]:
    """Return the stages of a run, in order."""
    # A run of the whole job selects nothing.
    names = {key.path[-1] for key in context.run.asset_selection or ()} or set(STAGES)
    return [stage for stage in STAGES if stage in names]


def check_run_start(
    stage: Stage,
    context: dg.AssetExecutionContext,
    graph: Graph,
    settings: ExperimentSettings,
    redo: Redo,
) -> None:
    """Check the judges that a run will need, in the first of its stages that makes anything.

    Args:
        stage: The stage of this step; no-op in any but the first.
        context: Of this step.
        graph: The experiment's graph.
        settings: The experiment's settings, with the run's overrides.
        redo: What the run makes again.

    Raises:
        TraitvecError: If a judge that is needed cannot be used.
    """
    made = [name for name in selected_stages(context) if SPECS[name].make is not None]
    if made[0] == stage:
        check_judges_ahead(
            graph.folder, settings, [context.partition_key], made, redo,
            lambda text: context.log.warning(one_line(text)),
        )  # fmt: skip
