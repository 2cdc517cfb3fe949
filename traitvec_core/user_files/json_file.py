"""JSON that people write: strict where Python's parser is silent."""

import json
import math
import re
from typing import Any, NoReturn

from traitvec_core.errors import DefinitionError
from traitvec_core.user_files.text import parse_text

__all__ = ["parse_json"]

# Strings with what follows them if that makes them a key; brackets; anything else.
_TOKENS = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")\s*(:?)|[{}\[\]]|[^\s"{}\[\],:]+', re.DOTALL)
_SHOWN_CHARS = 40


class _StrictError(Exception):
    """Something that Python's parser accepts; the scan of the text says where it is."""


def parse_json(data: bytes, where: str, most_bytes: int) -> Any:
    """Read JSON.

    Args:
        data: The file's bytes: UTF-8, with or without a byte-order mark.
        where: The file, as messages name it.
        most_bytes: The largest size.

    Raises:
        DefinitionError: If it is too long, not JSON in UTF-8, nested too deeply, or has a key twice
            in one object, of which Python would keep the last; or if a number is none that JSON
            knows (NaN, Infinity) or too long.
    """
    text = parse_text(data, where, most_bytes)
    try:
        return json.loads(
            text, object_pairs_hook=_distinct, parse_constant=_refuse, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        problem = f"is not valid JSON: {error.msg.removesuffix(' at')} at {place}"
    except _StrictError:
        problem = _first_problem(text)
    except RecursionError:
        problem = "is nested too deeply; remove brackets"
    except ValueError:
        # Python does not parse integers of thousands of digits.
        problem = "contains a number too long to read; remove it"
    raise DefinitionError(where, [problem])


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    distinct = dict(pairs)
    if len(distinct) < len(pairs):
        raise _StrictError
    return distinct


def _refuse(_: str) -> NoReturn:
    raise _StrictError


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _StrictError
    return value


def _first_problem(text: str) -> str:
    """Describe the first key that an object has twice, or the first number that is none."""
    # The keys of each open object, with their lines; None for a list.
    keys: list[dict[str, int] | None] = []
    line, counted = 1, 0
    for match in _TOKENS.finditer(text):
        line, counted = line + text.count("\n", counted, match.start()), match.start()
        piece = match[0]
        if piece in "{[":
            keys.append({} if piece == "{" else None)
        elif piece in "}]":
            keys.pop()
        elif match[2] and keys and keys[-1] is not None:
            key: str = json.loads(match[1])
            if key in keys[-1]:
                return (
                    f"has the key {key[:_SHOWN_CHARS]!r} twice, in lines {keys[-1][key]} and"
                    f" {line}; remove one"
                )
            keys[-1][key] = line
        elif piece[0] in "-0123456789NI" and not math.isfinite(float(piece)):
            return f"contains {piece[:_SHOWN_CHARS]} in line {line}, which is no JSON number"
    return "has a key twice, or a number that JSON does not know"
