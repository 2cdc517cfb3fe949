"""experiment.yaml: valid settings, and the errors for invalid ones."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.experiment import (
    ExperimentSettings,
    JudgePrice,
    Schedule,
    infer_model,
    parse_experiment,
    scaffold_experiment,
)

WHERE = "experiments/mine/experiment.yaml"


def parse(text: str, experiment: str = "mine", **overrides: Any) -> ExperimentSettings:
    return parse_experiment(text, experiment, WHERE, overrides)


def problems_of(text: str, overrides: dict[str, Any] | None = None) -> tuple[str, ...]:
    with pytest.raises(DefinitionError) as error:
        parse_experiment(text, "mine", WHERE, overrides)
    assert error.value.where == WHERE
    for problem in error.value.problems:
        assert "\n" not in problem
        assert len(problem) < 1_000
    return error.value.problems


@pytest.mark.parametrize(
    ("prompts", "problem"),
    [
        ('["Why?", " "]', "monitoring_prompts: contains an empty prompt; remove it"),
        ('["Why?", "Why?"]', "monitoring_prompts: lists a prompt twice; remove one"),
        ("[1]", "monitoring_prompts.0: Input should be a valid string"),
        ("Why?", "monitoring_prompts: must be a list, such as [one, two]"),
    ],
)
def test_monitoring_prompts_ask_something(prompts: str, problem: str) -> None:
    assert problems_of(f"model: a/b\nmonitoring_prompts: {prompts}") == (problem,)


def test_the_promised_defaults() -> None:
    found = parse("", "gemma_2b_cognitive")
    assert found.model == "google/gemma-2-2b-it"
    assert found.judge_model == "gpt-6.1-terra"
    assert found.n_examples == 100
    assert found.threshold == 50
    assert found.methods == ("mean_diff", "probe", "ica", "gradient")
    assert found.layers == "all"
    assert found.scale == "separation"
    assert found.thresholds.contrast == 40
    assert found.thresholds.contrast_warning == 20
    assert found.thresholds.accuracy == 0.90
    assert found.thresholds.norm.kind == "chance"
    assert (found.thresholds.norm.minimum, found.thresholds.norm.maximum) == (2, None)
    absolute = parse("model: a\nthresholds: {norm: {kind: absolute}}").thresholds.norm
    assert (absolute.minimum, absolute.maximum) == (15, 40)


@pytest.mark.parametrize(
    ("experiment", "model"),
    [
        ("gemma_2b_cognitive", "google/gemma-2-2b-it"),
        ("gemma_2b", "google/gemma-2-2b-it"),
        ("gemma_9b_x", "google/gemma-2-9b-it"),
        ("llama_8b_x", "meta-llama/Llama-3.1-8B-Instruct"),
        ("gemma_2bx", None),
        ("my_gemma_2b_x", None),
        ("mine", None),
        ("", None),
    ],
)
def test_models_follow_from_names(experiment: str, model: str | None) -> None:
    assert infer_model(experiment) == model


@pytest.mark.parametrize("text", ["", "# nothing\n", "model:", "model: ''", "n_examples: 5"])
def test_no_model_is_an_error_and_no_silent_default(text: str) -> None:
    with pytest.raises(TraitvecError) as error:
        parse(text)
    assert WHERE in str(error.value)
    assert "model:" in str(error.value)
    assert "\n" not in str(error.value)
    assert parse(f"{text}\nmodel: a/b" if "model" not in text else "model: a/b").model == "a/b"


def test_a_named_model_wins_over_the_inferred_one() -> None:
    assert parse("model: embedded", "gemma_2b_x").model == "embedded"
    assert parse("model: embedded", "gemma_2b_x", model="a/b").model == "a/b"


def test_groups_keep_their_other_defaults() -> None:
    found = parse(
        "model: a\nsampling: {seed: 5}\n"
        "thresholds: {norm: {kind: relative, maximum: 1, minimum: 0.1}}"
    )
    assert found.sampling.seed == 5
    assert found.sampling.temperature == 0.7
    assert found.thresholds.norm.kind == "relative"
    assert found.thresholds.contrast == 40


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n_example: 5", "n_example: no such setting; did you mean n_examples?"),
        ("seed: 5", "seed: no such setting; did you mean sampling.seed?"),
        ("qqqq: 5", "qqqq: no such setting; available: "),
        (
            "sampling: {temprature: 1}",
            "sampling.temprature: no such setting; did you mean sampling.temperature?",
        ),
        ("thresholds: {norm: {min: 1}}", "thresholds.norm.min: no such setting"),
        ("n_examples: 1", "n_examples: "),
        ("n_examples: many", "n_examples: "),
        ("threshold: 101", "threshold: "),
        ("threshold: .nan", "threshold: "),
        ("threshold: -1", "threshold: "),
        ("gradient_penalty: .inf", "gradient_penalty: "),
        ("gradient_penalty: .nan", "gradient_penalty: "),
        ("gradient_penalty: -0.1", "gradient_penalty: "),
        ("sampling: {temperature: -1}", "sampling.temperature: "),
        ("sampling: {top_p: 0}", "sampling.top_p: "),
        ("sampling: {max_new_tokens: 0}", "sampling.max_new_tokens: "),
        ("sampling: {seed: -1}", "sampling.seed: "),
        ("sampling: hot", "sampling: "),
        ("sampling: [1]", "sampling: "),
        ("methods: []", "methods: "),
        ("methods: [probe, probe]", "methods: lists a method twice; remove one"),
        ("methods: [magic]", "methods.0: "),
        ("methods: probe", "methods: "),
        ("layers: []", "layers: "),
        ("layers: [1, 1]", "layers: must be distinct"),
        ("layers: [-1]", "layers: must be distinct"),
        ("layers: some", "layers: "),
        ("batch_size: 0", "batch_size: "),
        ("dtype: int8", "dtype: "),
        ("scale: big", "scale: "),
        ("instruction_role: admin", "instruction_role: "),
        ("model: [a]", "model: "),
        ("model: 5", "model: "),
        ("thresholds: {accuracy: 90}", "thresholds.accuracy: "),
        (
            "thresholds: {norm: {kind: absolute, minimum: 50}}",
            "thresholds.norm: minimum 50.0 is not below",
        ),
        ("thresholds: {norm: {kind: []}}", "thresholds.norm.kind: "),
        ("5: x", "5: "),
        ("judge_mode: slow", "judge_mode: "),
        ("judge_provider: google", "judge_provider: "),
        ("judge_timeout_s: 0", "judge_timeout_s: "),
        ("max_judge_usd: -1", "max_judge_usd: "),
        ("max_judge_usd: .inf", "max_judge_usd: "),
        ("max_concurrent_judges: 0", "max_concurrent_judges: "),
        ("judge_prices: {own: {input: 1}}", "judge_prices.own.output: "),
        ("judge_prices: {own: {input: -1, output: 1}}", "judge_prices.own.input: "),
        ("judge_prices: {own: {input: 1, output: 1, batch: 2}}", "judge_prices.own.batch: "),
        (
            "judge_base_url: here",
            "judge_base_url: is not a valid address; write one such as http://127.0.0.1",
        ),
        (
            "judge_base_url: 'http://\u0430pi.openai.com/v1'",
            "judge_base_url: contains letters outside",
        ),
        ("judge_base_url: 'http://a.b\\c.d/v1'", "judge_base_url: is not a valid address"),
        (f"engine_url: http://a.b/{'v' * 400}", "engine_url: is longer than 300 characters"),
        (f"judge_model: python:{'a' * 300}.py:f", "judge_model: a scorer's path is longer than"),
        ("judge_base_url: ftp://a.b/v1", "judge_base_url: is not a valid address"),
        ("judge_base_url: 'http://[::1/v1'", "judge_base_url: is not a valid address"),
        ("judge_base_url: https://me:secret@a.b/v1", "judge_base_url: contains a key"),
        ("judge_base_url: https://a.b/v1?key=secret", "judge_base_url: contains a key"),
        ("second_judge: ''", "second_judge: "),
        ("judge_repeats: -1", "judge_repeats: "),
        ("agreement_sample: 2", "agreement_sample: "),
        ("also_judge: [wit, wit]", "also_judge: lists a trait twice; remove one"),
        ("also_judge: [coherence]", "also_judge: trait name 'coherence'"),
        ("also_judge: [../x]", "also_judge: trait name '../x' cannot be used"),
        ("thresholds: {agreement: 85}", "thresholds.agreement: "),
    ],
)
def test_settings_that_cannot_be_used_are_named(text: str, expected: str) -> None:
    whole = text if text.startswith("model") else f"model: a\n{text}"
    problems = problems_of(whole)
    assert any(problem.startswith(expected) for problem in problems), problems


def test_a_secret_in_an_address_is_not_repeated() -> None:
    problems = problems_of("model: a\njudge_base_url: https://me:hunter2@a.b/v1")
    assert "hunter2" not in "".join(problems)


def test_a_price_of_a_call() -> None:
    price = JudgePrice(input=1, output=2, cached=0.1)
    assert price.usd(1_000_000, 500_000) == pytest.approx(2.0)
    assert price.usd(1_000_000, 0, cached=1_000_000) == pytest.approx(0.1)
    # What is cached costs as much as the rest, unless it is said to be cheaper.
    assert JudgePrice(input=1, output=2).usd(10**6, 0, cached=10**6) == pytest.approx(1.0)


def test_all_problems_are_listed_at_once() -> None:
    problems = problems_of(
        "model: a\nn_examples: 1\nthreshold: 200\nsampling: {top_p: 2}\nnonsense: 1"
    )
    assert len(problems) == 4


def test_overrides_take_the_files_place() -> None:
    text = "model: a\nn_examples: 10\nsampling: {seed: 5, temperature: 0}"
    overrides = {
        "n_examples": 20,
        "sampling.seed": 6,
        "thresholds.norm.kind": "absolute",
        "layers": [0, 2],
    }
    found = parse_experiment(text, "mine", WHERE, overrides)
    assert found.n_examples == 20
    assert found.sampling.seed == 6
    assert found.sampling.temperature == 0
    assert found.thresholds.norm.kind == "absolute"
    assert found.layers == (0, 2)
    for text in ("model: a\nsampling:", "model: a\nsampling: 5"):
        assert parse_experiment(text, "mine", WHERE, {"sampling.seed": 6}).sampling.seed == 6


def test_overrides_are_checked_like_the_file() -> None:
    assert problems_of("model: a", {"samplin.seed": 1})[0].startswith("samplin: no such setting")
    assert problems_of("model: a", {"sampling.sed": 1})[0].startswith("sampling.sed: no such")
    assert problems_of("model: a", {"n_examples": 0})[0].startswith("n_examples: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: [a", "is not valid YAML"),
        ("model: a\n\tb: c", "is not valid YAML"),
        ("a: b: c", "is not valid YAML"),
        ("model: \0", "is not valid YAML"),
        ("model: a\nmethods: &x [*x", "uses the alias *x in line 2; write its value out"),
        ("model: *nowhere", "uses the alias *nowhere in line 1"),
        ("model: a\nmodel: b", "has the key 'model' twice, in lines 1 and 2"),
        ("model: a\nsampling: {seed: 1, seed: 2}", "has the key 'seed' twice"),
        ("model: !!int ''", "a value cannot be read"),
        ("description: '" + "x" * 300_000, "the limit is 256,000"),
        ("{[1]: 2}", "is not valid YAML"),
        ("when: 2024-99-99", "is not valid YAML"),
        ("- model: a", "must be a YAML mapping"),
        ("just text", "must be a YAML mapping"),
        ("5", "must be a YAML mapping"),
        ("[" * 20_000, "nested too deeply"),
        ("--- {model: a}\n--- {model: b}", "is not valid YAML"),
    ],
)
def test_files_that_are_no_settings(text: str, expected: str) -> None:
    (problem,) = problems_of(text)
    assert expected in problem


@pytest.mark.parametrize(
    "text",
    [
        "model: !!python/object/apply:os.system ['touch /tmp/never']",
        "!!python/object/new:type {}",
        "model: !unknown a",
    ],
)
def test_tags_make_nothing(text: str) -> None:
    (problem,) = problems_of(text)
    assert "is not valid YAML" in problem


def test_a_bomb_of_anchors_goes_off_quietly() -> None:
    lines = ["model: a", "a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    for key in ("description", "methods", "layers", "sampling", "model"):
        given = [line for line in lines if not line.startswith(f"{key}:")]
        problems = problems_of("\n".join([*given, f"{key}: *a8"]))
        assert sum(len(problem) for problem in problems) < 20_000


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(
    st.dictionaries(st.sampled_from(sorted(ExperimentSettings.model_fields)), _VALUES, max_size=4)
)
def test_any_values_give_settings_or_our_own_error(raw: dict[str, Any]) -> None:
    text = yaml.safe_dump(raw)
    try:
        found = parse(text, "gemma_2b_x")
    except TraitvecError as error:
        assert WHERE in str(error)  # noqa: PT017
    else:
        # What was accepted survives a round trip, so that it can be hashed and stored.
        again = ExperimentSettings.model_validate_json(found.model_dump_json())
        assert again == found


def test_the_form_is_a_usable_file_and_shows_the_defaults() -> None:
    text = scaffold_experiment("a/b", "embedded", "What: 'this' is #1")
    found = parse(text)
    assert (found.model, found.judge_model) == ("a/b", "embedded")
    assert found.description == "What: 'this' is #1"
    head, body = text.split("remove the '#' to change it.\n")
    uncommented = "".join(line.removeprefix("# ") + "\n" for line in body.splitlines())
    raw = yaml.safe_load(uncommented)
    # What is off by default is shown with an example.
    off = {name for name in raw if getattr(found, name) is None}
    assert off <= {
        "coherence_judge", "judge_base_url", "max_judge_usd", "second_judge", "engine_url",
        "engine_model", "schedule", "second_elicitation",
    }  # fmt: skip
    examples = {name: raw[name] for name in off} | {"schedule": Schedule(**raw["schedule"])}
    assert parse(f"{head}\n{uncommented}") == found.model_copy(
        # An address alone says that a server generates.
        update={"engine": "server", **examples}
    )
    # Every other line of the form was a setting, written as it is by default.
    assert {"n_examples", "methods", "sampling", "thresholds"} <= set(raw)


def test_a_seed_that_a_library_would_refuse_is_refused_at_once() -> None:
    (problem,) = problems_of(f"model: a\nsampling: {{seed: {2**32}}}")
    assert problem.startswith("sampling.seed: ")
    assert parse_experiment(f"model: a\nsampling: {{seed: {2**32 - 1}}}", "mine", WHERE)


def test_warnings_are_accepted_by_trait_and_check_with_a_reason() -> None:
    found = parse("model: a/b\naccepted: {verbosity: {confounds: it is about length}}")
    assert found.accepted_of("verbosity") == {"confounds": "it is about length"}
    assert found.accepted_of("other") == {}


@pytest.mark.parametrize(
    ("accepted", "problem"),
    [
        ("{verbosity: {chance: why}}", "a warning of chance cannot be accepted"),
        ("{verbosity: {confounds: ' '}}", "verbosity.confounds has no reason"),
        (f"{{verbosity: {{norm: {'x' * 301}}}}}", "is 301 characters long; the limit is 300"),
        ("{../escaped: {norm: why}}", "../escaped"),
        ("{verbosity: {shape: why}}", "accepted.verbosity.shape"),
        ("{confounds: why}", "accepted.confounds"),
    ],
)
def test_what_cannot_be_accepted(accepted: str, problem: str) -> None:
    (line,) = problems_of(f"model: a/b\naccepted: {accepted}")
    assert problem in line
