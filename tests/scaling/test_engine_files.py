"""`deploy/engine.yaml` and `deploy/engine.Dockerfile`; no cluster is used and no image is built."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient

from tests.projects import REPOSITORY

MANIFEST: dict[str, Any] = yaml.safe_load((REPOSITORY / "deploy/engine.yaml").read_text())
ITEMS: dict[str, dict[str, Any]] = {item["kind"]: item for item in MANIFEST["items"]}
DOCKERFILE = (REPOSITORY / "deploy/engine.Dockerfile").read_text()
POD = ITEMS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
ARGUMENTS = dict(argument.split("=", 1) for argument in CONTAINER["args"])


@pytest.mark.parametrize("kind", ["Service", "Deployment"])
def test_every_field_is_one_of_kubernetes(kind: str) -> None:
    # Reading drops what the model of the client does not know.
    client = ApiClient()
    response = SimpleNamespace(data=json.dumps(ITEMS[kind]))
    read = client.sanitize_for_serialization(client.deserialize(response, f"V1{kind}"))

    assert read == ITEMS[kind]


def test_the_service_leads_to_the_server() -> None:
    service, deployment = ITEMS["Service"]["spec"], ITEMS["Deployment"]["spec"]
    (port,), (container_port,) = service["ports"], CONTAINER["ports"]

    assert service["selector"] == deployment["template"]["metadata"]["labels"]
    assert service["selector"] == deployment["selector"]["matchLabels"]
    assert (
        port["targetPort"]
        == container_port["name"]
        == CONTAINER["readinessProbe"]["httpGet"]["port"]
    )
    assert str(container_port["containerPort"]) == ARGUMENTS["--port"]
    url = f"engine_url: http://{ITEMS['Service']['metadata']['name']}:{port['port']}"
    for page in ("deploy/engine.yaml", "docs/scaling_out.md"):
        assert url in (REPOSITORY / page).read_text()


def test_there_is_a_gpu_for_every_part_of_the_model() -> None:
    assert CONTAINER["resources"]["limits"]["nvidia.com/gpu"] == ARGUMENTS["--tensor-parallel"]


def test_the_keys_come_from_a_secret() -> None:
    variables = {variable["name"]: variable for variable in CONTAINER["env"]}

    assert {"GENERATION_API_KEY", "HF_TOKEN"} == set(variables)
    for name, variable in variables.items():
        assert "value" not in variable
        assert variable["valueFrom"]["secretKeyRef"]["key"] == name
    # Without a key, the server would not listen on an address that others can reach.
    assert not variables["GENERATION_API_KEY"]["valueFrom"]["secretKeyRef"].get("optional")


def test_the_pod_is_watched_and_has_no_right_that_it_does_not_need() -> None:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert CONTAINER[probe]["httpGet"] == {"path": "/health", "port": "http"}
    assert CONTAINER["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_every_mount_has_its_volume() -> None:
    mounted = {mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert mounted == {volume["name"] for volume in POD["volumes"]}
    home = re.search(r"^ENV HF_HOME=(.*)$", DOCKERFILE, re.MULTILINE)
    assert home
    assert home[1] in {mount["mountPath"] for mount in CONTAINER["volumeMounts"]}


def test_the_server_has_these_options() -> None:
    entrypoint = re.search(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
    assert entrypoint
    python, *module = json.loads(entrypoint[1])
    assert python == "python"
    shown = subprocess.check_output([sys.executable, *module, "--help"], text=True)
    assert set(ARGUMENTS) <= set(re.findall(r"--[a-z-]+", shown))


def test_the_image_copies_what_the_build_lets_in() -> None:
    let_in = (REPOSITORY / ".dockerignore").read_text().splitlines()
    copied = [
        source
        for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied
    assert {f"!{source}" for source in copied} <= set(let_in)


def test_the_image_has_the_tested_interp_engine() -> None:
    pin = re.search(
        r"^interp-engine==(.*)$", (REPOSITORY / "constraints-vllm.txt").read_text(), re.M
    )
    assert pin
    for page in ("deploy/engine.Dockerfile", "docs/scaling_out.md"):
        versions = re.findall(
            r"interp-engine\[vllm,server\]==([\d.]+)", (REPOSITORY / page).read_text()
        )
        assert versions == [pin[1]]


def test_the_image_does_not_run_as_root() -> None:
    assert re.search(r"^ARG UID=[1-9]\d*$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["${UID}"]
