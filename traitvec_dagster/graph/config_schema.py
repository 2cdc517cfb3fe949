"""The settings that a run's config may override, as Dagster config: what the launchpad checks.

Everything is derived from `ExperimentSettings` and the lists of `owner_overrides`. No setting has a
default here: what a run's config does not name is as in `experiment.yaml`.
"""

import inspect
import json
import re
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import dagster as dg
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from traitvec_core.embedded import EMBEDDED_MODEL
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.settings.wrong_setting import describe_problem
from traitvec_dagster.graph.owner_overrides import OPEN_SETTINGS, OWNER_SETTINGS

__all__ = ["read_settings", "settings_schema"]

# What sensors and schedules read, or nobody but people: a run does nothing with it.
_NOT_OF_A_RUN = frozenset({"description", "owners", "auto_run", "schedule", "follow_data_versions"})
_SCALARS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false"}


def settings_schema() -> dict[str, dg.Field]:
    """Return the config fields of `settings`: every setting optional, with its description."""
    fields = {}
    for name, field in ExperimentSettings.model_fields.items():
        if name in OWNER_SETTINGS:
            allowed = _harmless_type(name, field)
            note = "Here only what ships with traitvec; the rest in experiment.yaml."
        elif name == "max_judge_usd":
            allowed = _config_type(field.annotation, name)
            note = "A run may only lower the limit of experiment.yaml."
        elif name in OPEN_SETTINGS - _NOT_OF_A_RUN:
            allowed = _config_type(field.annotation, name)
            note = ""
        else:
            continue
        if allowed is not None:
            fields[name] = _field(ExperimentSettings, name, allowed, note)
    return fields


def read_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides of a run's config by their dotted names, such as `sampling.seed`.

    Args:
        config: What the launchpad has accepted as `settings`.

    Raises:
        ValueError: If a value is out of range; one line with all such problems.
    """
    try:
        ExperimentSettings.model_validate({"model": EMBEDDED_MODEL, **_as_written(config)})
    except ValidationError as error:
        # Rules between several settings need those of experiment.yaml; the run applies them.
        problems = [
            describe_problem(item, ExperimentSettings)
            for item in error.errors()
            if item["type"] != "missing" and not _is_group(item["loc"])
        ]
        if problems:
            raise ValueError("; ".join(problems)) from None
    return _dotted(_as_written(config), ExperimentSettings)


def _field(model: type[BaseModel], name: str, config_type: Any, note: str = "") -> Any:
    field = model.model_fields[name]
    parts = [_attribute_descriptions(model).get(name, ""), _allowed(field), note]
    default = field.get_default(call_default_factory=True)
    if (
        name not in OWNER_SETTINGS
        and not isinstance(default, BaseModel)
        and not field.is_required()
    ):
        shown = "none" if default is None else json.dumps(default).strip('"')
        parts.append(f"Not set: as in experiment.yaml, by default {shown}.")
    description = " ".join(filter(None, parts))
    return dg.Field(config_type, is_required=False, description=description)


def _config_type(annotation: Any, name: str) -> Any:
    """Return the Dagster type of a setting.

    `"auto"` beside a number or a bool is null here, since Dagster has no union of scalars.
    """
    annotation = _bare(annotation)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _enum(name, args)
    if origin in {Union, UnionType}:
        (inner,) = [
            part for part in map(_bare, args) if not _is_word(part) and part is not NoneType
        ]
        inner_type = _config_type(inner, name)
        if any(map(_is_word, args)) and get_origin(inner) is tuple:
            return dg.ScalarUnion(str, inner_type)
        return dg.Noneable(inner_type)
    if origin is tuple:
        return dg.Array(_config_type(args[0], name))
    if origin is dict:
        key, value = args
        if get_origin(key) is Literal:
            each = _config_type(value, name)
            return {word: dg.Field(each, is_required=False) for word in get_args(key)}
        return {str: _config_type(value, name)}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {
            inner: _field(annotation, inner, _config_type(field.annotation, f"{name}_{inner}"))
            for inner, field in annotation.model_fields.items()
        }
    return {str: str, int: int, float: float, bool: bool}[annotation]


def _harmless_type(name: str, field: FieldInfo) -> Any:
    """Return the type of an owner's setting: its harmless values; None if there is no choice."""
    values = OWNER_SETTINGS[name]
    words = [value for value in values if isinstance(value, str)]
    if not words:
        return None
    one = _enum(name, words)
    if get_origin(field.annotation) is dict:
        return {str: one}
    return dg.Noneable(one) if None in values else one


