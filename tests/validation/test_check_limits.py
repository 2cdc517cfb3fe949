"""A check's limits in words are those that it is held against."""

from typing import Any, get_args

import pytest

from traitvec_core.experiment import CheckName, parse_experiment
from traitvec_core.validation.checks.limits import describe_limits


def limits(name: CheckName, **settings: Any) -> str:
    return describe_limits(name, parse_experiment("model: a/b", "mine", "here", settings))


@pytest.mark.parametrize(
    ("name", "settings", "shown"),
    [
        ("contrast", {"thresholds": {"contrast": 31, "contrast_warning": 12}},
         ["above 31", "from 12", "thresholds.contrast_warning"]),
        ("coverage", {"threshold": 61, "min_coherence": 33}, ["from 61", "from 33"]),
        ("agreement", {"thresholds": {"agreement": 0.7}, "threshold": 61}, ["70%", "61"]),
        ("norm", {}, ["from 2 times the norm under swapped labels"]),
        ("norm", {"thresholds": {"norm": {"kind": "absolute"}}}, ["from 15 to 40 in activation"]),
        ("norm", {"thresholds": {"norm": {"kind": "relative", "minimum": 0.1, "maximum": 1.5}}},
         ["from 0.1 to 1.5 of the mean activation norm"]),
        ("accuracy", {"thresholds": {"accuracy": 0.77}}, ["0.77"]),
        ("confounds", {"thresholds": {"share": 0.4, "share_warning": 0.1}}, ["10%", "40%"]),
        ("chance", {"thresholds": {"significance": 0.01}}, ["p = 0.01"]),
        ("stability", {"thresholds": {"stability": 0.8}}, ["0.8"]),
        ("steering", {"thresholds": {"significance": 0.01, "wrong_way": 0.3}}, ["0.01", "30%"]),
        ("contrast", {"severities": {"contrast": "warn"}}, ["only warns (severities.contrast)"]),
        ("norm", {"severities": {"norm": "error"}}, ["would warn fails (severities.norm)"]),
        ("sanity", {"severities": {"sanity": "warn"}}, ["only warns (severities.sanity)"]),
    ],
)  # fmt: skip
def test_the_limits_are_those_of_the_settings(
    name: CheckName, settings: dict[str, Any], shown: list[str]
) -> None:
    assert all(part in limits(name, **settings) for part in shown), limits(name, **settings)


def test_every_check_with_a_setting_has_limits() -> None:
    # Whether a definition can be used and activations are finite, no setting decides.
    without = {name for name in get_args(CheckName) if not limits(name)}
    assert without == {"definition", "sanity"}


def test_the_definitions_threshold_settings_are_all_named() -> None:
    settings = parse_experiment("model: a/b", "mine", "here")
    text = " ".join(describe_limits(name, settings) for name in get_args(CheckName))
    for name in type(settings.thresholds).model_fields:
        assert f"thresholds.{name}" in text
