"""Files that people write, mangled: read, or refused by a short message; nothing else."""

import json
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mutations import changed, few, mangled, mangled_json
from tests.projects import DEMO, demo_definition
from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.experiment import ExperimentSettings, parse_experiment
from traitvec_core.judging.agreement import parse_human_scores
from traitvec_core.trait import parse_definition

DEFINITION = demo_definition()
# Every setting, with its default, and those that are off by default.
SETTINGS: dict[str, Any] = json.loads(
    ExperimentSettings(
        model="embedded",
        monitoring_prompts=("a", "b"),
        judge_prices={"x": {"input": 1.0, "output": 2.0}},  # type: ignore[dict-item]
        schedule={"cron": "0 3 * * *"},  # type: ignore[arg-type]
        scorers={"own": "scorer.py:f"},  # type: ignore[dict-item]
        max_judge_usd=1.0,
    ).model_dump_json(exclude_none=True)
)
SCORES = b"question_id,trait_score,note\nrefusal_0_pos_0_0,50,\nrefusal_1_neg_0_0,7.5,\"a\nb\"\n"
KNOWN = {"refusal_0_pos_0_0", "refusal_1_neg_0_0"}


def is_short(error: TraitvecError) -> bool:
    """Whether a message is one line that can be read."""
    message = str(error)
    message.encode()
    lines = error.lines if isinstance(error, DefinitionError) else (message,)
    assert all(len(line) < 5000 for line in lines), max(lines, key=len)[:500]
    return "\n" not in message and len(lines) <= 11


@few(60)
@given(mangled_json(DEFINITION))
def test_definitions(data: bytes) -> None:
    try:
        definition = parse_definition(data, "trait_definition.json")
    except TraitvecError as error:
        assert is_short(error)
    else:
        again = parse_definition(json.dumps(definition.model_dump()).encode(), "x")
        assert again.content_hash == definition.content_hash


@st.composite
def settings_files(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(["values", "text", "demo"]))
    if kind == "values":
        value = draw(changed(SETTINGS))
        return yaml.safe_dump(value, allow_unicode=draw(st.booleans())).encode("utf-8", "replace")
    text = yaml.safe_dump(SETTINGS).encode()
    return draw(mangled(text if kind == "text" else (DEMO / "experiment.yaml").read_bytes()))


@few(60)
@given(settings_files())
def test_settings(data: bytes) -> None:
    try:
        settings = parse_experiment(data.decode("utf-8", "replace"), "demo", "experiment.yaml")
    except TraitvecError as error:
        assert is_short(error)
    else:
        json.dumps(settings.model_dump(mode="json"), allow_nan=False)


@few(60)
@given(mangled(SCORES))
def test_scores_of_people(data: bytes) -> None:
    try:
        scores = parse_human_scores(data, "human_scores.csv", KNOWN)
    except TraitvecError as error:
        assert is_short(error)
    else:
        assert scores.keys() <= KNOWN
        assert all(0 <= score <= 100 for score in scores.values())
