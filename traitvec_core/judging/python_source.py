"""A hash of the Python code that a file executes when it is imported; nothing is executed."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["source_hash"]


def source_hash(path: Path, also: Iterable[Path] = (), folder: Path | None = None) -> str:
    """Return a hash of a Python file and of the files beside it that it imports, directly or not.

    Import statements are read from the source. Packages that are installed, modules imported by
    computed names, and data files are not covered.

    Args:
        path: The file.
        also: More files of the folder, which are covered with what they import.
        folder: Where imports are looked up; by default the file's own folder.
    """
    if folder is None:
        # A link inside the experiment imports what lies beside the file that it leads to.
        path = path.resolve()
        folder = path.parent
    sources: dict[str, bytes] = {}
    waiting = [path, *also]
    while waiting:
        file = waiting.pop()
        name = file.relative_to(folder).as_posix()
        if name in sources or not file.is_file():
            continue
        sources[name] = file.read_bytes()
        package = file.parent.relative_to(folder).parts
        waiting += [
            place
            for module in _imported(sources[name], package)
            for place in _places(folder, module)
        ]
    digest = hashlib.sha256()
    for name, data in sorted(sources.items()):
        digest.update(f"{name}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def _imported(source: bytes, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The modules that import statements name, as parts of names from the folder on."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: max(0, len(package) + 1 - node.level)] if node.level else ()
            module = (*above, *(node.module.split(".") if node.module else ()))
            yield module
            yield from ((*module, alias.name) for alias in node.names)


def _places(folder: Path, module: tuple[str, ...]) -> Iterator[Path]:
    """The files that importing a module of this folder executes."""
    for length in range(1, len(module) + 1):
        place = folder.joinpath(*module[:length])
        yield place / "__init__.py"
        yield place.with_name(f"{place.name}.py")
