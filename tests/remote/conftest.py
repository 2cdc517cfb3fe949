"""Shorter waits between attempts; their lengths are tested where they are computed."""

import pytest

from traitvec_core.remote import calls


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(calls, "LONGEST_WAIT_S", 0.1)
