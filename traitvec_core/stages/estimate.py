"""What making a trait's stages will cost in judgements, before anything is spent."""

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.cost_estimate import JudgingCost
from traitvec_core.judging.judgement_store import JudgementStore
from traitvec_core.stages import SPECS
from traitvec_core.stages.make import stage_states
from traitvec_core.storage.folders import TraitFolder

__all__ = ["estimate_trait"]


def estimate_trait(
    folder: TraitFolder, settings: ExperimentSettings, store: JudgementStore
) -> list[JudgingCost]:
    """Estimate what judging a trait costs, in the order of the stages that ask a judge.

    A fresh stage asks for nothing. Its entries are left out where they would rest on the longest
    possible responses, and count what the store holds where they rest on real ones.

    Args:
        folder: The trait's folder; its responses are counted where there are any.
        settings: The experiment's settings.
        store: The judgements that are known already.
    """
    states = stage_states(folder, settings)
    return [
        cost
        for spec in SPECS.values()
        if spec.estimate is not None and spec.is_on(settings)
        for cost in spec.estimate(folder, settings, store)
        if states[spec.name] != "fresh" or not cost.is_planned
    ]
