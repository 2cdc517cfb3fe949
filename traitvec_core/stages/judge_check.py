"""Checks judges before a run generates anything: their keys, prices, servers, and what they answer.

Without it, a missing key would show only after all responses were generated.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import Stage
from traitvec_core.stages import SPECS
from traitvec_core.stages.inputs import scored_traits
from traitvec_core.stages.make import State, stage_states
from traitvec_core.stages.provenance import refresh_elsewhere
from traitvec_core.stages.redo import Redo
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder

__all__ = ["check_judges_ahead"]


def check_judges_ahead(
    folder: ExperimentFolder,
    settings: ExperimentSettings,
    traits: Sequence[str],
    stages: Sequence[Stage],
    redo: Redo = Redo(),
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Check that the judges can work, and those behind an API that they do, before any cost.

    No-op if none of the stages will ask a judge: they ask none, are off, or are fresh.

    Args:
        folder: The experiment.
        settings: Its settings.
        traits: The traits that are run.
        stages: The stages that are run.
        redo: Which of them are made again although they are fresh.
        say: Called with a line about a server that does not answer, a spent budget, or a judge
            that cannot work but may not be needed.

    Raises:
        TraitvecError: If a judge that is needed cannot be used.
    """
    asked: dict[str, bool] = {}
    is_compared = False
    for name in traits:
        trait = folder.trait(name)
        states, asking = _asking_stages(trait, settings, stages, redo)
        is_compared = is_compared or "judged_responses" in asking
        is_needed = _is_judge_needed(trait, settings, states, asking, redo)
        if is_needed is not None:
            asked[name] = is_needed
    if not asked:
        return
    if not is_compared:
        settings = settings.model_copy(update={"second_judge": None})
    if "steering_evaluation" not in stages:
        # Only steering applies the rubrics of all other traits.
        off = settings.steering.model_copy(update={"evaluate": False})
        settings = settings.model_copy(update={"steering": off})
    try:
        _check(folder, settings, list(asked), say)
    except TraitvecError as error:
        if any(asked.values()):
            raise
        say(f"if steering or monitoring turns out to need the judge, the run will fail: {error}")


def _asking_stages(
    folder: TraitFolder, settings: ExperimentSettings, stages: Sequence[Stage], redo: Redo
) -> tuple[dict[Stage, State], list[Stage]]:
    """Return the states of a trait's stages, and those that will be made and may ask a judge."""
    able = [name for name in stages if SPECS[name].estimate and SPECS[name].is_on(settings)]
    if able:
        # Another trait's rubric that is not here yet would make a stage look stale.
        folder.refresh()
        refresh_elsewhere(able, folder, settings)
    states = stage_states(folder, settings)
    return states, [stage for stage in able if states[stage] != "fresh" or redo.of(stage)]


def _is_judge_needed(
    folder: TraitFolder,
    settings: ExperimentSettings,
    states: dict[Stage, State],
    asking: list[Stage],
    redo: Redo,
) -> bool | None:
    """Whether stages of a trait ask a judge; None if they do not, False if nobody knows yet."""
    if "judged_responses" in asking:
        return True
    if not asking:
        return None
    if states["vectors"] != "fresh" or redo.of("vectors"):
        # Whether they will be steered and monitored depends on vectors that are not there yet.
        return False
    skips = {"steering_evaluation": _is_steering_skipped, "trait_dynamics": _is_nothing_monitored}
    if all(stage in skips and skips[stage](folder, settings) for stage in asking):
        return None
    return True


def _is_nothing_monitored(folder: TraitFolder, settings: ExperimentSettings) -> bool:
    with suppress(TraitvecError):
        return folder.recommended() is None
    return False


def _is_steering_skipped(folder: TraitFolder, settings: ExperimentSettings) -> bool:
    from traitvec_core.validation.steering import ForecastOfVectors

    with suppress(TraitvecError):
        forecast = folder.manifest(ForecastOfVectors, check_files=False).forecast
        return settings.steering.evaluate == "auto" and bool(forecast and forecast.is_hopeless)
    return False


def _check(
    folder: ExperimentFolder,
    settings: ExperimentSettings,
    traits: list[str],
    say: Callable[[str], None],
) -> None:
    from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE, JudgementStore
    from traitvec_core.judging.load import check_judge, check_judges_first, used_judges

    scored = scored_traits(folder, settings, traits)
    check_judge(settings, scored, folder.path)
    if all(choice.provider.api is None for choice in used_judges(settings, scored)):
        # They cost nothing, and a store that cannot be written concerns only who judges.
        return
    with JudgementStore(folder.path.parent / JUDGEMENTS_FILE) as store:
        limit = settings.max_judge_usd
        if limit is not None and store.spent_usd(folder.name) >= limit:
            say(
                f"max_judge_usd: {limit:g} is spent, so nothing more will be judged; raise it in"
                " experiment.yaml"
            )
        check_judges_first(settings, scored, store, folder.name, say)