def _enum(name: str, words: Any) -> dg.Enum:
    # Dagster needs one name for each set of words, over all types of the config.
    title = "".join(part.capitalize() for part in name.split("_"))
    return dg.Enum(title, [dg.EnumValue(str(word)) for word in words])


def _allowed(field: FieldInfo) -> str:
    """Return a sentence on a setting's range, and on what null stands for; empty if any goes."""
    is_union = get_origin(field.annotation) in {Union, UnionType}
    parts = get_args(field.annotation) if is_union else (field.annotation,)
    low = high = word = ""
    for part in parts:
        for rule in [*field.metadata, *_rules(part)]:
            low = _limit(rule, "ge", "at least ", "gt", "above ") or low
            high = _limit(rule, "le", "at most ", "lt", "below ") or high
        if is_union and _is_word(part):
            (word,) = get_args(part)
    kinds = [kind for part in map(_bare, parts) if (kind := _SCALARS.get(part))]
    sentence = ", ".join(filter(None, (low, high)))
    if word and kinds:
        sentence = f"{kinds[0]}{', ' if sentence else ''}{sentence}, or null for {word}"
    return f"{sentence[:1].upper()}{sentence[1:]}." if sentence else ""


def _rules(annotation: Any) -> list[Any]:
    if get_origin(annotation) is not Annotated:
        return []
    return [rule for each in annotation.__metadata__ for rule in getattr(each, "metadata", [each])]


def _limit(rule: Any, *names: str) -> str:
    for name, words in zip(names[::2], names[1::2], strict=True):
        if (value := getattr(rule, name, None)) is not None:
            return f"{words}{value:,}"
    return ""


def _attribute_descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return what a model's docstring says of each attribute."""
    _, _, listed = inspect.cleandoc(model.__doc__ or "").partition("Attributes:\n")
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", listed, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _as_written(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with the words that null stands for, as `experiment.yaml` has them."""
    return {
        name: _worded(value, ExperimentSettings.model_fields[name].annotation)
        for name, value in config.items()
    }


def _worded(value: Any, annotation: Any) -> Any:
    annotation = _bare(annotation)
    if value is None and (words := [part for part in get_args(annotation) if _is_word(part)]):
        return get_args(words[0])[0]
    if isinstance(value, Mapping) and _is_model(annotation):
        fields = annotation.model_fields
        return {name: _worded(each, fields[name].annotation) for name, each in value.items()}
    return value


def _dotted(config: Mapping[str, Any], model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Return a config by dotted names, so that a group keeps what only `experiment.yaml` names."""
    settings: dict[str, Any] = {}
    for name, value in config.items():
        annotation = _bare(model.model_fields[name].annotation)
        # What the other values of a group with a kind mean depends on it: it is one value.
        if _is_model(annotation) and "kind" not in value:
            settings |= _dotted(value, annotation, f"{prefix}{name}.")
        elif get_origin(annotation) is dict:
            settings |= {f"{prefix}{name}.{key}": each for key, each in value.items()}
        else:
            settings[f"{prefix}{name}"] = value
    return settings


def _is_group(location: tuple[int | str, ...]) -> bool:
    """Whether a problem's location is a whole group of settings, or all of them."""
    annotation: Any = ExperimentSettings
    for part in location:
        if not _is_model(annotation) or part not in annotation.model_fields:
            return False
        annotation = _bare(annotation.model_fields[str(part)].annotation)
    return _is_model(annotation)


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _is_word(annotation: Any) -> bool:
    return get_origin(annotation) is Literal


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
