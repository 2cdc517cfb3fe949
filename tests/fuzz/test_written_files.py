"""Files that people write, mangled: read, or refused by a short message; nothing else."""

import json
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mutations import changed, few, mangled, mangled_json, tried
from tests.projects import DEMO, demo_definition
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
SCORES = b'question_id,trait_score,note\nrefusal_0_pos_0_0,50,\nrefusal_1_neg_0_0,7.5,"a\nb"\n'
KNOWN = {"refusal_0_pos_0_0", "refusal_1_neg_0_0"}


@few(60)
@given(mangled_json(DEFINITION))
def test_definitions(data: bytes) -> None:
    definition = tried(lambda: parse_definition(data, "trait_definition.json"))
    if definition is not None:
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
    text = data.decode("utf-8", "replace")
    settings = tried(lambda: parse_experiment(text, "demo", "experiment.yaml"))
    if settings is not None:
        json.dumps(settings.model_dump(mode="json"), allow_nan=False)


@few(60)
@given(mangled(SCORES))
def test_scores_of_people(data: bytes) -> None:
    scores = tried(lambda: parse_human_scores(data, "human_scores.csv", KNOWN))
    if scores is not None:
        assert scores.keys() <= KNOWN
        assert all(0 <= score <= 100 for score in scores.values())
