"""A language model in this process as the writer."""

import pytest

from tests.writing.conftest import SENTENCE, files
from traitvec_core import LanguageModel, TraitvecError, draft_trait, load_language_model
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.writing import estimate_draft
from traitvec_core.writing.local import LocalWriter
from traitvec_core.writing.writer import Question


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_language_model("embedded")


def test_it_answers_for_nothing_and_with_its_seed(model: LanguageModel) -> None:
    writer = LocalWriter(model)
    first, same, other = (
        writer.ask(Question("What is a good first garden plant?", {}, 12, seed))
        for seed in (0, 0, 1)
    )
    assert first == same
    assert first != other
    assert (first.usd, first.usage.tokens_out > 0) == (0.0, True)
    assert estimate_draft(SENTENCE, writer).usd == 0


def test_a_model_that_cannot_write_ends_in_one_line(
    own_environment: None, model: LanguageModel, experiment: ExperimentFolder
) -> None:
    with pytest.raises(TraitvecError) as failure:
        draft_trait(SENTENCE, LocalWriter(model), experiment=experiment)
    assert "\n" not in str(failure.value)
    assert not [name for name in files(experiment) if not name.startswith(".drafts/")]
