"""A Postgres cluster of the tests' own, on a loopback port, as a user that is not root."""

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any

from tests.ports import free_port

PASSWORD = "of-the-test"


def program(name: str) -> str | None:
    """Where Debian puts Postgres' programs, or the path."""
    found = sorted(glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return found[-1] if found else shutil.which(name)


class Cluster:
    """Initialised and started; `close` stops it and removes its files."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="traitvec-postgres-"))
        self.port = free_port()
        # Postgres refuses to run as root.
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        data = self.folder / "data"
        self._do("initdb", "-D", data, "-U", "traitvec", "-A", "scram-sha-256",
                 f"--pwfile={secret}", "-N", "-E", "UTF8")  # fmt: skip
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\n"
                f"unix_socket_directories = '{self.folder}'\nfsync = off\n"
            )
        self.start()

    @property
    def url(self) -> str:
        # SQLAlchemy takes a bare `postgresql` for psycopg 3, and Dagster brings psycopg 2.
        return f"postgresql+psycopg2://traitvec:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        self._do("pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-w", "start")

    def stop(self) -> None:
        """End it as its service does: connections are cut."""
        self._do("pg_ctl", "-D", self.folder / "data", "-m", "fast", "-w", "stop")

    def close(self) -> None:
        # It may have been stopped already.
        with suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self.folder)

    def _do(self, name: str, *arguments: object) -> None:
        subprocess.run(
            [str(program(name)), *map(str, arguments)], check=True, timeout=120, cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            **self._as,
        )  # fmt: skip
