"""What examples and library stand on: small results, made once by the examples' own helper."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projects import REPOSITORY
from traitvec_core import LanguageModel, load_language_model

EXAMPLES = REPOSITORY / "examples"


@pytest.fixture(scope="session")
def small_results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three traits of the demo as `demo_results` makes them where `make demo` has not run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        patch.setenv("TRAITVEC_EXPERIMENTS", str(tmp_path_factory.mktemp("nothing")))
        patch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("small")))
        from demo_results import demo_results

        made = demo_results("refusal", "uncertainty", "verbosity")
        patch.setenv("TRAITVEC_EXPERIMENTS", str(made))
        assert demo_results("refusal", "uncertainty", "verbosity") == made, "what is there is kept"
        yield made
    del sys.modules["demo_results"]


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    return load_language_model("embedded")
