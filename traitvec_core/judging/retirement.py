"""When a provider shuts a judge down, and what to write instead."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import quote

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.load import JudgeChoice
from traitvec_core.judging.prices import override_of
from traitvec_core.remote.keys import key_from_environment
from traitvec_core.remote.pages import PageError, read_page

__all__ = ["JudgeNote", "judge_notes", "retirement_of", "shutdown_dates"]


@dataclass(frozen=True)
class JudgeNote:
    """Something to know about a judge before money is spent.

    Attributes:
        text: What it is.
        advice: What to write instead.
    """

    text: str
    advice: str


def retirement_of(
    name: str, *, announced: date | None = None, today: date | None = None
) -> str | None:
    """Return a sentence about the day on which the provider shuts a model down, or None.

    Args:
        name: The model.
        announced: The day in the provider's own list, which comes before traitvec's table.
        today: The day to compare with; by default today.
    """
    day = announced or override_of(name).get("shutdown")
    if day is None:
        return None
    is_over = day <= (today or date.today())
    return f"{name} {'was to be shut down' if is_over else 'will be shut down'} on {day}"


def judge_notes(
    settings: ExperimentSettings,
    announced: Mapping[str, date] | None = None,
    *,
    ask: bool = False,
) -> Iterator[JudgeNote]:
    """Yield a note for every judge of an experiment that its provider shuts down.

    Args:
        settings: The experiment's settings.
        announced: Days in the provider's list, by model. Others are in traitvec's table.
        ask: Whether to ask the provider, where its key is set, for each judge's day (free of
            charge, one small page).
    """
    for setting, name in _named_judges(settings).items():
        choice = JudgeChoice(settings, name)
        api = choice.provider.api
        if api is None:
            continue
        view = _view(choice) if ask else {"shutdown_date": (announced or {}).get(name)}
        if view is None:
            yield JudgeNote(
                f"{api.title} knows no model {name!r}, or not for this key",
                f"check {setting} in experiment.yaml",
            )
            continue
        day = view.get("shutdown_date")
        note = retirement_of(name, announced=day if isinstance(day, date) else _day(day))
        if note is not None:
            replacement = override_of(name).get("replacement") or "another model"
            yield JudgeNote(
                note,
                f"write {setting}: {replacement} instead; judgements by {name} stay valid until"
                " you change it",
            )


def shutdown_dates(models: Any) -> Mapping[str, date]:
    """Return the announced days by model in a provider's list of models (`GET /v1/models`)."""
    listed = models.get("data") if isinstance(models, dict) else None
    return {
        str(row.get("id")): day
        for row in (listed if isinstance(listed, list) else [])
        if isinstance(row, dict) and (day := _day(row.get("shutdown_date"))) is not None
    }


def _named_judges(settings: ExperimentSettings) -> dict[str, str]:
    """Return the judges by the setting that names them, each once."""
    named = {"judge_model": settings.judge_model}
    named |= {f"scorers.{trait}": name for trait, name in settings.scorers.items()}
    if settings.coherence_judge:
        named["coherence_judge"] = settings.coherence_judge
    if settings.second_judge:
        named["second_judge"] = settings.second_judge
    first: dict[str, str] = {}
    for setting, name in named.items():
        first.setdefault(name, setting)
    return {setting: name for name, setting in first.items()}


def _view(choice: JudgeChoice) -> dict[str, Any] | None:
    """Return what the provider says of a model; empty if it says nothing, None if it has none."""
    api = choice.provider.api
    if api is None or choice.key_name != api.key_name:
        return {}
    try:
        key = key_from_environment(choice.key_name)
        if key is None:
            return {}
        address = choice.address or api.normalized(api.model.default_address)
        page = read_page(
            f"{address}{api.models_path}/{quote(choice.name, safe='')}", api.key_headers(key)
        )
    except (PageError, TraitvecError):
        return {}
    data = page.data
    error = data.get("error") if isinstance(data, dict) else None
    # A proxy without this page answers 404 too, in its own words.
    if isinstance(error, dict) and "model" in str(error.get("code")) + str(error.get("message")):
        return None if page.status == 404 else {}
    return data if page.status == 200 and isinstance(data, dict) else {}


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
