"""The files of `deploy/`, checked against Dagster's and Kubernetes' own models.

Nothing is started.
"""

import fnmatch
import importlib.metadata
import json
import re
import runpy
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from tests.projects import REPOSITORY, SmallProject, write_experiment
from tests.scaling.helm import CODE_LOCATIONS, container_context, instance_settings, read_values
from traitvec_core.errors import TraitvecError
from traitvec_dagster.env_file import SECRETS
from traitvec_dagster.executors.kubernetes import GPU_NODES_VARIABLE, gpu_pod, kubernetes_executor
from traitvec_dagster.runs.headless import definitions_of

DEPLOY = REPOSITORY / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SHIPPED: dict[str, Any] = yaml.safe_load((REPOSITORY / "traitvec_dagster/dagster.yaml").read_text())
GPU = "nvidia.com/gpu"
WITHOUT_RIGHTS = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
# A judge and an engine behind an API: neither step runs a model itself.
ELSEWHERE = {
    "judge_model": "gpt-5-mini",
    "engine": "server",
    "engine_url": "http://127.0.0.1:9/v1",
}


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("*.yaml")), ids=lambda path: path.name)
def test_every_file_is_a_mapping(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


# The image


def test_the_image_copies_what_there_is_and_what_is_not_ignored() -> None:
    ignored, *let_in = [
        line
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert ignored == "*"
    copied = [
        source
        for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (REPOSITORY / source).exists(), source
    # Neither more nor less: no key and no experiment gets into the build.
    assert {f"!{source}" for source in copied} == {one for one in let_in if one.startswith("!")}
    assert not any(fnmatch.fnmatch(f"!{name}", one) for name in (".env", ".git") for one in let_in)


def test_the_image_names_extras_that_there_are() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = re.search(r"^ARG EXTRAS=(.*)$", DOCKERFILE, re.MULTILINE)
    assert extras
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    assert re.search(r"^ARG UID=[1-9]\d*$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["${UID}"]


@pytest.mark.parametrize("name", ["Dockerfile", "engine.Dockerfile"])
def test_a_base_image_is_named_by_its_digest(name: str) -> None:
    text = (DEPLOY / name).read_text()
    assert re.findall(r"^FROM (.*)$", text, re.MULTILINE) == ["${BASE}"]
    base = re.search(r"^ARG BASE=(.*)$", text, re.MULTILINE)
    assert base
    assert DIGEST.search(base[1])


def test_one_index_at_a_time() -> None:
    # With two, pip takes the higher version of a package, wherever it is.
    text = "".join(path.read_text() for path in DEPLOY.iterdir())
    assert "--extra-index-url" not in text


def test_the_image_starts_the_code_location() -> None:
    command = re.search(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
    assert command
    _accept(json.loads(command[1]))


def test_dagsters_libraries_are_those_of_the_pinned_dagster() -> None:
    pins = dict(
        line.split("==")
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    # 1.13.27 and 0.29.27 are one release.
    patch = pins["dagster"].removeprefix("1.13.")
    assert pins["dagster-k8s"] == pins["dagster-postgres"] == f"0.29.{patch}"
    for name in ("dagster-k8s", "dagster-postgres"):
        assert importlib.metadata.version(name) == pins[name]


# The compose file


def test_compose_names_files_that_there_are() -> None:
    for service in COMPOSE["services"].values():
        if "build" in service:
            context = (DEPLOY / service["build"]["context"]).resolve()
            assert context == REPOSITORY
            assert (context / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]


def test_compose_gives_the_keys_to_the_code_location_only() -> None:
    assert not [name for name, service in COMPOSE["services"].items() if "env_file" in service]
    keys = set(SECRETS) - {"DAGSTER_PG_PASSWORD"}
    for name, service in COMPOSE["services"].items():
        given = set(service["environment"])
        assert keys & given == (keys if name == "code" else set()), name
        # Not written here, where they would be committed.
        assert not [key for key in keys & given if service["environment"][key] is not None]
    assert "TRAITVEC_TRUST" in COMPOSE["services"]["code"]["environment"]
    assert ".env" in (REPOSITORY / ".gitignore").read_text().splitlines()


def test_compose_publishes_one_port_to_this_machine_only() -> None:
    ports = [port for s in COMPOSE["services"].values() for port in s.get("ports", [])]
    assert ports == ["127.0.0.1:3000:3000"]


def test_compose_waits_for_what_says_that_it_is_healthy() -> None:
    services = COMPOSE["services"]
    for name in ("code", "webserver", "daemon"):
        for before, how in services[name]["depends_on"].items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services[before]


def test_every_service_is_watched_and_has_no_right_that_it_does_not_need() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert DIGEST.search(service["image"]) or "build" in service, name
    assert [name for name, s in COMPOSE["services"].items() if "cap_add" in s] == ["postgres"]


def test_composes_commands_have_such_options() -> None:
    for name in ("webserver", "daemon"):
        _accept(COMPOSE["services"][name]["command"])
    for name in ("code", "daemon"):
        _, *check = COMPOSE["services"][name]["healthcheck"]["test"]
        _accept(check)
    command = COMPOSE["services"]["webserver"]["command"]
    *_, code = COMPOSE["services"]["webserver"]["healthcheck"]["test"]
    compile(code, "healthcheck", "exec")
    assert f"http://127.0.0.1:{command[command.index('--port') + 1]}/server_info" in code


def test_no_pod_of_the_chart_has_a_capability() -> None:
    values = read_values()
    (location,) = values["dagster-user-deployments"]["deployments"]
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    for one in (location, launcher, values["dagsterDaemon"]):
        assert one["securityContext"] == WITHOUT_RIGHTS
    # Its webserver has no front; `ui.yaml` has.
    assert values["dagsterWebserver"] == {"replicaCount": 0}


def test_composes_workspace_is_its_code_location() -> None:
    (location,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    server = location["grpc_server"]
    assert server["host"] in COMPOSE["services"]
    assert f'"{server["port"]}"' in DOCKERFILE
    assert str(server["port"]) in COMPOSE["services"]["code"]["healthcheck"]["test"]


def test_composes_instance_is_the_shipped_one_on_postgres(
    tmp_path: Path, own_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster_postgres import DagsterPostgresStorage

    settings = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    assert {key: settings[key] for key in SHIPPED} == SHIPPED

    given = COMPOSE["services"]["code"]["environment"]
    for name, value in given.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    (kind,) = settings["storage"]
    assert kind == "postgres"
    storage = _validate(DagsterPostgresStorage.config_type(), settings.pop("storage")[kind])
    database = storage["postgres_db"]
    assert database["hostname"] in COMPOSE["services"]
    postgres = COMPOSE["services"]["postgres"]["environment"]
    assert database["username"] == postgres["POSTGRES_USER"]
    assert database["password"] == postgres["POSTGRES_PASSWORD"]
    assert database["db_name"] == postgres["POSTGRES_DB"]
    # A folder that this machine has.
    settings["compute_logs"]["config"]["base_dir"] = str(tmp_path)
    with _instance(tmp_path, settings) as instance:
        assert instance.run_monitoring_enabled


# The Helm values and the pods they lead to


def test_the_helm_values_make_a_valid_instance(tmp_path: Path, without_cluster: None) -> None:
    from dagster_k8s import K8sRunLauncher
    from dagster_postgres import DagsterPostgresStorage

    settings = instance_settings(read_values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_PG_PASSWORD", "unused")
        _validate(DagsterPostgresStorage.config_type(), settings.pop("storage")["postgres"])
    with _instance(tmp_path, settings) as instance:
        assert isinstance(instance.run_launcher, K8sRunLauncher)
    assert settings["telemetry"] == SHIPPED["telemetry"]
    assert settings["nux"] == SHIPPED["nux"]
    # A run takes its place in the pool only for the steps that are in it.
    assert settings["concurrency"]["pools"]["granularity"] == "op"


def test_settings_that_no_instance_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError):
        _instance(tmp_path, {**SHIPPED, "no_such_setting": 1})


def test_the_helm_values_hold_no_key() -> None:
    (location,) = read_values()["dagster-user-deployments"]["deployments"]
    assert [secret["name"] for secret in location["envSecrets"]] == ["traitvec-keys"]
    assert not [name for name in location["env"] if re.search("KEY|TOKEN|SECRET|PASSWORD", name)]
    _accept(["dagster", "code-server", "start", "-p", "4000", *location["codeServerArgs"]])


def test_the_executors_config_is_dagster_k8s_own() -> None:
    config = {
        "max_concurrent": 2,
        "per_step_k8s_config": {
            "demo__responses": {
                "container_config": {"resources": {"limits": {GPU: "4"}}},
                "merge_behavior": "DEEP",
            }
        },
    }
    schema = kubernetes_executor().config_schema
    for good in ({}, config):
        _validate(schema, good)
    with pytest.raises(dg.DagsterInvalidConfigError):
        _validate(schema, {"image": "x"})


@pytest.fixture
def without_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Create clients without the files that a pod of a cluster has."""
    pytest.importorskip("dagster_k8s", reason="dagster-k8s is not installed")
    monkeypatch.setattr("dagster_k8s.launcher.load_kubernetes_config", lambda **_: None)


@pytest.fixture
def step_jobs(
    empty: SmallProject, tmp_path: Path, without_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> dict[str, dict[str, Any]]:
    """The Kubernetes job of each step of two experiments, as it would be sent; no `None`s."""
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import construct_dagster_k8s_job, get_user_defined_k8s_config
    from kubernetes.client import ApiClient

    values = read_values()
    (location,) = values["dagster-user-deployments"]["deployments"]
    for name, value in location["env"].items():
        if name != "TRAITVEC_EXPERIMENTS":
            monkeypatch.setenv(name, value)
    write_experiment(empty.folder, "elsewhere", ["refusal"], ELSEWHERE)
    settings = instance_settings(values)
    del settings["storage"]
    with _instance(tmp_path, settings) as instance:
        launcher = instance.run_launcher
    run = _run(container_context(values), image="registry.example/traitvec:1")
    inherited = K8sContainerContext.create_for_run(run, launcher, include_run_tags=False)
    jobs = {}
    for experiment in ("demo", "elsewhere"):
        job = definitions_of(empty.project).resolve_job_def(empty.graph(experiment).job)
        assert job.executor_def.name == "k8s"
        for node in job.nodes:
            tags = get_user_defined_k8s_config(node.tags)
            context = inherited.merge(K8sContainerContext(run_k8s_config=tags))
            made = construct_dagster_k8s_job(
                context.get_k8s_job_config("registry.example/traitvec:1", launcher),
                args=["dagster", "api", "execute_step"],
                job_name="dagster-step-1",
                user_defined_k8s_config=context.run_k8s_config,
                component="step_worker",
            )
            jobs[node.name] = ApiClient().sanitize_for_serialization(made)
    return jobs


def test_only_steps_that_run_a_model_ask_for_a_gpu(step_jobs: dict[str, dict[str, Any]]) -> None:
    asks = {
        name
        for name, job in step_jobs.items()
        if GPU in _container(job)["resources"].get("limits", {})
    }
    on_gpu = ("responses", "judged_responses", "activations", "steering_evaluation")
    here = {f"demo__{stage}" for stage in (*on_gpu, "trait_dynamics")}
    there = here - {"demo__responses", "demo__judged_responses"}
    assert asks == {
        *(name for name in here if name in step_jobs),
        *(name.replace("demo", "elsewhere") for name in there if name in step_jobs),
    }
    for name, job in step_jobs.items():
        pod = job["spec"]["template"]["spec"]
        if name in asks:
            assert _container(job)["resources"]["limits"] == {GPU: "1"}
            assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
            (toleration,) = pod["tolerations"]
            assert toleration == {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
        else:
            # It could start on a GPU's node only where nobody keeps it off, and takes no GPU.
            assert not {"nodeSelector", "tolerations"} & set(pod)


def test_every_step_has_what_its_run_has(step_jobs: dict[str, dict[str, Any]]) -> None:
    assert {"demo__definition", "demo__vectors_norm", "elsewhere__responses"} <= set(step_jobs)
    for job in step_jobs.values():
        pod, container = job["spec"]["template"]["spec"], _container(job)
        assert container["image"] == "registry.example/traitvec:1"
        assert {"secretRef": {"name": "traitvec-keys"}} in container["envFrom"]
        password = next(v for v in container["env"] if v["name"] == "DAGSTER_PG_PASSWORD")
        assert password["valueFrom"]["secretKeyRef"] == {
            "name": "dagster-postgresql-secret",
            "key": "postgresql-password",
        }
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {
            "/experiments",
            "/models",
        }
        assert {volume["name"] for volume in pod["volumes"]} == {"experiments", "models"}
        assert container["resources"]["requests"] == {"cpu": "1", "memory": "4Gi"}
        assert container["securityContext"] == WITHOUT_RIGHTS
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert pod["serviceAccountName"] == f"{CODE_LOCATIONS}-user-deployments"
        # A pod that fails is the executor's to replace.
        assert (pod["restartPolicy"], job["spec"]["backoffLimit"]) == ("Never", 0)


def test_the_labels_of_gpu_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GPU_NODES_VARIABLE, raising=False)
    assert "node_selector" not in gpu_pod()["pod_spec_config"]
    monkeypatch.setenv(GPU_NODES_VARIABLE, "a.b/kind=h100, zone=1 ")
    assert gpu_pod()["pod_spec_config"]["node_selector"] == {"a.b/kind": "h100", "zone": "1"}
    for wrong in ("h100", "kind=", "=h100", "a=1,b"):
        monkeypatch.setenv(GPU_NODES_VARIABLE, wrong)
        with pytest.raises(TraitvecError, match="write label=value"):
            gpu_pod()


def _accept(command: list[str]) -> None:
    """Have the command itself read the options; an unknown one fails before `--help` acts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*command, "--help"])
        with pytest.raises(SystemExit) as end:
            _run_command(command)
    assert end.value.code == 0, command


def _run_command(command: list[str]) -> None:
    """Run an installed command, or `python -m MODULE`, in this process."""
    if command[:2] == ["python", "-m"]:
        del sys.argv[:2]
        runpy.run_module(command[2], run_name="__main__")
        return
    (script,) = importlib.metadata.entry_points(group="console_scripts", name=command[0])
    script.load()()


def _validate(schema: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Check a config against a schema of Dagster's; returns it with defaults and variables."""

    @dg.op(config_schema=schema)
    def configured() -> None:
        pass

    job = dg.GraphDefinition("configured_job", node_defs=[configured]).to_job()
    checked = dg.validate_run_config(job, {"ops": {"configured": {"config": config}}})
    return dict(checked["ops"]["configured"]["config"])


def _instance(folder: Path, settings: dict[str, Any]) -> dg.DagsterInstance:
    """An instance with these settings of `dagster.yaml`; Dagster refuses unknown ones."""
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return dg.DagsterInstance.from_config(str(folder))


def _container(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return dict(container)


def _run(context: dict[str, Any], image: str) -> dg.DagsterRun:
    """A run of a code location that has an image and a container context."""
    origin = dg.reconstructable(any_job).get_python_origin()
    location = origin.repository_origin._replace(container_image=image, container_context=context)
    return dg.DagsterRun("any_job", job_code_origin=origin._replace(repository_origin=location))


@dg.job
def any_job() -> None:
    """A job that a process can load by its name in this module."""
