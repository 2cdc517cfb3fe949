"""The config of a run, as the launchpad's editor sees it: typed, described, and safe."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from tests.graph.webserver import LOCATION, SYNCHRONOUS, dagster_webserver, launch_run
from tests.projects import FEW_VECTORS, SmallProject, write_experiment
from traitvec_dagster.graph.owner_overrides import OWNER_SETTINGS

IS_VALID = """query($at: PipelineSelector!, $config: RunConfigData!) {
  isPipelineConfigValid(pipeline: $at, runConfigData: $config, mode: "default") {
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}"""
SCHEMA = """query($at: PipelineSelector!) {
  runConfigSchemaOrError(selector: $at, mode: "default") {
    ... on RunConfigSchema {
      rootDefaultYaml
      rootConfigType { key }
      allConfigTypes {
        key typeParamKeys
        ... on CompositeConfigType { fields { name description isRequired configTypeKey } }
        ... on EnumConfigType { values { value } }
      }
    }
  }
}"""
LAUNCH = """mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on PythonError { message }
  }
}"""
AT = {"pipelineName": "demo_traits", **LOCATION}


class Launchpad:
    """What the launchpad asks of the webserver."""

    def __init__(self, client: httpx.Client, project: SmallProject) -> None:
        self.client = client
        self.project = project

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = self.client.post("/graphql", json={"query": query, "variables": variables})
        data: dict[str, Any] = answer.json()["data"]
        return data

    def errors(self, config: dict[str, Any]) -> list[str]:
        """What the editor says of a config of `overrides`."""
        whole = {"resources": {"overrides": {"config": config}}}
        said = self.ask(IS_VALID, at=AT, config=whole)["isPipelineConfigValid"]
        return [error["message"] for error in said.get("errors", [])]

    def fields(self) -> dict[str, dict[str, Any]]:
        """The fields of `overrides`, by dotted names; what they may hold under `values`."""
        schema = self.ask(SCHEMA, at=AT)["runConfigSchemaOrError"]
        types = {each["key"]: each for each in schema["allConfigTypes"]}
        root = _fields(types, types[schema["rootConfigType"]["key"]])
        prefix = "resources.overrides.config."
        return {
            name.removeprefix(prefix): field
            for name, field in root.items()
            if name.startswith(prefix)
        }

    def runs(self) -> int:
        return self.project.instance.get_runs_count()


def _fields(types: dict[str, Any], of: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    listed: dict[str, Any] = {}
    for field in of.get("fields", []):
        path = f"{prefix}{field['name']}"
        inner = types[field["configTypeKey"]]
        kinds = [inner, *(types[key] for key in inner["typeParamKeys"])]
        values = [value["value"] for kind in kinds for value in kind.get("values", [])]
        listed[path] = {**field, "values": values}
        listed |= _fields(types, inner, f"{path}.")
    return listed


@pytest.fixture(scope="module")
def launchpad(
    tmp_path_factory: pytest.TempPathFactory, own_module_environment: None
) -> Iterator[Launchpad]:
    folder = tmp_path_factory.mktemp("project")
    write_experiment(folder, "demo", ["refusal"], FEW_VECTORS)
    log = tmp_path_factory.mktemp("log") / "webserver.log"
    with SmallProject(folder) as project:
        project.project.enter()
        (folder / ".dagster" / "dagster.yaml").write_text(SYNCHRONOUS)
        project.instance.add_dynamic_partitions("traits/demo", ["refusal"])
        with dagster_webserver(Path(folder), log) as client:
            yield Launchpad(client, project)


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"n_examples": 10}, {"methods": ["mean_diff"], "layers": [1, 2]}, {"layers": "all"},
        {"sampling": {"seed": 7}}, {"batch_size": 4}, {"batch_size": None},
        {"steering": {"evaluate": True, "side_effects": ["refusal"]}},
        {"steering": {"evaluate": None, "side_effects": "auto"}}, {"max_judge_usd": None},
        {"thresholds": {"norm": {"kind": "chance"}}, "severities": {"norm": "warn"}},
        {"judge_model": "embedded", "scorers": {"refusal": "repetition"}, "second_judge": None},
        {"threshold": 40}, {"gradient_penalty": 0.5},
    ],
    ids=str,
)  # fmt: skip
def test_the_editor_takes_what_a_run_may_set(
    launchpad: Launchpad, settings: dict[str, Any]
) -> None:
    assert launchpad.errors({"settings": settings}) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metods": ["mean_diff"]}, 'unexpected config entry "metods"'),
        ({"sampling": {"sed": 1}}, 'unexpected config entry "sed"'),
        ({"thresholds": {"norm": {"min": 1}}}, 'unexpected config entry "min"'),
        ({"severities": {"nrm": "warn"}}, 'unexpected config entry "nrm"'),
        ({"sampling.seed": 1}, 'unexpected config entry "sampling.seed"'),
        ({"methods": ["mean_dif"]}, "settings:methods[0] not in enum type Methods"),
        ({"severities": {"norm": "warning"}}, "settings:severities:norm not in enum type"),
        ({"n_examples": "many"}, "settings:n_examples"),
        ({"n_examples": 1.5}, "settings:n_examples"),
        ({"layers": ["last"]}, "settings:layers[0]"),
        ({"judge_model": "python:scorers.py:words"}, "not in enum type JudgeModel"),
        ({"second_judge": "gpt-6.1-terra"}, "not in enum type SecondJudge"),
        ({"scorers": {"refusal": "org/judge"}}, "not in enum type Scorers"),
        ({"attention": "flash_attention_2"}, "not in enum type Attention"),
    ],
    ids=str,
)
def test_the_editor_refuses_what_is_misspelt_or_not_allowed(
    launchpad: Launchpad, settings: dict[str, Any], said: str
) -> None:
    (error,) = launchpad.errors({"settings": settings})
    assert said in error


def test_the_editor_refuses_stages_that_cannot_be_redone(launchpad: Launchpad) -> None:
    assert launchpad.errors({"redo": ["judged_responses"], "only_missing": True}) == []
    (error,) = launchpad.errors({"redo": ["judged_response"]})
    assert "not in enum type" in error
    assert launchpad.errors({"redo": ["definition"]})


def test_what_overrides_may_not_set_is_not_offered(launchpad: Launchpad) -> None:
    fields = launchpad.fields()
    offered = {name.split(".")[1] for name in fields if name.startswith("settings.")}
    for name, harmless in OWNER_SETTINGS.items():
        if name in offered:
            values = fields[f"settings.{name}"]["values"]
            assert values, name
            assert set(values) <= set(harmless), name
    assert not offered & {
        "judge_base_url", "engine_url", "gradient_objective", "trust_remote_code", "judge_prices",
        "revision", "schedule", "auto_run",
    }  # fmt: skip


def test_every_setting_is_optional_described_and_says_its_default(launchpad: Launchpad) -> None:
    fields = launchpad.fields()
    assert not [name for name, field in fields.items() if field["isRequired"]]
    plain = [name for name in fields if not name.startswith("settings.severities.")]
    assert not [name for name in plain if not fields[name]["description"]]
    n_examples = fields["settings.n_examples"]["description"]
    assert "Responses per pole" in n_examples
    assert "At least 2, at most 1,000,000" in n_examples
    assert n_examples.endswith("Not set: as in experiment.yaml, by default 100.")
    assert "or null for auto" in fields["settings.batch_size"]["description"]
    assert "mean_diff" in fields["settings.methods"]["values"]


def test_an_empty_config_shows_no_value_that_experiment_yaml_decides(launchpad: Launchpad) -> None:
    shown = launchpad.ask(SCHEMA, at=AT)["runConfigSchemaOrError"]["rootDefaultYaml"]
    assert "only_missing: false" in shown
    assert "n_examples" not in shown


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"settings": {"n_examples": 1}}, "n_examples: Input should be greater than or equal to 2"),
        ({"settings": {"layers": "al"}}, "layers: "),
        ({"settings": {"positions": ["response_men"]}}, "unknown position 'response_men'"),
        ({"only_missing": True}, "use it with --redo judged_responses"),
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused_before_there_is_a_run(
    launchpad: Launchpad, config: dict[str, Any], said: str
) -> None:
    before = launchpad.runs()
    params = {
        "selector": {**LOCATION, "jobName": "demo_traits"},
        "runConfigData": {"resources": {"overrides": {"config": config}}},
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "refusal"}]},
    }
    answer = launchpad.ask(LAUNCH, params=params)["launchRun"]
    assert said in answer["message"]
    assert launchpad.runs() == before


@pytest.mark.slow
def test_a_group_keeps_what_only_the_file_says(launchpad: Launchpad) -> None:
    launchpad.project.set(**FEW_VECTORS, sampling={"max_new_tokens": 9, "seed": 3})
    config = {
        "resources": {"overrides": {"config": {"settings": {"sampling": {"seed": 4}}}}},
    }
    stages = [["demo", "definition"], ["demo", "responses"]]
    run_id = launch_run(
        launchpad.client, "demo_traits", {"dagster/partition": "refusal"}, stages, config
    )
    run = launchpad.project.instance.get_run_by_id(str(run_id))
    assert run is not None
    assert run.status == dg.DagsterRunStatus.SUCCESS
    now = {"sampling": {"max_new_tokens": 9, "seed": 4}}
    assert launchpad.project.states("refusal", **now)["responses"] == "fresh"


@pytest.mark.slow
def test_a_run_of_the_command_line_is_recorded_with_its_overrides(launchpad: Launchpad) -> None:
    run = launchpad.project.run("refusal", "responses", **{"sampling.seed": 5})
    assert run.is_success, run.problems
    recorded = launchpad.project.instance.get_run_by_id(run.run_id)
    assert recorded is not None
    assert recorded.tags["traitvec/overrides"] == '{"sampling.seed": 5}'
