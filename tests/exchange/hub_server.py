"""A stand-in for the hub's API, as far as a push needs it; it keeps what it is sent."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.ports import served

TOKEN = "hf_token_that_may_write"


@dataclass
class Hub:
    """What was asked and sent.

    Attributes:
        address: Where it listens.
        requests: Method and path of every request.
        repositories: Private or not, by name.
        files: Content by path, of what was committed.
        large: Content by SHA-256, uploaded before the commit.
        refuse: Status that creating a repository is answered with, if any.
    """

    address: str = ""
    requests: list[str] = field(default_factory=list)
    repositories: dict[str, bool] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    refuse: int | None = None


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve on a free port of this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.requests.append(f"POST {self.path}")
            self._answer(*self._post(body))

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hub.requests.append("PUT")
            hub.large[self.path.rsplit("/", 1)[1]] = body
            self._answer(200, {})

        def do_GET(self) -> None:
            hub.requests.append(f"GET {self.path}")
            self._answer(404, {"error": "not found"})

        def _post(self, body: bytes) -> tuple[int, dict[str, Any]]:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return 401, {"error": "Invalid username or password."}
            if self.path == "/api/validate-yaml":
                return 200, {"errors": [], "warnings": []}
            if self.path == "/api/repos/create":
                return self._create(json.loads(body))
            if "/preupload/" in self.path:
                # The hub keeps small text in git, and tensors as large files.
                modes = {True: "lfs", False: "regular"}
                return 200, {
                    "files": [
                        {
                            "path": file["path"], "shouldIgnore": False,
                            "uploadMode": modes[file["path"].endswith(".safetensors")],
                        }
                        for file in json.loads(body)["files"]
                    ]
                }  # fmt: skip
            if self.path.endswith("/info/lfs/objects/batch"):
                objects = json.loads(body)["objects"]
                for item in objects:
                    href = f"{hub.address}/upload/{item['oid']}"
                    item["actions"] = {"upload": {"href": href}}
                return 200, {"transfer": "basic", "objects": objects}
            if "/commit/" in self.path:
                return self._commit([json.loads(line) for line in body.splitlines()])
            return 404, {"error": f"no such path {self.path}"}

        def _create(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            if hub.refuse:
                return hub.refuse, {"error": "refused"}
            name = f"{asked['organization']}/{asked['name']}"
            url = {"url": f"{hub.address}/{name}"}
            if name in hub.repositories:
                return 409, {"error": "You already created this model repo", **url}
            hub.repositories[name] = asked["visibility"] == "private"
            return 200, url

        def _commit(self, lines: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    hub.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.files[value["path"]] = hub.large[value["oid"]]
            oid = "0" * 40
            url = f"{hub.address}/{self.path.split('/api/models/')[1]}"
            return 200, {"success": True, "commitOid": oid, "commitUrl": url}

        def _answer(self, status: int, value: dict[str, Any]) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.git-lfs+json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with served(server) as hub.address:
        yield hub
