"""What the documentation names exists: pages, places, commands, tests, figures, dependencies."""

import json
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.projects import REPOSITORY, demo_definition
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.validation.checks.table import CHECKS, evaluate_check
from traitvec_dagster.cli.main import app

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
# Fences may be indented, inside a list.
FENCE = re.compile(r"^ *(```+)[^\n]*\n(.*?)^ *\1", re.M | re.S)
CODE = re.compile(r"`([^`\n]+)`")


def prose(page: Path) -> str:
    """A page without its code blocks: an example is no link and no heading."""
    return FENCE.sub("", page.read_text())


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        # The second heading of a name gets a number.
        n = sum(1 for other in found if re.fullmatch(re.escape(slug) + r"(-\d+)?", other))
        found.add(slug if slug not in found else f"{slug}-{n}")
    return found


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    text = CODE.sub("", prose(page))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(found), f"{page.name}: {target}"


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(docs/(\w+\.md)", prose(REPOSITORY / "README.md")))
    # The pages that one page of the readme's leads to count as well.
    for name in tuple(linked):
        linked |= set(re.findall(r"\]\((\w+\.md)", prose(REPOSITORY / "docs" / name)))
    assert not {page.name for page in PAGES if page.parent.name == "docs"} - linked


# -- commands ---------------------------------------------------------------------------------


def commands(page: Path) -> list[str]:
    """Every command line of ours on a page, in blocks and in sentences."""
    text = page.read_text()
    lines = [line.strip() for _, block in FENCE.findall(text) for line in block.splitlines()]
    lines += CODE.findall(FENCE.sub("", text))
    return [line.removeprefix("$ ") for line in lines if re.match(r"(\$ )?traitvec [a-z-]", line)]


@cache
def cli() -> Any:
    return typer.main.get_command(app)


@each_page
def test_every_command_line_can_be_parsed(page: Path) -> None:
    for line in commands(page):
        # `…` and capitals stand for what the reader fills in.
        words = [w for w in shlex.split(line, comments=True)[1:] if w not in {"…", "..."}]
        command, called = cli(), ["traitvec"]
        while words and hasattr(command, "commands") and not words[0].startswith("-"):
            assert words[0] in command.commands, f"{page.name}: {line}"
            command = command.commands[words[0]]
            called.append(words.pop(0))
        known = {option for param in command.params for option in param.opts} | {"--help"}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= known, f"{page.name}: {line}: `{' '.join(called)}` has no {given - known}"


def test_whole_examples_are_accepted() -> None:
    """Blocks hold what is typed as it stands: the parser must take it, values and all."""
    accepted = 0
    for page in PAGES:
        for _, block in FENCE.findall(page.read_text()):
            for line in block.splitlines():
                if not line.startswith("traitvec ") or "…" in line or "|" in line:
                    continue
                _, name, *words = shlex.split(line, comments=True)
                command = cli().commands[name]
                if hasattr(command, "commands"):
                    command, words = command.commands[words[0]], words[1:]
                command.make_context(name, words)
                accepted += 1
    assert accepted > 10


@each_page
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.M))
    lines = [line for _, block in FENCE.findall(page.read_text()) for line in block.splitlines()]
    for code in (*lines, *CODE.findall(prose(page))):
        if named := re.match(r"make ([a-z-]+)", code.strip()):
            assert named[1] in targets, f"{page.name}: {code}"


# -- claims -----------------------------------------------------------------------------------


@each_page
def test_every_test_that_is_named_exists(page: Path) -> None:
    for file, name in re.findall(r"\b(tests/[\w/]+\.py)(?:::(\w+))?", page.read_text()):
        assert (REPOSITORY / file).exists(), f"{page.name}: {file}"
        if name:
            source = (REPOSITORY / file).read_text()
            assert re.search(rf"^(async )?def {name}\(", source, re.M), f"{page.name}: {name}"


@each_page
def test_every_quoted_figure_is_the_measured_one(page: Path) -> None:
    measured = json.loads((REPOSITORY / "benchmarks" / "results.json").read_text())["figures"]
    values = {figure["figure"]: figure["value"] for figure in measured}
    tables = re.findall(r"^\| figure \| value \|\n\|[- |]+\|\n((?:\|.*\n)+)", prose(page), re.M)
    for row in "".join(tables).splitlines():
        name, value = (cell.strip() for cell in row.strip("|").rsplit("|", 1))
        digits = len(value.partition(".")[2])
        assert f"{values[name]:.{digits}f}" == value, f"{page.name}: {name}"


