"""`deploy/ui.yaml`: the UI on Kubernetes. No cluster is used; its command runs as a process."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml
from kubernetes.client import ApiClient

from tests.ports import free_port
from tests.projects import REPOSITORY
from tests.scaling.helm import DAGSTER_HOME, read_values
from traitvec_dagster.env_file import SECRETS
from traitvec_dagster.project import Project

MANIFEST: dict[str, Any] = yaml.safe_load((REPOSITORY / "deploy/ui.yaml").read_text())
ITEMS: dict[str, dict[str, Any]] = {item["kind"]: item for item in MANIFEST["items"]}
POD = ITEMS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
PROBES = [CONTAINER[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
PATIENCE_S = 60.0
INGRESS = "https://dagster.example.org"


@pytest.mark.parametrize("kind", ["Service", "NetworkPolicy", "Deployment"])
def test_every_field_is_one_of_kubernetes(kind: str) -> None:
    # Reading drops what the model of the client does not know.
    client = ApiClient()
    response = SimpleNamespace(data=json.dumps(ITEMS[kind]))
    read = client.sanitize_for_serialization(client.deserialize(response, f"V1{kind}"))
    assert read == ITEMS[kind]


def test_the_service_and_the_policy_are_about_the_pod() -> None:
    labels = ITEMS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert ITEMS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert ITEMS["Service"]["spec"]["selector"] == labels
    policy = ITEMS["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    # No other pod may connect.
    assert (policy["policyTypes"], policy["ingress"]) == (["Ingress"], [])
    (port,), (container_port,) = ITEMS["Service"]["spec"]["ports"], CONTAINER["ports"]
    assert port["targetPort"] == container_port["name"]
    assert str(container_port["containerPort"]) in CONTAINER["command"]
    # Only inside the cluster.
    assert "type" not in ITEMS["Service"]["spec"]
    name = ITEMS["Service"]["metadata"]["name"]
    forward = f"port-forward service/{name} 3000:{port['port']}"
    assert forward in (REPOSITORY / "docs/scaling_out.md").read_text()


def test_it_uses_what_the_charts_values_make() -> None:
    values = read_values()
    (location,) = values["dagster-user-deployments"]["deployments"]
    image = location["image"]
    assert CONTAINER["image"] == f"{image['repository']}:{image['tag']}"
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    mounts = {mount["name"]: mount for mount in CONTAINER["volumeMounts"]}
    assert set(volumes) == set(mounts)
    experiments = next(v for v in location["volumes"] if v["name"] == "experiments")
    assert volumes["experiments"] == experiments
    assert mounts["experiments"]["readOnly"]
    assert mounts["instance"]["mountPath"] == f"{DAGSTER_HOME}/dagster.yaml"
    variables = {variable["name"]: variable for variable in CONTAINER["env"]}
    assert variables["TRAITVEC_EXPERIMENTS"]["value"] == mounts["experiments"]["mountPath"]
    assert mounts["workspace"]["mountPath"] in CONTAINER["command"][-1]
    password = variables["DAGSTER_PG_PASSWORD"]["valueFrom"]["secretKeyRef"]
    assert password["name"] == values["global"]["postgresqlSecretName"]
    # The chart's own webserver, which has no front, is not started.
    assert values["dagsterWebserver"]["replicaCount"] == 0


def test_it_has_no_key_and_no_right_that_it_does_not_need() -> None:
    given = {variable["name"] for variable in CONTAINER["env"]}
    assert given & set(SECRETS) == {"DAGSTER_PG_PASSWORD"}
    assert not [source for source in CONTAINER["envFrom"] if "secretRef" in source]
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["securityContext"]["runAsNonRoot"]


@pytest.fixture(scope="module", params=["", INGRESS], ids=["as shipped", "with an ingress"])
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    own_module_environment: None,
) -> Iterator[tuple[str, str]]:
    """The address of the container's command as a process, and the origins that it was given."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "experiments").mkdir()
    Project(folder / "experiments").enter()
    (folder / "workspace.yaml").write_text("load_from: []\n")
    port = free_port()
    replaced = {"python": sys.executable, "3000": str(port)}
    command = [replaced.get(part, part) for part in CONTAINER["command"]]
    command[-1] = str(folder / "workspace.yaml")
    # Here too, the only address is one of this machine.
    command[command.index("0.0.0.0")] = "127.0.0.1"
    environment = {**os.environ, "TRAITVEC_UI_ORIGINS": request.param}
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        _wait(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}", request.param
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


def test_the_probes_are_answered_and_a_pods_address_is_not(server: tuple[str, str]) -> None:
    url, _ = server
    for probe in PROBES:
        asked = probe["httpGet"]
        headers = {header["name"]: header["value"] for header in asked["httpHeaders"]}
        assert httpx.get(url + asked["path"], headers=headers).status_code == 200
    for host in ("10.1.2.3:3000", "traitvec-ui", "evil.example"):
        assert httpx.get(f"{url}/server_info", headers={"Host": host}).status_code == 403


def test_an_ingress_is_answered_if_its_address_is_listed(server: tuple[str, str]) -> None:
    url, listed = server
    headers = {"Host": "dagster.example.org", "Origin": INGRESS, "Sec-Fetch-Site": "same-origin"}
    query = {"query": "{ version }"}
    answers = [
        httpx.get(f"{url}/traitvec/", headers={"Host": "dagster.example.org"}).status_code,
        httpx.post(f"{url}/graphql", headers=headers, json=query).status_code,
    ]
    assert answers == ([200, 200] if listed else [403, 403])
    other = {**headers, "Origin": "https://evil.example"}
    assert httpx.post(f"{url}/graphql", headers=other, json=query).status_code == 403


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if httpx.get(f"{url}/server_info").is_success:
                return
        except httpx.TransportError:
            pass
        is_waiting = process.poll() is None and time.monotonic() < deadline
        assert is_waiting, f"the server does not start:\n{log.read_text()[-2000:]}"
        time.sleep(0.2)
