"""Scores responses with a function from a Python file in the experiment's folder."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from traitvec_core.errors import TraitvecError
from traitvec_core.judging.python_process import PythonProcess, WorkerLostError
from traitvec_core.judging.python_source import source_hash
from traitvec_core.judging.reading import Judgement
from traitvec_core.judging.scorer import Pair, Scorer
from traitvec_core.settings.scorer import PythonFunction
from traitvec_core.storage.bucket import STORAGE_VARIABLE
from traitvec_core.storage.files import display_path

__all__ = ["FunctionScorer"]

# Raise when the same function would score differently: all judgements are then made again.
_VERSION = 1
# A function that hangs would otherwise take the time limit for every response.
_MOST_LOST_IN_A_ROW = 3


class FunctionScorer(Scorer):
    """A function `(question, response)` that returns a score from 0 to 100, or None.

    It runs in a child process: what it prints is dropped, and if it raises, hangs or crashes, that
    response has no score. The next response gets a new process.

    Args:
        name: The name as in the settings.
        function: File and function.
        folder: The experiment's folder.
        timeout_s: Limit for one response.

    Raises:
        TraitvecError: If the file does not exist, lies outside the folder or cannot be imported, or
            the function does not exist or does not take two arguments.
    """

    def __init__(self, name: str, function: PythonFunction, folder: Path, timeout_s: float) -> None:
        self.name = name
        path = folder / function.path
        shown = display_path(folder) + "/" + function.path
        if not path.is_file():
            # Who can write to a bucket must not change code while a run waits to execute it.
            where = "; code is not synced, copy it here" if os.environ.get(STORAGE_VARIABLE) else ""
            raise TraitvecError(f"{shown}: there is no such file; {name!r} needs it{where}")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise TraitvecError(
                f"{shown}: is a link to a file outside the experiment's folder; copy the file"
            )
        self._source = source_hash(path)
        self._process = PythonProcess(path.resolve(), function.function, shown, timeout_s)
        self._process.start()

    @property
    def identity(self) -> str:
        """All that determines a judgement besides question and response."""
        return json.dumps(
            {
                "provider": "python",
                "model": self.name,
                "source": self._source,
                "scoring": "function",
                "version": _VERSION,
            }
        )

    def close(self) -> None:
        """End the child process; the next score starts another."""
        self._process.stop()

    def scores(self, pairs: Sequence[Pair]) -> Iterator[Mapping[int, Judgement]]:
        """Score one response after the other."""
        lost = 0
        for number, (question, response) in enumerate(pairs):
            if lost == _MOST_LOST_IN_A_ROW:
                reason = f"not tried: the function hung or crashed {lost} times in a row"
                rest = range(number, len(pairs))
                yield {n: Judgement(None, "error", reason, is_final=False) for n in rest}
                return
            try:
                answer = self._process.ask(question, response)
            except WorkerLostError as error:
                lost += 1
                # A busy machine may be the cause, so the next run tries again.
                yield {number: Judgement(None, "error", f"the function {error}", is_final=False)}
                continue
            lost = 0
            yield {number: _judgement(answer["score"], answer["reason"])}


def _judgement(score: float | None, reason: str) -> Judgement:
    if score is None:
        return Judgement(None, "error", reason)
    return Judgement(round(score, 4), "ok")
