"""`docs/api.md` lists every public name; the site shows its docstring."""

import re

import traitvec_core
from tests.projects import REPOSITORY


def test_the_reference_lists_every_public_name_once() -> None:
    page = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
    names = [
        path.rpartition(".")[2] for path in re.findall(r"^::: (traitvec_core\S+)$", page, re.M)
    ]
    assert sorted(names) == sorted(traitvec_core.__all__)
