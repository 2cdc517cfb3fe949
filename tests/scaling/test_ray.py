"""Steps on a real Ray cluster of this machine: a GPU for each, retried when a worker dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from tests.graph.webserver import dagster_webserver, launch_run
from tests.projects import FEW_VECTORS, REPOSITORY, SmallProject, write_experiment
from tests.scaling.ray_cluster import Cluster
from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import Stage
from traitvec_core.trust import allow, grants_of
from traitvec_dagster.executors import executor_named
from traitvec_dagster.runs.headless import definitions_of

pytest.importorskip("dagster_ray", reason="needs `pip install 'traitvec[ray]'`")
pytest.importorskip("ray", reason="needs `pip install 'traitvec[ray]'`")

pytestmark = pytest.mark.services

TRAITS = ["refusal", "uncertainty", "verbosity"]
SECRET = "sk-this-must-not-be-seen"
# A variable that `.env` may set, which nodes must have read to find the history.
HISTORY = "DAGSTER_PG_PASSWORD"
# How long Ray lets a job wait before it gives it up; a quarter of an hour by default.
PATIENCE_S = 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = Cluster(RAY_JOB_START_TIMEOUT_SECONDS=str(PATIENCE_S))
    yield found
    found.close()
    assert not found.processes()


class RayProject(SmallProject):
    """A project whose history only those find who have read its `.env`."""

    def __init__(self, folder: Path, cluster: Cluster, **settings: Any) -> None:
        write_experiment(folder, "demo", TRAITS, {**FEW_VECTORS, **settings})
        (folder / ".env").write_text(f"OPENAI_API_KEY={SECRET}\n{HISTORY}={folder / 'history'}\n")
        super().__init__(folder)
        self.project.enter()
        path = self.project.dagster_home / "dagster.yaml"
        shipped = yaml.safe_load(path.read_text())
        history = {"sqlite": {"base_dir": {"env": HISTORY}}}
        path.write_text(yaml.safe_dump({**shipped, "storage": history}))
        self.instance.add_dynamic_partitions("traits/demo", TRAITS)
        os.environ |= {
            **cluster.access, "RAY_ADDRESS": cluster.url, "TRAITVEC_EXECUTOR": "ray",
        }  # fmt: skip

    @contextmanager
    def running(self, stages: str, *traits: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run stages of traits, at once; the process is terminated with the block."""
        command = [sys.executable, "-W", "ignore", "-m", "tests.scaling.ray_driver"]
        with (self.folder / "driver.txt").open("wb") as said:
            process = subprocess.Popen(
                [*command, stages, *traits], cwd=REPOSITORY, stdout=said, stderr=said
            )
            try:
                yield process
            finally:
                process.terminate()
                process.wait(timeout=60)

    def finish(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.wait(timeout=400) == 0, (self.folder / "driver.txt").read_text()[-4000:]

    def run_of(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def events(self, stage: str, kind: dg.DagsterEventType) -> list[dg.EventLogEntry]:
        return [
            entry
            for run in self.instance.get_runs()
            for entry in self.instance.all_logs(run.run_id, kind)
            if entry.step_key == f"demo__{stage}"
        ]

    def gpus(self, stage: str) -> dict[str, list[str]]:
        """The GPUs that each run's tries of a stage took, from its log."""
        taken: dict[str, list[str]] = {}
        for run in self.instance.get_runs():
            for entry in self.instance.all_logs(run.run_id):
                if entry.step_key == f"demo__{stage}" and "using GPU" in entry.user_message:
                    taken.setdefault(run.run_id, []).append(entry.user_message.split()[-1])
        return taken


@pytest.fixture
def project(
    tmp_path: Path, own_environment: None, cluster: Cluster
) -> Iterator[Callable[..., RayProject]]:
    made: list[RayProject] = []

    def make(**settings: Any) -> RayProject:
        made.append(RayProject(tmp_path / "project", cluster, **settings))
        return made[-1]

    yield make
    for one in made:
        one.__exit__(None, None, None)


def test_runs_wait_for_a_gpu_and_never_share_one(
    project: Callable[..., RayProject], cluster: Cluster
) -> None:
    ray = project()
    occupied = cluster.occupy(gpus=2)
    with ray.running("responses", *TRAITS) as process:
        wait_for(lambda: len(cluster.jobs()) == 4)
        first = {name: job["start_time"] for name, job in cluster.jobs().items()}
        # Ray gives a job up that waits; it is asked for again, under the same name.
        wait_for(
            lambda: [
                name
                for name, job in cluster.jobs().items()
                if name != occupied and job["start_time"] > first.get(name, job["start_time"])
            ]
        )
        assert not ray.events("responses", dg.DagsterEventType.STEP_START)
        assert process.poll() is None
        cluster.stop(occupied)
        ray.finish(process)
    gpus = ray.gpus("responses")
    assert sorted(map(len, gpus.values())) == [1, 1, 1]
    assert {gpu for (gpu,) in gpus.values()} == {"0", "1"}
    held: dict[str, list[tuple[float, float]]] = {"0": [], "1": []}
    for run_id, (gpu,) in gpus.items():
        (start,) = ray.instance.all_logs(run_id, dg.DagsterEventType.STEP_START)
        (end,) = ray.instance.all_logs(run_id, dg.DagsterEventType.STEP_SUCCESS)
        held[gpu].append((start.timestamp, end.timestamp))
    for intervals in held.values():
        for (_, end), (start, _) in pairwise(sorted(intervals)):
            assert start >= end
    shown = json.dumps([cluster.ask("/api/jobs/"), cluster.ask("/api/v0/actors?detail=1")])
    assert "TRAITVEC_EXPERIMENTS" in shown
    assert SECRET not in shown
    assert SECRET not in cluster.logs()


def test_a_step_whose_worker_or_process_is_killed_is_tried_again(
    project: Callable[..., RayProject], cluster: Cluster
) -> None:
    ray = project(batch_size=1)
    stages: list[Stage] = ["responses", "judged_responses", "activations", "vectors"]
    unfinished = ray.trait("refusal").path / "responses"
    with ray.running(",".join(stages), "refusal") as process:
        wait_for(lambda: list(unfinished.glob(".responses-*.jsonl")))
        os.kill(step_process(ray, "responses"), signal.SIGKILL)
        # Before the step imports torch: reading so few activations takes no longer than finding it.
        wait_for(lambda: ray.events("activations", dg.DagsterEventType.STEP_WORKER_STARTED))
        os.kill(worker_of(step_process(ray, "activations")), signal.SIGKILL)
        wait_for(lambda: ray.events("vectors", dg.DagsterEventType.STEP_WORKER_STARTED))
        mask = environment_of(step_process(ray, "vectors")).get("CUDA_VISIBLE_DEVICES")
        ray.finish(process)
    # What asks for no GPU sees none.
    assert mask == ""
    for stage, expected in {"responses": 1, "activations": 1, "judged_responses": 0}.items():
        assert len(ray.events(stage, dg.DagsterEventType.STEP_UP_FOR_RETRY)) == expected, stage
    assert {ray.states("refusal")[stage] for stage in stages} == {"fresh"}
    # The batches before the kill were not made again.
    assert ray.trait("refusal").metadata("responses")["resumed_from"] >= 1


def test_steps_land_on_two_nodes_and_leave_one_that_is_lost(
    project: Callable[..., RayProject], cluster: Cluster
) -> None:
    ray = project()
    head = cluster.alive_nodes()
    before = set(cluster.jobs())
    node = cluster.add_node(gpus="2")
    with ray.running("responses", *TRAITS) as process:
        # Before the step imports torch: the responses themselves take less time than finding it.
        wait_for(lambda: "2" in masks(ray, "responses"))
        node.kill()
        ray.finish(process)
    assert len(ray.events("responses", dg.DagsterEventType.STEP_UP_FOR_RETRY)) == 1
    last = [tries[-1] for tries in ray.gpus("responses").values()]
    assert len(last) == len(TRAITS)
    assert set(last) <= {"0", "1"}
    jobs = [job for name, job in cluster.jobs().items() if name not in before]
    nodes = [job["driver_node_id"] for job in jobs]
    # Three at the head, the retried one among them, and one at the node that was lost.
    assert sorted(nodes.count(one) for one in set(nodes)) == [1, 3]
    assert nodes.count(head[0]) == 3


def test_a_step_may_do_what_was_allowed_where_its_run_starts(
    project: Callable[..., RayProject], tmp_path: Path
) -> None:
    ray = project(judge_model="python:scorers.py:words", coherence_judge="repetition")
    folder = ray.graph().folder
    (folder.path / "scorers.py").write_text("def words(question, response): return 50\n")
    # The nodes have no variable of ours, and no record.
    del os.environ["TRAITVEC_TRUST"]
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path / "configuration")
    with ray.running("responses", "refusal") as process:
        assert process.wait(timeout=400) != 0
    (failed,) = ray.events("responses", dg.DagsterEventType.STEP_FAILURE)
    assert failed.dagster_event is not None
    data = failed.dagster_event.step_failure_data.user_failure_data
    assert data is not None
    assert "`traitvec trust demo`" in str(data.description)
    allow(folder, grants_of(folder, folder.settings()))
    with ray.running("responses", "refusal") as process:
        ray.finish(process)


def test_no_cluster_is_one_line(project: Callable[..., RayProject]) -> None:
    ray = project()
    os.environ["RAY_ADDRESS"] = "http://127.0.0.1:1"
    path = ray.project.dagster_home / "dagster.yaml"
    # Without a daemon, nothing would take the run from a queue.
    at_once = {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"}
    settings = yaml.safe_load(path.read_text()) | {"run_coordinator": at_once}
    path.write_text(yaml.safe_dump(settings))
    with dagster_webserver(ray.folder, ray.folder / "webserver.log") as client:
        run_id = launch_run(
            client, "demo_traits", {"dagster/partition": "refusal"}, [["demo", "responses"]]
        )
        assert run_id is not None
        wait_for(lambda: ray.run_of(run_id).is_finished)
    assert ray.run_of(run_id).status == dg.DagsterRunStatus.FAILURE
    messages = [
        entry.dagster_event.engine_event_data.error.message.strip()
        for entry in ray.instance.all_logs(run_id, dg.DagsterEventType.ENGINE_EVENT)
        if entry.dagster_event and entry.dagster_event.engine_event_data.error
    ]
    (line,) = messages
    assert "TraitvecError: no Ray cluster answers at http://127.0.0.1:1 (" in line
    assert "\n" not in line


def test_a_judge_behind_an_api_asks_for_no_gpu(
    project: Callable[..., RayProject],
) -> None:
    ray = project(judge_model="gpt-5-mini")
    job = definitions_of(ray.project).resolve_job_def("demo_traits")
    asks = {node.name for node in job.graph.nodes if "dagster-ray/config" in node.definition.tags}
    assert "demo__responses" in asks
    assert "demo__judged_responses" not in asks


def test_absent_packages_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dagster_ray", None)
    with pytest.raises(TraitvecError, match=r"^TRAITVEC_EXECUTOR=ray needs dagster_ray, .*$"):
        executor_named("ray")


@pytest.mark.parametrize(
    ("config", "is_shown"),
    [
        ({"postgres_db": {"password": "tiger", "hostname": "x"}}, True),
        ({"postgres_db": {"password": {"env": "PG_PASSWORD"}, "hostname": "x"}}, False),
        ({"postgres_url": "postgresql://me:tiger@host/base"}, True),
        ({"postgres_url": {"env": "PG_URL"}}, False),
        ({"base_dir": "/some/where"}, False),
    ],
)
def test_passwords_in_dagster_yaml_are_seen(config: dict[str, Any], is_shown: bool) -> None:
    from traitvec_dagster.executors.ray import has_plain_password

    assert has_plain_password(config) == is_shown


def wait_for(what: Callable[[], Any], seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def said(ray: RayProject, stage: str, text: str) -> bool:
    return any(
        text in entry.user_message
        for run in ray.instance.get_runs()
        for entry in ray.instance.all_logs(run.run_id)
        if entry.step_key == f"demo__{stage}"
    )


def masks(ray: RayProject, stage: str) -> list[str | None]:
    """The GPUs that the running processes of a step see."""
    seen = []
    for entry in ray.events(stage, dg.DagsterEventType.STEP_WORKER_STARTED):
        assert entry.dagster_event is not None
        pid = int(entry.dagster_event.engine_event_data.metadata["pid"].value)
        with suppress(OSError):
            seen.append(environment_of(pid).get("CUDA_VISIBLE_DEVICES"))
    return seen


def step_process(ray: RayProject, stage: str) -> int:
    """The process that does the last try of a step."""
    event = ray.events(stage, dg.DagsterEventType.STEP_WORKER_STARTED)[-1].dagster_event
    assert event is not None
    return int(event.engine_event_data.metadata["pid"].value)


def worker_of(pid: int) -> int:
    """Ray's worker above a process."""
    while not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::"):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.partition("=")[::2] for pair in pairs if pair)
