"""Write `docs/api.md` from the docstrings of what `traitvec_core` lists: `make docs`.

The source is read, not run: neither torch nor a model is loaded.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "api.md"
PACKAGE = "traitvec_core"
FIRST = "notebook"
WIDTH = 88

HEAD = f"""\
# API reference

What `{PACKAGE}` lists is public; the rest may change. Importing the package costs nothing: a name is loaded when it is first used. This page is written from the docstrings by `make docs`.
"""  # noqa: E501


def render() -> str:
    """Return the page."""
    package = griffe.load(PACKAGE, search_paths=[REPOSITORY], docstring_parser="google")
    modules: dict[str, dict[str, Any]] = {}
    for name in package.exports or []:
        found = _target(package, str(name))
        modules.setdefault(found.canonical_path.split(".")[1], {})[str(name)] = found
    order = sorted(modules, key=lambda module: (module != FIRST, module))
    anchors = _anchors(order, modules)
    parts = [HEAD, "\n".join(_contents(module, modules[module], anchors) for module in order)]
    for module in order:
        parts.append(f"## {module}\n\n{package[module].docstring.value}")
        for name, found in modules[module].items():
            parts += _entry(name, found)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _target(package: Any, name: str) -> Any:
    """What a name of the package stands for."""
    found = package[name].final_target
    # `trace` of `dynamics` is the function of that name in the module of that name.
    return found[name] if found.is_module else found


def _anchors(order: list[str], modules: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Where each heading is found: in lower case, and numbered where that is taken already."""
    anchors: dict[str, str] = {}
    taken: dict[str, int] = {}
    for module in order:
        for heading in (f"module {module}", *modules[module]):
            plain = heading.removeprefix("module ").lower()
            number = taken[plain] = taken.get(plain, -1) + 1
            anchors[heading] = f"#{plain}-{number}" if number else f"#{plain}"
    return anchors


def _contents(module: str, members: dict[str, Any], anchors: dict[str, str]) -> str:
    links = ", ".join(f"[`{name}`]({anchors[name]})" for name in members)
    return f"- [{module}]({anchors[f'module {module}']}): {links}"


def _entry(name: str, found: Any) -> Iterator[str]:
    yield f"### {name}"
    if found.is_attribute:
        yield _code(f"{name}: {found.annotation}")
        if found.docstring:
            yield found.docstring.value
        return
    made_by = found.all_members.get("__init__") if found.is_class else found
    if made_by is not None:
        yield _code(_signature(name, made_by))
    yield from _described(found)
    if found.is_class:
        for method in found.members.values():
            # What says "See …" overrides what is told there.
            is_told = method.docstring and not method.docstring.value.startswith("See ")
            if method.is_function and method.is_public and is_told:
                yield f"#### {name}.{method.name}"
                yield _code(_signature(method.name, method))
                yield from _described(method)


def _described(found: Any) -> Iterator[str]:
    attributes = _attributes(found) if found.is_class else {}
    for section in found.docstring.parsed:
        kind = section.kind.value
        if kind == "text":
            yield section.value
        elif kind == "parameters":
            yield _items("Arguments", {item.name: item.description for item in section.value})
        elif kind == "raises":
            yield _items(
                "Raises", {str(item.annotation): item.description for item in section.value}
            )
        elif kind in {"returns", "yields"}:
            yield f"**{kind.title()}:** {_line(' '.join(i.description for i in section.value))}"
    if attributes:
        yield _items("Attributes", attributes)


def _attributes(found: Any) -> dict[str, str]:
    """Of a class and of what it is derived from, properties included."""
    told: dict[str, str] = {}
    for cls in reversed([found, *found.mro()]):
        for section in cls.docstring.parsed if cls.docstring else ():
            if section.kind.value == "attributes":
                told |= {item.name: item.description for item in section.value}
        for name, member in cls.members.items():
            if "property" in member.labels and member.is_public and member.docstring:
                told[name] = member.docstring.value.split("\n\n")[0]
    for name in told:
        member = found.all_members.get(name)
        value = str(member.value) if member is not None and member.is_attribute else "None"
        # Of settings there is no signature that would show it.
        has_default = value not in {"None", "''"} and not value.startswith("Field(")
        if has_default and "__init__" not in found.all_members:
            told[name] = f"{told[name].rstrip('.')}. Default: `{value}`."
    return told


def _signature(name: str, function: Any) -> str:
    parts, is_keyword_only = [], False
    for parameter in function.parameters:
        kind = parameter.kind.value
        if parameter.name == "self":
            continue
        if kind == "keyword-only" and not is_keyword_only:
            is_keyword_only = True
            parts.append("*")
        text = ("*" if kind == "variadic positional" else "") + parameter.name
        is_keyword_only = is_keyword_only or text.startswith("*")
        if parameter.annotation is not None:
            text += f": {parameter.annotation}"
        if parameter.default is not None and not text.startswith("*"):
            text += f" = {parameter.default}"
        parts.append(text)
    ending = "" if function.name == "__init__" else f" -> {function.returns}"
    whole = f"{name}({', '.join(parts)}){ending}"
    if len(whole) <= WIDTH:
        return whole
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){ending}"


def _items(title: str, items: dict[str, str]) -> str:
    lines = [f"- `{name}`: {_line(text)}" for name, text in items.items()]
    return f"**{title}:**\n\n" + "\n".join(lines)


def _line(text: str) -> str:
    return " ".join(text.split())


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
