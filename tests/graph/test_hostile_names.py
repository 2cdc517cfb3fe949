"""No name writes outside the experiment tree, through the UI's server or through the command."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from tests.cli.conftest import Command, traitvec  # noqa: F401
from tests.graph.webserver import LOCATION, SYNCHRONOUS, dagster_webserver, launch_run
from tests.projects import FEW_VECTORS, SmallProject, write_experiment
from traitvec_dagster.runs.headless import definitions_of
from traitvec_dagster.runs.ownership import GPUS_TAG, HOST_TAG, PID_TAG, close_dead_runs

HOSTILE = ["../../escaped", "/tmp/traitvec-escaped", "..", ".", "", "a/b", "a\\b",
           "refusal/../../../escaped", "refusal\n", "refusal\x00", "Refusal", "..%2fescaped", "~",
           "$(touch escaped)", "a b", "-rf", "--out=escaped", "_x", ".hidden", "refusal\u202e",
           "\uff0e\uff0e\uff0fescaped", "a" * 300, "[...]", "*", "é",
           "$HOME", "%2e%2e"]  # fmt: skip
ADD = """mutation($key: String!, $name: String!, $at: RepositorySelector!) {
  addDynamicPartition(partitionKey: $key, partitionsDefName: $name, repositorySelector: $at) {
    __typename
  }
}"""
BACKFILL = """mutation($wanted: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $wanted) { __typename }
}"""


class Page:
    """What a browser can send to the server."""

    def __init__(self, client: httpx.Client, project: SmallProject) -> None:
        self._client = client
        self.project = project

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = self._client.post("/graphql", json={"query": query, "variables": variables})
        return dict(answer.json())

    def add(self, name: str, partitions: str = "traits/demo") -> str:
        """Add a partition, as the dialog does; returns the type of the answer."""
        answer = self.ask(ADD, key=name, name=partitions, at=LOCATION)
        return _type(answer, "addDynamicPartition")

    def launch(
        self,
        trait: str | None,
        *,
        job: str = "demo_traits",
        settings: Any = None,
        assets: list[list[str]] | None = None,
        run_config: Any = None,
        tags: dict[str, str] | None = None,
    ) -> dg.DagsterRun | None:
        """Launch a run; None if it was refused."""
        config = {"resources": {"overrides": {"config": {"settings": settings or {}}}}}
        partition = {"dagster/partition": trait} if trait is not None else {}
        run_id = launch_run(
            self._client, job, partition | (tags or {}), assets, run_config or config
        )
        return self.project.instance.get_run_by_id(run_id) if run_id is not None else None


def _type(answer: dict[str, Any], name: str) -> str:
    """The type of an answer, or `error` if GraphQL itself refused the query."""
    result = (answer.get("data") or {}).get(name)
    return str(result["__typename"]) if result else "error"


def _why(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """What the first stage that failed says."""
    entry = instance.all_logs(run.run_id, dg.DagsterEventType.STEP_FAILURE)[0]
    assert entry.dagster_event is not None
    failure = entry.dagster_event.step_failure_data.user_failure_data
    return str(failure.description) if failure is not None else ""


def _listing(folder: Path) -> set[str]:
    """Everything around the project but Dagster's own folder."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if ".dagster" not in path.relative_to(folder).parts
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, own_module_environment: None) -> Iterator[Page]:
    """The UI's webserver over a project."""
    folder = tmp_path_factory.mktemp("around") / "some" / "project"
    write_experiment(folder, "demo", ["refusal"], FEW_VECTORS)
    log = tmp_path_factory.mktemp("log") / "webserver.log"
    with SmallProject(folder) as project:
        project.project.enter()
        (folder / ".dagster" / "dagster.yaml").write_text(SYNCHRONOUS)
        with dagster_webserver(folder, log) as client:
            yield Page(client, project)


@pytest.fixture(autouse=True)
def nothing_outside() -> Iterator[None]:
    """Whatever a test does, nothing appears around the project or beside its experiments."""
    yield
    assert not Path("/tmp/traitvec-escaped").exists()


@pytest.fixture
def kept(page: Page) -> Iterator[None]:
    """Nothing appears in the project, or within two folders above it."""
    around = page.project.folder.parents[1]
    before = _listing(around)
    yield
    # The store of judgements, and the hashes of a trait's files, belong to the tree.
    new = {name for name in _listing(around) - before if ".judgements" not in name}
    assert {name for name in new if "/demo/refusal/.cache" not in name} == set()


