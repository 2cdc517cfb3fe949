"""A second experiment on the same traits, which elicits them by scenarios."""

import json
import re
from contextlib import suppress

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings, parse_experiment
from traitvec_core.settings.scorer import PythonFunction, parse_scorer
from traitvec_core.storage.files import DEFINITION_FILE, SETTINGS_FILE, display_path
from traitvec_core.storage.folders import ExperimentFolder

__all__ = ["write_scenarios_of"]


def write_scenarios_of(other: ExperimentFolder, new: ExperimentFolder) -> list[str]:
    """Write an experiment like another one, but with `elicitation: scenarios`.

    Settings and comments are kept, both files name the other experiment as `second_elicitation`,
    and definitions with `scenarios` and the files of scorers are copied. The new settings are
    written last, so that a failure leaves no experiment that could run.

    Args:
        other: The experiment that elicits by instructions; it needs an `experiment.yaml`.
        new: The one to write, without settings so far.

    Returns:
        The names of the traits that were copied.

    Raises:
        TraitvecError: If the other experiment elicits by scenarios already, has a second one or no
            trait with scenarios, or cannot be read.
    """
    settings, where = other.settings(), display_path(other.settings_path)
    if settings.elicitation == "scenarios":
        raise TraitvecError(f"{where} has elicitation: scenarios already; name another experiment")
    if settings.second_elicitation not in {None, new.name}:
        raise TraitvecError(
            f"{where} names {settings.second_elicitation} as its second_elicitation already; edit"
            " that line first"
        )
    traits = _traits_with_scenarios(other)
    if not traits:
        raise TraitvecError(
            f"{display_path(other.path)}: no definition has scenarios; `traitvec scenarios"
            f" --experiment {other.name} --trait NAME` lets a model write them"
        )
    try:
        text = other.read(SETTINGS_FILE).decode()
    except OSError as error:
        raise TraitvecError(f"{where} cannot be read: {error.strerror}") from None
    own_text = _with_lines(text, second_elicitation=new.name)
    # A model that the other's name implies would not follow from the new one.
    new_text = _with_lines(
        text if re.search(r"^model\s*:", text, re.M) else _with_lines(text, model=settings.model),
        elicitation="scenarios",
        second_elicitation=other.name,
    )
    # Neither is written unless both can be read back.
    parse_experiment(own_text, other.name, where)
    parse_experiment(new_text, new.name, display_path(new.settings_path))
    for name in (*_scorer_files(settings), *(f"{trait}/{DEFINITION_FILE}" for trait in traits)):
        try:
            new.write(name, other.read(name))
        except OSError as error:
            raise TraitvecError(
                f"{display_path(other.path / name)} cannot be copied: {error.strerror}"
            ) from None
    new.write(SETTINGS_FILE, new_text.encode())
    other.write(SETTINGS_FILE, own_text.encode())
    return traits


def _traits_with_scenarios(folder: ExperimentFolder) -> list[str]:
    names = []
    for name in folder.traits():
        # A broken definition is left where it is.
        with suppress(TraitvecError):
            if folder.trait(name).definition().scenarios:
                names.append(name)
    return names


def _with_lines(text: str, **lines: str) -> str:
    """Return YAML with top-level lines added, or in place of those with the same key."""
    for key, value in lines.items():
        line = f"{key}: {json.dumps(value, ensure_ascii=False)}"
        written = re.search(rf"^{key}\s*:.*$", text, re.M)
        if written:
            text = f"{text[: written.start()]}{line}{text[written.end() :]}"
        else:
            text = f"{text.rstrip()}\n{line}\n"
    return text


def _scorer_files(settings: ExperimentSettings) -> list[str]:
    judges = [settings.judge_model, settings.coherence_judge, settings.second_judge]
    scorers = [parse_scorer(name) for name in (*judges, *settings.scorers.values()) if name]
    return list(dict.fromkeys(s.path for s in scorers if isinstance(s, PythonFunction)))
