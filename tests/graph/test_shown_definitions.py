"""What an asset's page shows before anything has run: owners, source links, columns, files."""

import csv
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.graph.webserver import dagster_webserver
from tests.projects import REPOSITORY, SmallProject, write_experiment
from traitvec_core.errors import DefinitionError
from traitvec_core.stage_names import STAGES
from traitvec_dagster.definitions import build_definitions

OWNERS = ["team:interp", "ada@example.org"]
ASKED = """query($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode {
    owners { ... on UserAssetOwner { email } ... on TeamAssetOwner { team } }
    metadataEntries {
      label
      ... on TextMetadataEntry { text }
      ... on TableSchemaMetadataEntry { schema { columns {
        name type description constraints { nullable }
      } } }
      ... on CodeReferencesMetadataEntry { codeReferences {
        ... on LocalFileCodeReference { filePath lineNumber label }
        ... on UrlCodeReference { url label }
      } }
    }
  } }
}"""


def specs_of(project: SmallProject) -> dict[str, dg.AssetSpec]:
    project.project.enter()
    specs = build_definitions().resolve_all_asset_specs()
    return {"/".join(spec.key.path[1:]): spec for spec in specs}


def references(spec: dg.AssetSpec) -> dict[str | None, Any]:
    found: Any = spec.metadata["dagster/code_references"]
    return {reference.label: reference for reference in found.code_references}


def described(project: SmallProject, check: str) -> str:
    project.project.enter()
    graph = build_definitions().get_repository_def().asset_graph
    (key,) = [key for key in graph.asset_check_keys if key.name == check]
    return str(graph.get(key).description)


@pytest.mark.slow
def test_the_page_shows_owners_columns_files_and_code(
    finished_folder: Path, finished: SmallProject, tmp_path: Path
) -> None:
    finished.set(owners=OWNERS, also_judge=["uncertainty"])
    finished.project.enter()
    with dagster_webserver(finished.folder, tmp_path / "webserver.log") as client:
        key = {"path": ["demo", "judged_responses"]}
        answer = client.post("/graphql", json={"query": ASKED, "variables": {"key": key}}).json()
    page = answer["data"]["assetNodeOrError"]
    assert page["owners"] == [{"team": "interp"}, {"email": "ada@example.org"}]
    shown = {entry["label"]: entry for entry in page["metadataEntries"]}
    assert shown["dagster/uri"]["text"] == "experiments/demo/{trait}/responses/{pos,neg}.csv"
    code, settings = shown["dagster/code_references"]["codeReferences"]
    first_line = Path(code["filePath"]).read_text().splitlines()[code["lineNumber"] - 1]
    assert first_line.startswith("def make_judged_responses(")
    assert Path(settings["filePath"]) == finished.graph().folder.settings_path
    columns = {each["name"]: each for each in shown["dagster/column_schema"]["schema"]["columns"]}
    assert all(each["description"] for each in columns.values())
    nullable = {name for name, each in columns.items() if each["constraints"]["nullable"]}
    assert nullable == {"trait_score", "coherence_score", "uncertainty_score"}


def test_the_columns_are_those_of_the_files(finished: SmallProject) -> None:
    specs = specs_of(finished)
    for stage, name in (("responses", "raw_pos.csv"), ("judged_responses", "neg.csv")):
        schema = specs[stage].metadata["dagster/column_schema"]
        with (finished.trait("refusal").path / "responses" / name).open() as file:
            header = next(csv.reader(file))
        columns = [column.name for column in schema.columns]
        # This model does not think.
        assert [name for name in columns if name != "thinking"] == header
        frame = finished.trait("refusal").read_responses(stage)  # type: ignore[arg-type]
        kinds = {"O": "string", "i": "int", "f": "float"}
        for column in schema.columns:
            if column.name in frame:
                assert kinds[frame[column.name].dtype.kind] == column.type
        (made,) = finished.materializations(stage, "refusal")  # type: ignore[arg-type]
        assert made.metadata["dagster/row_count"].value == len(frame)


def test_owners_are_on_every_asset_and_optional(empty: SmallProject) -> None:
    assert {tuple(spec.owners) for spec in specs_of(empty).values()} == {()}
    empty.set(owners=OWNERS)
    assert {tuple(spec.owners) for spec in specs_of(empty).values()} == {tuple(OWNERS)}


@pytest.mark.parametrize(
    "owner", ["team:interp", "team:a-b_c.d e", "ada@example.org", "a.b+c%d@sub.example.museum"]
)
def test_what_the_settings_accept_dagster_accepts(empty: SmallProject, owner: str) -> None:
    empty.set(owners=[owner])
    # Dagster refuses any other owner, and with it the whole code location.
    assert {tuple(spec.owners) for spec in specs_of(empty).values()} == {(owner,)}


