"""Starts vLLM in a child process, and keeps it for all stages and traits of this process.

The child may run in another Python environment, because vLLM pins its own torch: the environment
variable `TRAITVEC_VLLM_PYTHON` names it. The child ends with this process, however that ends.
"""

import atexit
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.generation.engine_options import KEY_NAME
from traitvec_core.models.files import check_installed
from traitvec_core.remote.sdk_errors import clipped

__all__ = [
    "EngineProcess",
    "ProcessOptions",
    "check_engine",
    "check_vllm",
    "running_engine",
    "serving_environment",
    "stop_engine",
    "vllm_python",
]

_PYTHON = "TRAITVEC_VLLM_PYTHON"
_START_S = 300.0
_POLL_S = 0.1
_STOP_S = 20.0
_PACKAGE_ROOT = Path(__file__).parents[2]
# The last of these in the log is the cause; vLLM's own processes log their tracebacks line by line.
_ERROR = re.compile(r"(?:^|\s)((?:[\w.]*(?:Error|Exception|Interrupt|Exit)): \S.*)$")
_WORKER_ERROR = re.compile(r"Worker failed with error '(.*?)',? please check the stack trace")
_GENERIC = ("Engine core initialization failed", "EngineDeadError", "EngineCore encountered")

_lock = threading.Lock()
_running: "EngineProcess | None" = None


@dataclass(frozen=True)
class ProcessOptions:
    """What a child process serves; two that are equal can share it.

    Attributes:
        model: Hub id or folder.
        name: The model, as experiments name it.
        fingerprint: Of the model's files.
        revision: Branch, tag or commit on the hub.
        dtype: As in experiment.yaml.
        tensor_parallel: GPUs that share the weights.
        max_model_len: Longest prompt with its response, in tokens; None chooses.
        calls_at_once: Requests that run at once; None chooses.
        memory_share: Of each GPU's memory; None takes what is free.
    """

    model: str
    name: str
    fingerprint: str = ""
    revision: str | None = None
    dtype: str = "auto"
    tensor_parallel: int = 1
    max_model_len: int | None = None
    calls_at_once: int | None = None
    memory_share: float | None = None

    @property
    def arguments(self) -> list[str]:
        """The command line of `python -m traitvec_core.serving`."""
        values = {
            "--model": self.model, "--name": self.name, "--revision": self.revision,
            "--dtype": self.dtype, "--tensor-parallel": self.tensor_parallel,
            "--max-model-len": self.max_model_len,
            "--calls-at-once": self.calls_at_once, "--memory-share": self.memory_share,
        }  # fmt: skip
        given = {name: value for name, value in values.items() if value is not None}
        return [part for name, value in given.items() for part in (name, str(value))]


def running_engine(options: ProcessOptions) -> "EngineProcess":
    """Return the child process that serves this; the one before is reused, or stopped.

    Raises:
        TraitvecError: If it cannot be started.
    """
    global _running  # noqa: PLW0603  # a machine holds one such model at a time
    with _lock:
        current = _running
        if current is not None and (current.options != options or current.has_ended):
            current.stop()
            _running = current = None
        if current is None:
            _running = current = EngineProcess(options)
        return current


def stop_engine() -> None:
    """Stop the child process, if there is one, and free its memory."""
    global _running  # noqa: PLW0603
    with _lock:
        if _running is not None:
            _running.stop()
            _running = None


def check_engine(settings: ExperimentSettings) -> None:
    """Check, as far as possible without loading anything, that an experiment's engine can work.

    Raises:
        TraitvecError: If a package is missing here; the environment of `TRAITVEC_VLLM_PYTHON` is
            not looked into.
    """
    check_installed(quantization=settings.quantization)
    if settings.engine == "vllm":
        check_vllm()


def check_vllm() -> None:
    """Check that this Python has vLLM, unless another one runs it.

    Raises:
        TraitvecError: If a package is missing.
    """
    if vllm_python() != sys.executable:
        return
    missing = [name for name in ("vllm", "interp_engine") if find_spec(name) is None]
    if missing:
        raise TraitvecError(
            f"engine: vllm needs {' and '.join(missing)}; run `pip install 'traitvec[vllm]'`, or"
            f" set {_PYTHON} to the Python of an environment that has it"
        )


def vllm_python() -> str:
    """Return the Python that runs vLLM: `TRAITVEC_VLLM_PYTHON`, or this one.

    Raises:
        TraitvecError: If the variable names no file that can be run.
    """
    python = os.environ.get(_PYTHON, "").strip()
    if python and not os.access(python, os.X_OK):
        raise TraitvecError(
            f"{_PYTHON}={python} is no program; set it to the bin/python of an environment with"
            " interp-engine[vllm,server]"
        )
    return python or sys.executable


