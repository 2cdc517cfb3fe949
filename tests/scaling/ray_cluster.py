"""A Ray cluster on this machine, with GPUs that are not there."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.ports import free_port

# Of the loopback too; Ray takes 127.0.0.1 for the machine's address in the network.
_HOSTS = ("127.0.0.2", "127.0.0.3")
_RAY = Path(sys.executable).with_name("ray")
# Below what a node would need to see itself: nothing is kept in readiness.
_FRUGAL = {
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_prestart_worker_first_driver": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE",
}  # fmt: skip


class Node:
    """One `ray start`, its processes, and what it was started with."""

    def __init__(self, *options: str, address: str, gpus: str, **environment: str) -> None:
        # Short, because sockets below it have a limit on their path.
        self.folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RAY_", "TRAITVEC_", "DAGSTER_"))
        }
        self.process = subprocess.Popen(
            [
                _RAY, "start", "--block", *options, f"--node-ip-address={address}",
                "--num-cpus=4", f"--num-gpus={len(gpus.split(','))}",
                "--object-store-memory=80000000", "--include-log-monitor=false",
                *(
                    f"--{name}-port={free_port()}"
                    for name in ("object-manager", "node-manager", "dashboard-agent-listen",
                                 "dashboard-agent-grpc", "runtime-env-agent", "metrics-export")
                ),
            ],
            env={**kept, **_FRUGAL, "CUDA_VISIBLE_DEVICES": gpus, **environment},
            stdout=(self.folder / "out.txt").open("w"), stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def said(self) -> str:
        return (self.folder / "out.txt").read_text()

    def kill(self) -> None:
        """As when its machine is lost."""
        for pid in (self.process.pid, *_children(self.process.pid)):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=20)

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=20)


class Cluster:
    """A head node with two GPUs, and more nodes when asked for."""

    def __init__(self, **environment: str) -> None:
        self.port, dashboard = free_port(), free_port()
        self.url = f"http://{_HOSTS[0]}:{dashboard}"
        # Without it, anyone who reaches the port may run anything.
        self.token = secrets.token_hex(32)
        self.environment = environment | self.access
        # The first node's folder is the whole cluster's.
        self.folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
        self.nodes = [
            Node(
                "--head", f"--port={self.port}", f"--temp-dir={self.folder}",
                f"--dashboard-host={_HOSTS[0]}", f"--dashboard-port={dashboard}",
                f"--ray-client-server-port={free_port()}", "--include-dashboard=true",
                gpus="0,1", address=_HOSTS[0], **self.environment,
            )
        ]  # fmt: skip
        self.wait_for_nodes(1)

    @property
    def access(self) -> dict[str, str]:
        """What a process needs to use the cluster."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def add_node(self, gpus: str) -> Node:
        address = _HOSTS[len(self.nodes)]
        node = Node(
            f"--address={_HOSTS[0]}:{self.port}", address=address, gpus=gpus, **self.environment
        )
        self.nodes.append(node)
        self.wait_for_nodes(len(self.nodes))
        return node

    def wait_for_nodes(self, number: int) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if len(self.alive_nodes()) == number:
                    return
            except OSError:
                pass
            assert all(node.process.poll() is None for node in self.nodes), self.said()
            time.sleep(0.5)
        raise AssertionError(f"no cluster of {number}: {self.said()}")

    def alive_nodes(self) -> list[str]:
        found = self.ask("/api/v0/nodes")["data"]["result"]["result"]
        return [node["node_id"] for node in found if node["state"] == "ALIVE"]

    def jobs(self) -> dict[str, dict[str, Any]]:
        """What the dashboard shows of the jobs, by the step's name and in order."""
        return {job["submission_id"]: job for job in self.ask("/api/jobs/")}

    def occupy(self, gpus: int) -> str:
        """Take GPUs until `stop`; returns the job's name."""
        entrypoint = {"entrypoint": "sleep 300", "entrypoint_num_gpus": gpus}
        job: str = self.ask("/api/jobs/", entrypoint)["submission_id"]
        return job

    def stop(self, job: str) -> None:
        self.ask(f"/api/jobs/{job}/stop", {})

    def logs(self) -> str:
        """All that the cluster's processes have written."""
        files = self.folder.glob("session_*/logs/**/*")
        return "\n".join(file.read_text(errors="replace") for file in files if file.is_file())

    def ask(self, page: str, data: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            self.url + page,
            None if data is None else json.dumps(data).encode(),
            {"authorization": f"Bearer {self.token}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def said(self) -> str:
        return "\n".join(node.said() for node in self.nodes)

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.close()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        for folder in (self.folder, *(node.folder for node in self.nodes)):
            shutil.rmtree(folder, ignore_errors=True)

    def processes(self) -> list[int]:
        """Processes that were started with this cluster's own folder."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if str(self.folder).encode() in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [inner for child in map(int, text.split()) for inner in (child, *_children(child))]
