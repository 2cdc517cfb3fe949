"""How an answer of the writer is read, and the JSON schema that it is asked to have."""

import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from traitvec_core.judging.reading import UnusableAnswerError, after_thinking
from traitvec_core.remote.answers import parse_json
from traitvec_core.remote.sdk_errors import clipped
from traitvec_core.writing.answers import Answer

__all__ = ["FaultError", "check_answer", "read_answer", "schema_of"]

_FENCED = re.compile(r"```[a-z]*\s*\n(.*)\n\s*```", re.DOTALL | re.IGNORECASE)
_MOST_SHOWN = 4
_T = TypeVar("_T", bound=Answer)


class FaultError(Exception):
    """What is wrong with an answer, in words for the writer and for the user."""


def read_answer(kind: type[_T], text: str) -> _T:
    """Return an answer that is whole and valid.

    Thinking before the JSON, and one code fence around all of it, are left out.

    Raises:
        FaultError: Why the answer cannot be used.
    """
    try:
        bare = after_thinking(text).strip()
    except UnusableAnswerError as error:
        raise FaultError(str(error)) from None
    if not bare:
        raise FaultError("it has no text")
    if fenced := _FENCED.fullmatch(bare):
        bare = fenced[1]
    try:
        value = parse_json(bare, _distinct)
    except ValueError as error:
        reason = str(error) if not isinstance(error, json.JSONDecodeError) else _broken(bare, error)
        raise FaultError(f"it is not one JSON object ({reason})") from None
    return check_answer(kind, value)


def check_answer(kind: type[_T], value: Any) -> _T:
    """Return an answer whose JSON has been read.

    Raises:
        FaultError: Why the answer cannot be used.
    """
    try:
        answer = kind.model_validate(_stripped(value))
    except ValidationError as error:
        raise FaultError(_joined([_described(item) for item in error.errors()])) from None
    if problems := answer.problems():
        raise FaultError(_joined(problems))
    return answer


def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of an answer, in the subset that all providers accept.

    Definitions are inlined, every key is required and no other is allowed. Providers differ in
    which lengths and counts they accept, so those are only checked afterwards.
    """
    schema = kind.model_json_schema()
    definitions = schema.pop("$defs", {})

    def plain(node: Any) -> Any:
        if "$ref" in node:
            return plain(definitions[node["$ref"].rpartition("/")[2]])
        if node["type"] == "array":
            return {"type": "array", "items": plain(node["items"])}
        if node["type"] == "object":
            properties = {name: plain(value) for name, value in node["properties"].items()}
            return {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            }
        return {"type": node["type"]}

    inlined: dict[str, Any] = plain(schema)
    return inlined


def _stripped(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return [_stripped(item) for item in value]
    if isinstance(value, dict):
        return {key: _stripped(item) for key, item in value.items()}
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a key is there twice")
    return mapping


def _broken(text: str, error: json.JSONDecodeError) -> str:
    if not text.startswith("{"):
        return f"it begins with {clipped(text, 40)!r}"
    return f"{error.msg} at character {error.pos}"


def _described(item: Any) -> str:
    place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in item["loc"]).lstrip(".")
    # pydantic names the class of Python.
    what = "is no JSON object" if item["type"] == "model_type" else item["msg"]
    return f"{place or 'the answer'}: {what[:1].lower()}{what[1:]}"


def _joined(problems: list[str]) -> str:
    more = len(problems) - _MOST_SHOWN
    return "; ".join(problems[:_MOST_SHOWN]) + (f"; and {more} more faults" if more > 0 else "")