def serving_environment(key: str | None) -> dict[str, str]:
    """Return the environment variables of `python -m traitvec_core.serving`.

    Args:
        key: The token that it asks for; None for none.
    """
    # Keys of other services are none of its business.
    others = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "JUDGE_API_KEY", KEY_NAME}
    environment = {name: value for name, value in os.environ.items() if name not in others}
    if key is not None:
        environment[KEY_NAME] = key
    if _PACKAGE_ROOT.name != "site-packages":
        # A checkout, which the other environment need not have installed.
        inherited = environment.get("PYTHONPATH")
        paths = [str(_PACKAGE_ROOT), *([inherited] if inherited else [])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment


class EngineProcess:
    """A child process that serves one model on loopback, for requests that bear its token.

    Attributes:
        options: What it serves.
        key: Its token.
        address: Where it listens.

    Raises:
        TraitvecError: If it does not start.
    """

    def __init__(self, options: ProcessOptions) -> None:
        self.options = options
        self.key = secrets.token_hex(32)
        self._folder = Path(tempfile.mkdtemp(prefix="traitvec-vllm-"))
        self._is_lost = False
        self._error = ""
        self._is_stopped = False
        port_file = self._folder / "port"
        command = [
            vllm_python(), "-m", "traitvec_core.serving", *options.arguments,
            "--port", "0", "--port-file", str(port_file), "--end-with-stdin",
        ]  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  # the owner's own Python
                command,
                # Its end tells the child that this process has ended, even by a kill.
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=serving_environment(self.key),
                # Ctrl-C is for this process, which then ends the child and vLLM's own processes.
                start_new_session=True,
            )  # fmt: skip
        atexit.register(self.stop)
        self.address = f"http://127.0.0.1:{self._port(port_file)}"

    @property
    def has_ended(self) -> bool:
        """Whether it has stopped serving."""
        return self._is_lost or self._process.poll() is not None

    def ended(self) -> str | None:
        """Return why the process has ended, in one line; None while it runs."""
        if not self.has_ended:
            return None
        code = self._process.poll()
        self._kill()
        cause = self._error if self._error and not _is_generic(self._error) else self._cause()
        if code is not None and code < 0 and not self._is_lost:
            what = f"vLLM's process was killed by signal {-code}"
        elif cause:
            what = f"vLLM's process ended: {cause}{_how_to_fix(cause)}"
        else:
            what = "vLLM's process ended"
        return f"{what}; log: {self._log}; finished work is kept, run again to continue"

    def lost(self, error: str = "") -> None:
        """End the process, because vLLM's engine below it has died, or did not start.

        Args:
            error: What the process says of it.
        """
        self._is_lost = True
        self._error = error
        self._kill()

    def stop(self) -> None:
        """End the process, and remove its log."""
        if self._is_stopped:
            return
        self._is_stopped = True
        atexit.unregister(self.stop)
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_STOP_S)
        self._kill()
        if not self._is_lost:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self._folder / "vllm.log"

    def _port(self, file: Path) -> int:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            with suppress(OSError, ValueError):
                return int(file.read_text())
            if self._process.poll() is not None:
                cause = self._cause() or f"exit code {self._process.returncode}"
                self._kill()
                raise TraitvecError(f"engine: vllm could not start: {cause}{_how_to_fix(cause)}")
            time.sleep(_POLL_S)
        self._kill()
        raise TraitvecError(f"engine: vllm did not start within {_START_S:g} s; log: {self._log}")

    def _cause(self) -> str:
        """The last error in the log that is not a mere consequence of another."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        causes = [match[1] for line in text.splitlines() if (match := _ERROR.search(line))]
        own = [line.removeprefix("error: ") for line in text.splitlines() if line[:7] == "error: "]
        causes = [cause for cause in causes if not _is_generic(cause)]
        chosen = (own or causes or [""])[-1]
        inner = _WORKER_ERROR.search(chosen)
        return clipped(inner[1] if inner else chosen, 300)

    def _kill(self) -> None:
        # The whole group: vLLM's engine outlives its server.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_STOP_S)


_FIXES: tuple[tuple[str, str], ...] = (
    (
        r"KV cache|cache blocks|max seq len",
        "lower max_model_len, free GPU memory, or raise tensor_parallel",
    ),
    (r"out of memory|OutOfMemory", "free GPU memory, or raise tensor_parallel"),
    (
        r"No module named|lacks it",
        "install interp-engine[vllm,server] there, or set TRAITVEC_VLLM_PYTHON",
    ),
)


def _is_generic(cause: str) -> bool:
    return any(part in cause for part in _GENERIC)


def _how_to_fix(cause: str) -> str:
    for pattern, fix in _FIXES:
        if re.search(pattern, cause, re.IGNORECASE) and fix not in cause:
            return f"; {fix}"
    return ""