@pytest.mark.slow
def test_the_page_can_launch_a_run(page: Page) -> None:
    assert page.add("refusal") == "AddDynamicPartitionSuccess"
    run = page.launch("refusal", assets=[["demo", "definition"], ["demo", "responses"]])
    assert run is not None
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert (page.project.trait("refusal").path / "responses" / "raw_pos.csv").is_file()


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_partition_from_the_page_writes_nowhere(page: Page, kept: None, name: str) -> None:
    added = page.add(name)
    for job in ("demo_traits", "__ASSET_JOB")[: 1 + (name == HOSTILE[0])]:
        run = page.launch(name, job=job, assets=[["demo", "definition"]])
        # Refused at once where Dagster does not take the key, else by the first stage.
        assert run is None or run.status == dg.DagsterRunStatus.FAILURE
        if added == "AddDynamicPartitionSuccess" and run is not None:
            assert "cannot be used" in _why(page.project.instance, run)
    # The same key for partitions that no experiment has.
    page.add("refusal", name)
    page.add(name, f"traits/{name}")


@pytest.mark.parametrize(
    "settings",
    [
        {"experiment": "../../escaped"}, {"root": "/tmp/traitvec-escaped"}, {"trait": "../escaped"},
        {"path": "/tmp/traitvec-escaped"}, {"layers": ["../../escaped"]},
        {"../../escaped": 1}, {"sampling.../../escaped": 1}, {"positions": ["../../escaped"]},
        {"methods": ["../../escaped"]}, {"also_judge": ["../../escaped"]},
        {"steering": {"side_effects": ["../escaped"]}}, {"severities": {"../../escaped": "warn"}},
        {"model": "../../escaped"}, {"model": "/tmp/traitvec-escaped"},
    ],
    ids=ascii,
)  # fmt: skip
def test_a_run_config_from_the_page_writes_nowhere(page: Page, settings: dict[str, Any]) -> None:
    folder = page.project.folder
    before = _listing(folder.parents[1])
    page.add("refusal")
    run = page.launch(
        "refusal", settings=settings, assets=[["demo", "definition"], ["demo", "responses"]]
    )
    assert run is None or run.status == dg.DagsterRunStatus.FAILURE
    # A trait's own folder may have got its lock files.
    new = _listing(folder.parents[1]) - before
    assert all("/demo/refusal/." in name for name in new), new


@pytest.mark.parametrize(
    "wanted",
    [
        {"assets": [["..", "..", "escaped"]]}, {"assets": [["demo/../../escaped"]]},
        {"job": "../../escaped"}, {"job": "__ASSET_JOB", "assets": [["demo", "../../escaped"]]},
        {"run_config": {"resources": {"overrides": {"config": {"path": "/tmp/x"}}}}},
        {"run_config": {"resources": {"io_manager": {"config": {"base_dir": "../escaped"}}}}},
        {"run_config": {"ops": {"demo__responses": {"config": {"path": "../escaped"}}}}},
        {"run_config": {"execution": {"config": {"in_process": {"log": "../escaped"}}}}},
        {"tags": {"dagster/partition": "../../escaped"}},
        {"tags": {"dagster/partition/traits": "../../escaped"}},
        {"tags": {"dagster/asset_partition_range_start": "../../escaped",
                  "dagster/asset_partition_range_end": "../../escaped"}},
        {"tags": {PID_TAG: "-1", HOST_TAG: "../../escaped", GPUS_TAG: "../x"}},
    ],
    ids=ascii,
)  # fmt: skip
def test_what_else_a_run_is_launched_with_writes_nowhere(
    page: Page, kept: None, wanted: dict[str, Any]
) -> None:
    wanted = {"assets": [["demo", "definition"]], **wanted}
    run = page.launch(None if "tags" in wanted else "refusal", **wanted)
    assert run is None or run.is_finished


def test_a_backfill_writes_nowhere(page: Page, kept: None) -> None:
    for name in HOSTILE:
        page.add(name)
    page.ask(
        BACKFILL,
        wanted={
            "partitionNames": HOSTILE,
            "assetSelection": [{"path": ["demo", "definition"]}],
            "fromFailure": False,
        },
    )


@pytest.mark.parametrize("name", ["-1", "0", "x", "", "9" * 40, "1 2"])
def test_tags_of_a_stranger_close_no_run_and_break_nothing(page: Page, name: str) -> None:
    tags = {HOST_TAG: socket.gethostname(), PID_TAG: name}
    job = definitions_of(page.project.project).resolve_job_def("demo_traits")
    run = page.project.instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags=tags
    )
    closed = close_dead_runs(page.project.instance)
    # A number that no process can have is that of a dead one.
    assert closed == ([run.run_id] if name.startswith("9") else [])
    page.project.instance.delete_run(run.run_id)


# -- the command ------------------------------------------------------------------------------

