"""Links from an asset's page to its code and settings: to files, or to their repository on the web.

Dagster's `with_source_code_references` would lead every stage to the same two lines, those of the
function that builds the assets. Here each leads to the core's function that does the work.
"""

import os
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

from traitvec_core.visible_text import visible
from traitvec_dagster.graph.names import Graph

__all__ = ["GIT_BRANCH", "GIT_URL", "source_links"]

GIT_URL, GIT_BRANCH = "TRAITVEC_GIT_URL", "TRAITVEC_GIT_BRANCH"
"""Environment variables: the repository of the project on GitHub or GitLab, and its branch."""

# Dagster's pages know it by this key.
_KEY = "dagster/code_references"
_DEFAULT_BRANCH = "main"
# The folder of each host's pages of a branch.
_TREES = {"github": "tree", "gitlab": "-/tree"}


def source_links(graph: Graph, work: Callable[..., Any]) -> dict[str, Any]:
    """Return an asset's metadata with links to a function, and to the experiment's settings.

    Args:
        graph: The experiment.
        work: The function that does the asset's work.
    """
    code = work.__code__
    files = [(Path(code.co_filename), code.co_firstlineno, work.__name__)]
    settings = graph.folder.settings_path
    if settings.exists():
        files.append((settings, 1, f"{graph.experiment}/{settings.name}"))
    with warnings.catch_warnings():
        # traitvec pins Dagster's minor version, within which beta features do not break.
        warnings.simplefilter("ignore", dg.BetaWarning)
        references = [_reference(graph, *file) for file in files]
        return {_KEY: dg.CodeReferencesMetadataValue(code_references=references)}


def _reference(
    graph: Graph, file: Path, line: int, label: str
) -> dg.LocalFileCodeReference | dg.UrlCodeReference:
    pages = _pages(os.environ.get(GIT_URL), os.environ.get(GIT_BRANCH))
    repository = _repository(graph.root)
    # An installed traitvec is no part of the project's repository, wherever it is installed.
    if pages and file.is_relative_to(repository) and "site-packages" not in file.parts:
        path = file.relative_to(repository).as_posix()
        return dg.UrlCodeReference(url=f"{pages}/{path}#L{line}", label=label)
    return dg.LocalFileCodeReference(file_path=str(file), line_number=line, label=label)


@lru_cache
def _repository(root: str) -> Path:
    """The folder of the repository that holds the experiments; without git, their parent."""
    experiments = Path(root).resolve()
    repositories = (folder for folder in experiments.parents if (folder / ".git").exists())
    return next(repositories, experiments.parent)


@lru_cache
def _pages(url: str | None, branch: str | None) -> str | None:
    """The address below which the files' pages are; None without a usable one."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    host = parts.hostname or ""
    tree = next((tree for name, tree in _TREES.items() if name in host), None)
    if parts.scheme not in {"http", "https"} or tree is None or "@" in parts.netloc:
        shown = "it" if "@" in parts.netloc else visible(url)
        dg.get_dagster_logger().warning(
            f"{GIT_URL}: {shown} is no address of a repository on GitHub or GitLab without a"
            " password, such as https://github.com/ada/traits; source links lead to local files"
        )
        return None
    repository = url.rstrip("/").removesuffix(".git")
    return f"{repository}/{tree}/{branch or _DEFAULT_BRANCH}"
