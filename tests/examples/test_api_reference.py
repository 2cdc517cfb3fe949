"""The API reference lists every public name, once, by the place where it is defined."""

import re
from importlib import import_module

import traitvec_core
from tests.projects import REPOSITORY


def test_every_public_name_is_in_the_reference() -> None:
    page = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
    paths = re.findall(r"^::: ([\w.]+)$", page, re.M)
    names = [path.rpartition(".")[2] for path in paths]
    assert sorted(names) == sorted(traitvec_core.__all__)
    for path, name in zip(paths, names, strict=True):
        module = import_module(path.rpartition(".")[0])
        assert getattr(module, name) is getattr(traitvec_core, name), path
