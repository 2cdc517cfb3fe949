"""Drift is measured with the filter that the report uses."""

import pandas as pd
import pytest

from tests.projects import SmallProject
from traitvec_core.settings.response_filter import ResponseFilter
from traitvec_core.validation import elicitation
from traitvec_dagster.graph.drift import drift_metadata


def test_drift_applies_the_whole_filter(
    finished: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = finished.settings(pairing="paired", min_coherence=10)
    summarise, filters = elicitation.summarise_responses, []

    def spy(judged: pd.DataFrame, response_filter: ResponseFilter) -> elicitation.Elicitation:
        filters.append(response_filter)
        return summarise(judged, response_filter)

    monkeypatch.setattr(elicitation, "summarise_responses", spy)
    metadata = drift_metadata(finished.trait("refusal"), settings)
    assert metadata["drift_contrast"] == 0
    assert filters == [settings.response_filter]
    assert filters[0].pairing == "paired"
