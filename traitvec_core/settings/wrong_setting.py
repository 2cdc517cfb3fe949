"""What is wrong with a setting, in one line that names the nearest right one."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel

__all__ = ["describe_problem"]

# What pydantic calls by Python's names.
_KINDS = {"tuple_type": "must be a list, such as [one, two]"}


def describe_problem(problem: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Return one line on a problem that pydantic has reported.

    Args:
        problem: One of `ValidationError.errors()`.
        model: The settings' model.
    """
    # pydantic adds the union's branch to the location, which means nothing to a user.
    parts = [
        str(part)
        for part in problem["loc"]
        if not str(part).startswith(("literal[", "tuple[", "constrained"))
    ]
    location = ".".join(parts) or "file"
    if problem["type"] != "extra_forbidden":
        message = _KINDS.get(problem["type"], problem["msg"]).removeprefix("Value error, ")
        return f"{location}: {message}"
    *groups, name = parts
    prefix = "".join(f"{group}." for group in groups)
    known = _names(model, groups)
    if near := get_close_matches(name, known, n=1):
        return f"{location}: no such setting; did you mean {prefix}{near[0]}?"
    # A setting without its group, such as `seed`, or in another one.
    elsewhere = [path for path in _paths(model) if path.rpartition(".")[2] == name]
    if elsewhere:
        return f"{location}: no such setting; did you mean {elsewhere[0]}?"
    available = f"; available: {', '.join(sorted(known))}" if known else ""
    return f"{location}: no such setting{available}"


def _names(model: type[BaseModel], groups: list[str]) -> list[str]:
    """Return the settings of a group; empty if it is not known."""
    for group in groups:
        field = model.model_fields.get(group)
        inner = _group(field.annotation) if field is not None else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted names of all settings."""
    paths = []
    for name, field in model.model_fields.items():
        paths.append(f"{prefix}{name}")
        if (inner := _group(field.annotation)) is not None:
            paths += _paths(inner, f"{prefix}{name}.")
    return paths


def _group(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a group of settings, also of one that may be missing."""
    for part in (annotation, *get_args(annotation)):
        if part is not NoneType and isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None
