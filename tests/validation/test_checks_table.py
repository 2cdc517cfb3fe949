"""The table of checks: every name has a row, a module and a section of the troubleshooting page."""

from importlib import import_module
from typing import get_args

import pytest

from traitvec_core.experiment import CheckName
from traitvec_core.stage_names import STAGES
from traitvec_core.validation.checks.table import CHECKS


def test_every_check_name_has_a_row() -> None:
    assert set(CHECKS) == set(get_args(CheckName))


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_has_a_module_that_evaluates_it(name: CheckName) -> None:
    check = CHECKS[name]
    assert check.stage in STAGES
    assert check.description.endswith(".")
    assert callable(import_module(f"traitvec_core.validation.checks.{name}").evaluate)


def test_a_stage_that_the_next_one_cannot_do_without_is_blocking() -> None:
    blocking = {name for name, check in CHECKS.items() if check.is_blocking}
    assert blocking == {"definition", "coverage", "sanity"}
