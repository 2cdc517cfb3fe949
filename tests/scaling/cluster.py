"""A Kubernetes without containers: the jobs' part of its API, each job a process of this machine.

What a client sends goes through the real client and its models; image, volumes and nodes are only
written down. A secret becomes environment as the kubelet would have it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml


@dataclass
class LocalCluster:
    """Runs what is posted to it, and ends it with itself.

    Attributes:
        folder: Where the jobs' output and the kubeconfig go.
        secrets: Environment by the name of a secret.
        config_maps: The same for config maps.
        lose: A step whose first pod is killed a second after it started.
        jobs: What was posted, by name, in order.
    """

    folder: Path
    secrets: dict[str, dict[str, str]]
    config_maps: dict[str, dict[str, str]]
    lose: str | None = None
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> "LocalCluster":
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                cluster.start(body)
                self._answer(body)

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if found := re.search(r"/jobs/([^/]+)(/status)?$", parts.path):
                    self._answer(cluster.status(found[1]))
                elif parts.path.endswith("/pods"):
                    name = parse_qs(parts.query)["labelSelector"][0].removeprefix("job-name=")
                    self._answer({"kind": "PodList", "items": [{"metadata": {"name": name}}]})
                else:
                    self.send_error(404)

            def do_DELETE(self) -> None:
                if name := re.search(r"/jobs/([^/]+)$", self.path):
                    cluster.end(name[1])
                self._answer({"kind": "Status", "status": "Success"})

            def _answer(self, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        for name in self._processes:
            self.end(name)

    @property
    def kubeconfig(self) -> Path:
        """A file that leads clients here."""
        path = self.folder / "kubeconfig"
        address = f"http://127.0.0.1:{self._server.server_port}"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "local",
                    "contexts": [{"name": "local", "context": {"cluster": "local", "user": "me"}}],
                    "clusters": [{"name": "local", "cluster": {"server": address}}],
                    "users": [{"name": "me", "user": {}}],
                }
            )
        )
        return path

    def start(self, job: dict[str, Any]) -> None:
        """Start a job's container as a process."""
        name = job["metadata"]["name"]
        container = container_of(job)
        environment = self._environment(container)
        self.jobs[name] = job
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                container["args"], env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self._processes[name] = process
        if self.lose is not None and environment.get("DAGSTER_RUN_STEP_KEY") == self.lose:
            self.lose = None
            threading.Timer(1, os.killpg, (process.pid, signal.SIGKILL)).start()

    def status(self, name: str) -> dict[str, Any]:
        """A job with its status, as its process has it."""
        code = self._processes[name].poll()
        status = "active" if code is None else "failed" if code else "succeeded"
        return {**self.jobs[name], "status": {status: 1}}

    def end(self, name: str) -> None:
        """End a job's process, if it is still there."""
        process = self._processes[name]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def output(self) -> str:
        """What all jobs wrote, for a failed test."""
        return "\n".join(
            f"== {path.name}\n{path.read_text()[-3000:]}" for path in self.folder.glob("*.log")
        )

    def _environment(self, container: dict[str, Any]) -> dict[str, str]:
        # Nothing of this process but where its programs and packages are.
        found = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        found |= {k: v for k, v in os.environ.items() if k in {"PYTHONPATH", "OMP_NUM_THREADS"}}
        for source in container.get("envFrom", []):
            if "secretRef" in source:
                found |= self.secrets[source["secretRef"]["name"]]
            else:
                found |= self.config_maps[source["configMapRef"]["name"]]
        for variable in container["env"]:
            if "valueFrom" in variable:
                key = variable["valueFrom"]["secretKeyRef"]
                found[variable["name"]] = self.secrets[key["name"]][key["key"]]
            else:
                found[variable["name"]] = variable["value"]
        return found


def container_of(job: dict[str, Any]) -> dict[str, Any]:
    """The only container of a job."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return dict(container)