@pytest.mark.parametrize(
    "owner", ["team:", "team: interp", "ada", "ada@example", "@example.org", "ada@example.org\n"]
)
def test_another_owner_is_one_line_and_stops_no_location(empty: SmallProject, owner: str) -> None:
    empty.set(owners=[owner])
    with pytest.raises(DefinitionError) as error:
        empty.settings()
    (problem,) = error.value.problems
    assert problem.startswith("owners.0: is not an owner; write an e-mail address such as")
    assert {tuple(spec.owners) for spec in specs_of(empty).values()} == {()}


def test_every_asset_links_to_its_code_and_settings(empty: SmallProject) -> None:
    specs = specs_of(empty)
    lines = set()
    for name in (*STAGES, "trait_atlas"):
        code, settings = references(specs[name]).values()
        line = Path(code.file_path).read_text().splitlines()[code.line_number - 1]
        assert line.startswith(f"def {code.label}(")
        lines.add((code.file_path, code.line_number))
        assert settings.label == "demo/experiment.yaml"
    assert len(lines) == len(STAGES) + 1


@pytest.mark.parametrize(
    ("address", "pages"),
    [
        ("https://github.com/ada/traits", "https://github.com/ada/traits/tree/trunk"),
        ("https://github.com/ada/traits.git", "https://github.com/ada/traits/tree/trunk"),
        ("https://gitlab.example.org/ada/traits/", "https://gitlab.example.org/ada/traits/-/tree/trunk"),
    ],
)  # fmt: skip
def test_links_to_the_repository(
    tmp_path: Path, own_environment: None, monkeypatch: pytest.MonkeyPatch, address: str, pages: str
) -> None:
    monkeypatch.setenv("TRAITVEC_GIT_URL", address)
    monkeypatch.setenv("TRAITVEC_GIT_BRANCH", "trunk")
    # The experiments lie deeper in the repository, and traitvec's code elsewhere.
    (tmp_path / ".git").mkdir()
    write_experiment(tmp_path / "studies/one", "demo", ["refusal"])
    with SmallProject(tmp_path / "studies/one") as project:
        links = references(specs_of(project)["vectors"])
    settings = links["demo/experiment.yaml"]
    assert settings.url == f"{pages}/studies/one/experiments/demo/experiment.yaml#L1"
    assert Path(links["make_vectors"].file_path).is_relative_to(REPOSITORY)


def test_links_to_the_repository_with_traitvec_in_it(
    own_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAITVEC_GIT_URL", "https://github.com/ada/traits")
    with SmallProject(REPOSITORY) as project:
        links = references(specs_of(project)["vectors"])
    at = "https://github.com/ada/traits/tree/main/traitvec_core/stages/vectors.py#L"
    assert links["make_vectors"].url.startswith(at)


@pytest.mark.parametrize(
    "address",
    ["git@github.com:ada/traits.git", "https://ada:secret@github.com/ada/traits",
     "https://example.org/ada/traits", "javascript:alert(1)//github", "https://[github"],
)  # fmt: skip
def test_an_address_that_is_no_repository_is_one_line(
    empty: SmallProject, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    address: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("TRAITVEC_GIT_URL", address)
    links = references(specs_of(empty)["vectors"])
    assert all(hasattr(link, "file_path") for link in links.values())
    (said,) = [line for line in caplog.messages if "TRAITVEC_GIT_URL" in line]
    assert "source links lead to local files" in said
    assert "secret" not in said


def test_checks_name_their_limits_as_of_the_last_reload(empty: SmallProject) -> None:
    empty.set(thresholds={"contrast": 31, "contrast_warning": 12})
    assert "Passes above 31, warns from 12 (thresholds.contrast" in described(empty, "contrast")
    empty.set(thresholds={"contrast": 32, "contrast_warning": 12})
    assert "Passes above 32" in described(empty, "contrast")
    assert "thresholds" not in described(empty, "sanity")
    # Which limits hold is not known while the file is broken.
    empty.set(thresholds={"contrast": "many"})
    assert "thresholds" not in described(empty, "contrast")


def test_everything_that_runs_says_in_a_sentence_what_it_does(empty: SmallProject) -> None:
    empty.project.enter()
    repository = build_definitions().get_repository_def()
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    assert {job.name for job in jobs} >= {"demo_traits", "demo_recheck", "demo_new_trait"}
    for each in (*jobs, *repository.sensor_defs, *repository.schedule_defs):
        text = str(each.description)
        assert text.endswith("."), (each.name, text)
        assert len(text) <= 250, (each.name, text)