def test_the_comparison_quotes_figures_and_names_tests() -> None:
    text = (REPOSITORY / "docs" / "comparison.md").read_text()
    assert "| figure | value |" in text
    assert len(set(re.findall(r"tests/[\w/]+\.py::\w+", text))) > 20


def test_every_dependency_has_a_line() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[<>=]", name)[0] for name in project["dependencies"]}
    page = (REPOSITORY / "docs" / "dependencies.md").read_text().partition("## Extras")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", page, re.M)) == wanted


def house_rows(page: Path) -> list[str]:
    """The rows of a page's table from a wish to the file to open."""
    table = page.read_text().partition("| your wish | open |\n| --- | --- |\n")[2]
    return table.partition("\n\n")[0].splitlines()


def test_every_path_of_the_house_exists() -> None:
    rows = house_rows(REPOSITORY / "docs" / "architecture.md")
    paths = [path for row in rows for path in re.findall(r"`([\w.]+/[\w./]*)`", row)]
    assert len(paths) > 60
    assert not [path for path in paths if not (REPOSITORY / path).exists()]
    # A bare file name would escape the check above.
    bare = set(re.findall(r"`([\w]+\.py)`", "\n".join(rows)))
    assert not bare, "write the whole path"


@pytest.mark.parametrize(
    ("wish", "path"),
    [
        ('"the norm check is too strict"', "traitvec_core/validation/checks/norm.py"),
        ("another vector method", "traitvec_core/vectors/methods.py"),
        ("another judge provider", "traitvec_core/judging/providers/table.py"),
        ("a new stage", "traitvec_core/stage_names.py"),
    ],
)
def test_a_newcomers_wish_leads_to_its_file(wish: str, path: str) -> None:
    (row,) = [
        row
        for row in house_rows(REPOSITORY / "docs" / "architecture.md")
        if row.startswith(f"| {wish} |")
    ]
    assert f"`{path}`" in row


# -- from the code to the docs ------------------------------------------------------------------


def test_every_check_has_its_place_in_troubleshooting(tmp_path: Path) -> None:
    page = REPOSITORY / "docs" / "troubleshooting.md"
    sections = {check.troubleshooting for check in CHECKS.values()}
    assert len(sections) == len(CHECKS)
    assert sections <= anchors(page)
    settings = ExperimentSettings(model="embedded")
    trait = ExperimentFolder(tmp_path, "mine").trait("refusal")
    for check in CHECKS:
        found = evaluate_check(check, trait, settings)
        section = "broken-definitions" if check == "definition" else "stale-results"
        assert (found.verdict, section in anchors(page)) == ("fail", True)
        assert found.advice.endswith(f"See docs/troubleshooting.md#{section}.")
    trait.path.mkdir(parents=True)
    definition = demo_definition()
    trait.definition_path.write_text(json.dumps(definition))
    assert evaluate_check("definition", trait, settings).advice == ""
    trait.definition_path.write_text(json.dumps({**definition, "questions": ["Why?", "How?"]}))
    warned = evaluate_check("definition", trait, settings)
    assert (warned.verdict, warned.advice) == (
        "warn",
        "See docs/troubleshooting.md#broken-definitions.",
    )


def test_every_page_and_place_that_the_code_names_exists() -> None:
    sources = [
        path
        for package in ("traitvec_core", "traitvec_dagster")
        for path in (REPOSITORY / package).rglob("*")
        if path.suffix in {".py", ".j2", ".yaml"}
    ]
    named = {
        (path.name, *found)
        for path in sources
        for found in re.findall(r"\bdocs/(\w+\.md)(?:#([a-z0-9-]+))?", path.read_text())
    }
    assert any(anchor for _, _, anchor in named)
    for source, file, anchor in named:
        page = REPOSITORY / "docs" / file
        assert page.exists(), f"{source}: {file}"
        assert not anchor or anchor in anchors(page), f"{source}: {file}#{anchor}"
