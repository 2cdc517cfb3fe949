"""Tests use public names only, of this project and of its dependencies.

Ruff's SLF001 finds `thing._name`; this finds imports, and names in strings.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
PRIVATE = re.compile(r"_(?!_)")
# A name in a string, as `monkeypatch.setattr` and `python -c` take it.
DOTTED = re.compile(r"\b(?:traitvec_\w+|dagster\w*|tests)(?:\.\w+)*\._(?!_)\w+")

# Modules that still need one; do not add to them.
EXCEPTIONS = {
    "generation/test_engines.py": {"_ROOM"},
}


def test_only_public_names_are_used() -> None:
    found = {}
    for path in sorted(TESTS.rglob("*.py")):
        module = path.relative_to(TESTS).as_posix()
        names = set(private_names(path.read_text("utf-8"))) - EXCEPTIONS.get(module, set())
        if names and path != Path(__file__):
            found[module] = names
    assert found == {}


def test_private_names_are_found_wherever_they_are() -> None:
    code = """
from dagster._core import event_api
from traitvec_core.storage.folders import _refresh
import traitvec_core._private
monkeypatch.setattr(module, "_hidden", None)
monkeypatch.setattr("traitvec_core.judging.calls._WAIT_S", 0)
run("from dagster._daemon import cli")
from __future__ import annotations
monkeypatch.setattr(module, "__all__", [])
"""
    assert set(private_names(code)) == {
        "_core", "_refresh", "_private", "_hidden", "traitvec_core.judging.calls._WAIT_S",
        "dagster._daemon",
    }  # fmt: skip


def private_names(code: str) -> Iterator[str]:
    """Private names in imports, in strings, and in calls that take a name as a string."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.ImportFrom(module=module, names=names):
                parts = [*(module or "").split("."), *(alias.name for alias in names)]
                yield from filter(PRIVATE.match, parts)
            case ast.Import(names=names):
                parts = [part for alias in names for part in alias.name.split(".")]
                yield from filter(PRIVATE.match, parts)
            case ast.Constant(value=str(text)):
                yield from (name[0] for name in DOTTED.finditer(text))
            case ast.Call(
                func=ast.Attribute(attr=function) | ast.Name(id=function),
                args=[_, ast.Constant(value=str(name)), *_],
            ) if function in {"setattr", "delattr", "getattr"} and PRIVATE.match(name):
                yield name
