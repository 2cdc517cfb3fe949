"""Runs a scorer's function in a child process, with a time limit for every response."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from traitvec_core.errors import TraitvecError

__all__ = ["PythonProcess", "WorkerLostError"]

_WORKER = Path(__file__).with_name("python_worker.py")
_CHUNK = 65_536


class WorkerLostError(Exception):
    """The process hung or died; the message says which."""


class PythonProcess:
    """A child process that has imported one function. A new one replaces it when it is lost.

    Args:
        path: The Python file.
        function: The function.
        shown: The file's name in messages.
        timeout_s: Limit for the import, and for each response.
    """

    def __init__(self, path: Path, function: str, shown: str, timeout_s: float) -> None:
        self._path = path
        self._function = function
        self._shown = shown
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def start(self) -> None:
        """Import the function, unless that is done.

        Raises:
            TraitvecError: If it cannot be imported or called.
        """
        if self._child is not None:
            return
        self._unread = b""
        self._child = child = subprocess.Popen(  # noqa: S603  # the user's file, as asked for
            [sys.executable, str(_WORKER), str(self._path), self._function],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            # Ctrl-C is for this process, which then ends the child; killing the group ends what
            # the child has started, too.
            start_new_session=True,
        )  # fmt: skip
        for descriptor in _pipes(child):
            os.set_blocking(descriptor, False)
        self._end = weakref.finalize(self, _kill, child)
        try:
            started = self._receive(time.monotonic() + self._timeout_s)
        except WorkerLostError as error:
            raise TraitvecError(f"{self._shown}: cannot be imported: it {error}") from None
        if "problem" in started:
            self.stop()
            raise TraitvecError(f"{self._shown}: {started['problem']}")

    def ask(self, question: str, response: str) -> dict[str, Any]:
        """Return `{"score": …, "reason": …}` for one response.

        Raises:
            WorkerLostError: If the process hung or died.
            TraitvecError: If a new process cannot import the function.
        """
        self.start()
        deadline = time.monotonic() + self._timeout_s
        self._send(json.dumps([question, response]).encode() + b"\n", deadline)
        return self._receive(deadline)

    def stop(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child = None
            self._end()

    def _send(self, data: bytes, deadline: float) -> None:
        pipe, _ = _pipes(self._running())
        while data:
            self._wait(pipe, selectors.EVENT_WRITE, deadline)
            try:
                data = data[os.write(pipe, data[:_CHUNK]) :]
            except BrokenPipeError:
                raise self._lost() from None

    def _receive(self, deadline: float) -> dict[str, Any]:
        _, pipe = _pipes(self._running())
        while b"\n" not in self._unread:
            self._wait(pipe, selectors.EVENT_READ, deadline)
            data = os.read(pipe, _CHUNK)
            if not data:
                raise self._lost()
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                self.stop()
                raise WorkerLostError(f"did not finish within {self._timeout_s:g} s")

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._child is None:
            raise WorkerLostError("was stopped")
        return self._child

    def _lost(self) -> WorkerLostError:
        child = self._running()
        with suppress(subprocess.TimeoutExpired):
            child.wait(1)
        code = child.poll()
        self.stop()
        how = f"exit status {code}"
        if code is not None and code < 0:
            with suppress(ValueError):
                how = signal.Signals(-code).name
        return WorkerLostError(f"ended its process ({how})")


def _pipes(child: "subprocess.Popen[bytes]") -> tuple[int, int]:
    """The ends for requests and for answers."""
    return cast(IO[bytes], child.stdin).fileno(), cast(IO[bytes], child.stdout).fileno()


def _kill(child: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    child.wait()
