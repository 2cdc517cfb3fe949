"""A local S3 server for any S3 client; each test has its own bucket."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from tests.ports import free_port

_NUMBERS = count()


@dataclass
class S3Server:
    """moto's server in this process: what lies there outlives `stop`, as with a real one."""

    port: int
    requests: list[str] = field(default_factory=list)

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, part: str) -> int:
        """How many requests had this in their first line."""
        return sum(part in line for line in self.requests)


class _Recorder(logging.Handler):
    def __init__(self, requests: list[str]) -> None:
        super().__init__()
        self._requests = requests

    def emit(self, record: logging.LogRecord) -> None:
        self._requests.append(record.getMessage())


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    pytest.importorskip("s3fs", reason="pip install 'traitvec[s3]'")
    pytest.importorskip("moto.server", reason="pip install 'moto[server]'")
    server = S3Server(free_port())
    log = logging.getLogger("werkzeug")
    recorder, before = _Recorder(server.requests), log.level
    log.addHandler(recorder)
    log.setLevel(logging.INFO)
    server.start()
    yield server
    with suppress(Exception):
        server.stop()
    log.removeHandler(recorder)
    log.setLevel(before)


@dataclass
class Bucket:
    """A bucket, asked as any other S3 client would ask."""

    server: S3Server
    name: str

    @property
    def client(self):  # type: ignore[no-untyped-def]
        import boto3

        return boto3.client("s3", endpoint_url=self.server.address)

    @property
    def storage(self) -> str:
        return f"s3://{self.name}/lab"

    def names(self) -> set[str]:
        rows = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return {row["Key"].removeprefix("lab/") for row in rows}

    def put(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=f"lab/{name}", Body=data)

    def get(self, name: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.name, Key=f"lab/{name}")["Body"].read())

    def delete(self, name: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=f"lab/{name}")


@pytest.fixture
def bucket(
    s3_server: S3Server, own_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Bucket:
    """An empty bucket that `TRAITVEC_STORAGE` names, with credentials for it."""
    found = Bucket(s3_server, f"bucket-{next(_NUMBERS)}")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key-of-the-test",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_server.address,
        # Nothing of the user who runs the tests.
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "TRAITVEC_STORAGE": found.storage,
    }.items():
        monkeypatch.setenv(name, value)
    found.client.create_bucket(Bucket=found.name)
    s3_server.requests.clear()
    return found