COMMANDS = {
    "new-experiment": ["new-experiment", "{}", "--model", "embedded"],
    "new-trait experiment": ["new-trait", "--experiment={}", "--trait", "fine"],
    "new-trait": ["new-trait", "--experiment=demo", "--trait={}"],
    "check": ["check", "--experiment={}"],
    "check trait": ["check", "--experiment=demo", "--trait={}"],
    "run experiment": ["run", "--experiment={}", "--trait", "refusal"],
    "run": ["run", "--experiment=demo", "--trait={}"],
    "estimate": ["estimate", "--experiment=demo", "--trait={}"],
    "status": ["status", "--experiment={}"],
    "export experiment": ["export", "--experiment={}", "--format=gguf", "--out=vectors.gguf"],
    "export": ["export", "--experiment=demo", "--trait={}", "--format=gguf", "--out=vectors.gguf"],
    "import": ["import-persona-vectors", "theirs", "--experiment={}", "--model=embedded"],
    "import trait": ["import-persona-vectors", "theirs", "--experiment=demo", "--trait={}"],
    "monitor": ["monitor", "--experiment=demo", "--trait={}", "--prompt=x", "--out=page.html"],
    "atlas": ["atlas", "--experiment={}"],
    "compare": ["compare", "demo", "--", "{}"],
    "remove-trait experiment": ["remove-trait", "--experiment={}", "--trait=refusal", "--yes"],
    "remove-trait": ["remove-trait", "--experiment=demo", "--trait={}", "--yes"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_writes_under_a_hostile_name(
    traitvec: Command,  # noqa: F811
    empty: SmallProject, tmp_path: Path, command: str,
) -> None:  # fmt: skip
    theirs = empty.folder / "theirs"
    shutil.copytree(empty.trait("refusal").path, theirs / "data_generation" / "trait_data_extract")
    before = _listing(tmp_path)
    for name in HOSTILE:
        # An empty name is as if none was given; white space around one in a list is taken off; no
        # shell can pass a zero byte.
        if not name or "\x00" in name or name.strip() == "refusal":
            continue
        done = traitvec(*(word.replace("{}", name) for word in COMMANDS[command]))
        assert done.code != 0, name
        # One line, or the few of a usage error.
        assert done.error_lines
        assert _listing(tmp_path) - {"project/experiments/.judgements.sqlite"} == before, name


def test_names_in_a_folder_of_somebody_else_become_no_path(
    traitvec: Command,  # noqa: F811
    empty: SmallProject, tmp_path: Path,
) -> None:  # fmt: skip
    source = empty.folder / "theirs"
    definitions = source / "data_generation" / "trait_data_extract"
    definitions.mkdir(parents=True)
    good = empty.trait("refusal").read_definition_bytes()
    for name in ("..", "...", "A", "-rf", "$HOME", "a b", "%2e%2e"):
        (definitions / f"{name}.json").write_bytes(good)
    before = _listing(tmp_path)
    traitvec("import-persona-vectors", "theirs", "--experiment", "demo")
    new = _listing(tmp_path) - before
    assert all(name.startswith("project/experiments/demo/") for name in new)


# -- links ------------------------------------------------------------------------------------


def test_a_trait_that_is_a_link_is_not_run_and_removing_it_removes_the_link(
    traitvec: Command,  # noqa: F811
    empty: SmallProject, tmp_path: Path,
) -> None:  # fmt: skip
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(empty.trait("refusal").path, elsewhere)
    before = _listing(tmp_path / "elsewhere")
    trait = empty.trait("linked")
    trait.path.symlink_to(elsewhere)
    done = traitvec("run", "--experiment", "demo", "--trait", "linked")
    assert done.code == 1
    assert f"experiments/demo/linked is a link to {elsewhere}" in done.err
    done = traitvec("remove-trait", "--experiment", "demo", "--trait", "linked", "--yes")
    assert done.code == 0, done.err
    assert not os.path.lexists(trait.path)
    assert _listing(tmp_path / "elsewhere") == before


@pytest.mark.slow
def test_what_a_metadata_file_names_is_deleted_only_in_its_own_folder(empty: SmallProject) -> None:
    empty.set(**FEW_VECTORS)
    assert empty.run("refusal").is_success
    trait = empty.trait("refusal")
    outside = [empty.folder / "outside.txt", trait.path / "outside.txt", trait.definition_path]
    for path in outside[:2]:
        path.write_text("mine")
    manifest = trait.path / "vectors" / "manifest.json"
    record = json.loads(manifest.read_text())
    for name in (
        "../../../../outside.txt", "../outside.txt", "../trait_definition.json", str(outside[0]),
        "vectors/../trait_definition.json", "trait_definition.json",
    ):  # fmt: skip
        record["provenance"]["files"][name] = "0"
    manifest.write_text(json.dumps(record))
    assert empty.run("refusal").is_success
    assert all(path.is_file() for path in outside)
