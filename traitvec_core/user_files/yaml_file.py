"""YAML that people write: plain values only, and no key twice."""

from copy import deepcopy
from functools import lru_cache
from typing import Any

import yaml

from traitvec_core.errors import DefinitionError

__all__ = ["parse_yaml"]

_SHOWN_CHARS = 40
_TOO_DEEP = "is nested too deeply; remove brackets or indentation"
# Constructors of PyYAML fail on malformed values in all these ways: `!!int ""`, `!!bool maybe`.
_BAD_VALUES = (ValueError, ArithmeticError, LookupError, AttributeError, TypeError)


def parse_yaml(text: str, where: str, most_chars: int) -> Any:
    """Read one YAML document.

    Args:
        text: The document.
        where: The file, as messages name it.
        most_chars: The longest document.

    Raises:
        DefinitionError: If it is too long, not valid, nested too deeply, has a key twice in one
            mapping, of which PyYAML would keep the last, or uses an alias, with which a few lines
            can stand for billions of values.
    """
    # A run reads the same settings again at every step.
    value = _parse(text, where, most_chars)
    try:
        return deepcopy(value)
    except RecursionError:
        raise DefinitionError(where, [_TOO_DEEP]) from None


@lru_cache(maxsize=16)
def _parse(text: str, where: str, most_chars: int) -> Any:
    if len(text) > most_chars:
        raise DefinitionError(
            where, [f"is {len(text):,} characters long; the limit is {most_chars:,}"]
        )
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506  # a SafeLoader
    except _StrictError as error:
        problem = str(error)
    except yaml.YAMLError as error:
        problem = _described(error)
    except RecursionError:
        problem = _TOO_DEEP
    except _BAD_VALUES as error:
        # For a date that does not exist, the text says so.
        problem = f"is not valid YAML: a value cannot be read ({error})"
    raise DefinitionError(where, [problem])


class _StrictError(Exception):
    """Something that YAML allows and traitvec does not; the message says what and where."""


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases and double keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Read a node, unless it is an alias."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise _StrictError(
                f"uses the alias *{event.anchor[:_SHOWN_CHARS]} in line"
                f" {event.start_mark.line + 1}; write its value out"
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping whose keys are distinct."""
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                shown = key.value[:_SHOWN_CHARS]
                raise _StrictError(
                    f"has the key {shown!r} twice, in lines {lines[name]} and {line}; remove one"
                )
            lines[name] = line
        return super().construct_mapping(node, deep)


def _described(error: yaml.YAMLError) -> str:
    """Return the problem with its line, and without the excerpt that PyYAML adds."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"is not valid YAML: {' '.join(str(error).split())}"
    mark = error.problem_mark
    place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"is not valid YAML: {error.problem}{place}"
