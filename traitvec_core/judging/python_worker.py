"""The child process of a Python scorer: JSON lines in, JSON lines out.

It runs as a file and imports nothing but the standard library. Whatever a scorer does (print, exit,
crash, hang) cannot reach the run that asked. `read_score` says what counts as a score.
"""

import importlib.machinery
import importlib.util
import inspect
import json
import numbers
import os
import sys
import threading
import time
from typing import Any

__all__ = ["read_score"]

_MAX_REASON_CHARS = 160


def read_score(value: Any) -> tuple[float | None, str]:
    """Return the score that a function returned, or None and the reason why it is none.

    Any real number from 0 to 100 is a score, NumPy's included; `True` and "80" are not.
    """
    if value is None:
        return None, "the function returned None: no score"
    # `numpy.bool` is no `numbers.Real`.
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None, f"the function returned {_shown(value)}, which is not a number"
    # `numbers.Real` declares its operators for `float` only.
    number: Any = value
    if not 0 <= number <= 100:
        return None, f"the function returned {_shown(value)}, which is not from 0 to 100"
    return abs(float(value)), ""


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of too many digits
        text = "a huge number"
    # The type tells a NumPy boolean from Python's, and a string from what it looks like.
    return _clipped(
        text if isinstance(value, numbers.Number) else f"{text} ({type(value).__name__})"
    )


def _clipped(text: str) -> str:
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= _MAX_REASON_CHARS else f"{flat[:_MAX_REASON_CHARS]}…"


def _described(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # an error whose text raises an error
        text = ""
    return _clipped(f"{type(error).__name__}: {text}" if text else type(error).__name__)


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Compiles the source each time: what was read and allowed is what runs.

    Python would run a `__pycache__` in its place, which a project from elsewhere can bring.
    """

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _import_only_sources(folder: str) -> None:
    """Of this folder and those below, import `.py` files only: no compiled files or libraries."""
    find_sources = importlib.machinery.FileFinder.path_hook((_SourceLoader, [".py"]))

    def find_inside(path: str) -> Any:
        if f"{path}{os.sep}".startswith(f"{folder.rstrip(os.sep)}{os.sep}"):
            return find_sources(path)
        raise ImportError(path)

    sys.path_hooks.insert(0, find_inside)
    sys.path_importer_cache.pop(folder, None)


def _load(path: str, name: str) -> Any:
    """Return the function.

    Raises:
        ValueError: If it cannot be loaded or called; the message says why.
    """
    # As for `python scorers.py`: modules beside the file can be imported. This file's own folder
    # stands there, unless Python was asked to leave such folders out.
    folder = os.path.dirname(path)
    sys.path[: 0 if sys.flags.safe_path else 1] = [folder]
    # Nothing is written into the experiment's folder, and an edit is never overlooked.
    sys.dont_write_bytecode = True
    _import_only_sources(folder)
    module_name = os.path.basename(path).removesuffix(".py")
    spec = importlib.util.spec_from_file_location(
        module_name, path, loader=_SourceLoader(module_name, path)
    )
    if spec is None or spec.loader is None:
        raise ValueError("is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # noqa: BLE001  # any code may run, `sys.exit()` too
        raise ValueError(f"cannot be imported ({_described(error)})") from None
    function = getattr(module, name, None)
    if not callable(function):
        known = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module_name
        ]
        listed = f"; it has {', '.join(known)}" if known else ""
        raise ValueError(f"has no function {name}{listed}")
    try:
        inspect.signature(function).bind("question", "response")
    except TypeError:
        raise ValueError(f"{name} must take two arguments: (question, response)") from None
    except ValueError:
        pass  # some built-in functions have no signature
    if inspect.iscoroutinefunction(function):
        raise ValueError(f"{name} is async; write a plain function")
    return function


def _answer(function: Any, question: str, response: str) -> dict[str, Any]:
    try:
        score, reason = read_score(function(question, response))
    except BaseException as error:  # noqa: BLE001  # `sys.exit()` too is a fault of this response
        return {"score": None, "reason": f"the function raised {_described(error)}"}
    return {"score": score, "reason": reason}


def _end_with_parent(parent: int) -> None:
    # A function that hangs never sees that nobody waits any more.
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _serve(path: str, name: str) -> None:
    # The scorer gets an empty input and a silent output; the pipes move out of its reach.
    requests, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(silence, number)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()

    def send(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        function = _load(path, name)
    except ValueError as error:
        send({"problem": str(error)})
        return
    send({})
    for line in requests:
        send(_answer(function, *json.loads(line)))


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])
    # Threads that a scorer left behind must not keep this process.
    os._exit(0)
