"""Keys change with everything that determines a result, and with nothing else."""

from pathlib import Path
from typing import Any

import pytest

from traitvec_core.experiment import ExperimentSettings, parse_experiment
from traitvec_core.models.files import model_fingerprint, resolve_model
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages.provenance import result_settings, stage_key, stage_settings
from traitvec_core.storage.provenance import Cost, Provenance, content_hash

STEERED, TRACED = "steering_evaluation", "trait_dynamics"
BASE = ExperimentSettings(model="a/b")


def key(stage: Stage, settings: ExperimentSettings = BASE, **inputs: str) -> str:
    return stage_key(stage, inputs, stage_settings(stage, settings))


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"description": "words"}, set()),
        ({"batch_size": 7}, set()),
        ({"max_concurrent_judges": 7}, set()),
        ({"judge_mode": "batch"}, set()),
        ({"judge_timeout_s": 7}, set()),
        ({"max_judge_usd": 7}, set()),
        ({"judge_prices": {"c/d": {"input": 1, "output": 2}}}, set()),
        ({"model": "c/d"}, {"responses", "activations", STEERED, TRACED}),
        ({"revision": "v2"}, {"responses", "activations", STEERED, TRACED}),
        ({"engine_url": "http://127.0.0.1:8000/v1"}, {"responses"}),
        ({"engine_url": "http://127.0.0.1:8000/v1", "engine_model": "x"}, {"responses"}),
        ({"attention": "eager"}, {"responses", "activations", STEERED, TRACED}),
        ({"quantization": "4bit"}, {"responses", "activations", STEERED, TRACED}),
        ({"trust_remote_code": True}, set()),
        ({"n_examples": 7}, {"responses"}),
        ({"sampling.seed": 7}, {"responses", "vectors", STEERED, TRACED}),
        ({"sampling.top_p": 0.5}, {"responses", STEERED, TRACED}),
        ({"judge_model": "c/d"}, {"judged_responses", STEERED, TRACED}),
        ({"judge_provider": "openai"}, {"judged_responses", STEERED, TRACED}),
        ({"judge_base_url": "http://127.0.0.1/v1"}, {"judged_responses", STEERED, TRACED}),
        ({"also_judge": ["wit"]}, {"judged_responses"}),
        ({"second_judge": "c/d"}, {"judged_responses"}),
        ({"judge_repeats": 2}, {"judged_responses"}),
        ({"agreement_sample": 7}, {"judged_responses"}),
        ({"threshold": 60}, {"activations", "validation_report"}),
        ({"min_coherence": 60}, {"activations", STEERED, "validation_report"}),
        ({"pairing": "paired"}, {"activations", "validation_report"}),
        ({"positions": ["prompt_last"]}, {"activations"}),
        ({"instruction_role": "user"}, {"responses", "activations", STEERED, TRACED}),
        ({"elicitation": "scenarios"}, {"responses", "activations", STEERED, TRACED}),
        ({"probe_penalty": "l1"}, {"vectors"}),
        ({"steering.n_search": 7}, {STEERED}),
        ({"monitoring_prompts": ["Why?"]}, {TRACED}),
        ({"severities": {"norm": "warn"}}, {"validation_report"}),
        ({"methods": ["probe"]}, {"vectors"}),
        ({"layers": [1]}, {"vectors"}),
        ({"scale": "raw"}, {"vectors"}),
        ({"gradient_penalty": 2}, {"vectors"}),
        ({"thresholds.accuracy": 0.5}, {"validation_report"}),
    ],
)
def test_a_setting_changes_its_own_stages(changes: dict[str, Any], stages: set[str]) -> None:
    changed = parse_experiment("model: a/b", "mine", "here", changes)
    assert {stage for stage in STAGES if key(stage, changed) != key(stage)} == stages


def test_every_setting_that_matters_belongs_to_a_stage() -> None:
    free = {
        "description", "owners", "batch_size", "max_concurrent_judges",
        "judge_mode", "judge_timeout_s", "max_judge_usd", "judge_prices",
        "engine_url", "engine_model", "engine_reads", "tensor_parallel", "max_model_len",
        "trust_remote_code", "auto_run", "schedule", "follow_data_versions",
        # What they name for a trait is among the stage's inputs, so other traits stay fresh.
        "scorers", "coherence_judge", "judge_preflight", "accepted",
    }  # fmt: skip
    taken = result_settings()
    assert taken == set(ExperimentSettings.model_fields) - free


def test_keys_follow_inputs_and_stage() -> None:
    assert key("vectors", activations="a") != key("vectors", activations="b")
    assert key("vectors", activations="a") != key("vectors", responses="a")
    assert key("vectors", a="1", b="2") == key("vectors", b="2", a="1")
    assert len({stage_key(stage, {}, {}) for stage in STAGES}) == len(STAGES)


@pytest.mark.parametrize("is_complete", [True, False])
def test_provenance_survives_json(is_complete: bool) -> None:
    made = Provenance(
        stage="vectors", key="k", inputs={"a": "b"}, settings={"layers": [1, 2]},
        is_complete=is_complete,
    )  # fmt: skip
    again = Provenance.model_validate_json(made.model_dump_json())
    assert again == made
    assert {"python", "torch", "transformers", "numpy", "scikit-learn"} <= set(made.versions)
    assert made.created_at.endswith("+00:00")
    assert content_hash("é") == content_hash("é".encode())


def test_what_was_written_before_stages_could_be_partial_is_complete() -> None:
    whole = Provenance(stage="vectors", key="k", inputs={}, settings={}).model_dump(mode="json")
    del whole["is_complete"]
    assert Provenance.model_validate(whole).is_complete


def test_costs_add_up_and_an_unknown_price_stays_unknown() -> None:
    paid = Cost(seconds=1, tokens_in=2, tokens_out=3, usd=0.5)
    assert paid + paid == Cost(seconds=2, tokens_in=4, tokens_out=6, usd=1.0)
    assert sum([paid, Cost(tokens_in=1)], Cost()) == Cost(
        seconds=1, tokens_in=3, tokens_out=3, usd=0.5
    )
    assert (paid + Cost(tokens_in=5, usd=None)).usd is None
    assert (paid + Cost(tokens_in=5, usd=None)).tokens_in == 7


def test_a_folders_fingerprint_follows_its_content(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = model_fingerprint(str(tmp_path))
    (tmp_path / "notes.txt").write_text("nothing a model reads")
    assert model_fingerprint(str(tmp_path)) == first
    (tmp_path / "config.json").write_text('{"a": 1}')
    second = model_fingerprint(str(tmp_path))
    assert second != first
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    third = model_fingerprint(str(tmp_path))
    assert third not in (first, second)
    (tmp_path / "chat_template.jinja").write_text("x")
    assert model_fingerprint(str(tmp_path)) not in (first, second, third)


def test_a_hub_names_fingerprint_follows_name_and_revision() -> None:
    assert resolve_model("org/name") == "org/name"
    assert Path(resolve_model("embedded")).name == "model"
    asked = (("org/name", None), ("org/name", "v2"), ("org/other", None))
    found = [model_fingerprint(name, revision) for name, revision in asked]
    assert len(set(found)) == 3
    assert model_fingerprint("org/name") == found[0]


def test_a_setting_that_came_later_is_recorded_only_where_it_differs() -> None:
    told = ExperimentSettings(model="a/b", elicitation="scenarios")
    assert stage_settings("responses", told)["elicitation"] == "scenarios"
    # Results of the version before the setting stay fresh.
    assert "elicitation" not in stage_settings("responses", BASE)
