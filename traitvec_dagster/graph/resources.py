"""What a run uses: the loaded models, the progress log."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import dagster as dg

from traitvec_core.models.files import LoadOptions, model_fingerprint
from traitvec_core.stage_names import Stage
from traitvec_core.stages.context import SecondsLeft, Workbench
from traitvec_core.visible_text import one_line

if TYPE_CHECKING:
    from traitvec_core.models.language_model import LanguageModel

__all__ = ["ProgressSink", "set_progress_sink", "unload_models", "workbench"]

_LOG_EVERY_S = 5.0
_sink: "ProgressSink | None" = None


class ProgressSink(Protocol):
    """Receives progress in addition to Dagster's log."""

    def __call__(
        self,
        stage: Stage,
        done: int,
        total: int,
        note: str = "",
        *,
        left_s: SecondsLeft = "by rate",
    ) -> None:
        """Show how far a stage is."""
        ...

    def say(self, text: str) -> None:
        """Show a line."""
        ...


def set_progress_sink(sink: ProgressSink | None) -> None:
    """Send progress to `sink` in addition to Dagster's log; None stops it."""
    global _sink  # noqa: PLW0603  # one process shows one progress bar
    _sink = sink


def workbench(
    log: dg.DagsterLogManager, before_load: Callable[[], None] = lambda: None
) -> Workbench:
    """Return a workbench with the models that all steps of this process share.

    Args:
        log: The run's log.
        before_load: Called before a model is loaded or reused.
    """
    started: tuple[float, int] | None = None
    last = 0.0

    def progress(
        stage: Stage, done: int, total: int, note: str = "", *, left_s: SecondsLeft = "by rate"
    ) -> None:
        nonlocal started, last
        if _sink is not None:
            _sink(stage, done, total, note, left_s=left_s)
        now = time.monotonic()
        if started is None:
            started = now, done
        # Responses that are all generated may still have to be judged.
        if now - last >= _LOG_EVERY_S or (done == total and left_s in {"by rate", 0.0}):
            last = now
            pace = _pace(now - started[0], done - started[1], total - done, left_s)
            parts = (f"{stage}: {done} of {total}", pace, one_line(note))
            log.info(", ".join(part for part in parts if part))

    def say(text: str) -> None:
        if _sink is not None:
            _sink.say(text)
        log.info(one_line(text))

    def load(name: str, options: LoadOptions) -> "LanguageModel":
        before_load()
        return _shared_model(name, options)

    return Workbench(load_model=load, claim_gpu=before_load, progress=progress, say=say)


def unload_models() -> None:
    """Drop this process' references to its loaded models, and end the one in a child process."""
    from traitvec_core.generation.engine_process import stop_engine

    _load.cache_clear()
    stop_engine()


def _pace(seconds: float, done: int, left: int, left_s: SecondsLeft) -> str:
    """Return rate and time left, once there is enough to estimate them from."""
    if seconds < 1 or not done:
        return ""
    rate = done / seconds
    if left_s == "by rate":
        left_s = left / rate
    return f"{rate:.1f}/s" + (f", {timedelta(seconds=round(left_s))} left" if left_s else "")


def _shared_model(name: str, options: LoadOptions) -> "LanguageModel":
    return _load(name, options, model_fingerprint(name, options.revision))


# Two: the model that answers and the model that judges.
@lru_cache(maxsize=2)
def _load(name: str, options: LoadOptions, fingerprint: str) -> "LanguageModel":
    del fingerprint  # part of the cache key: reload a folder whose weights have changed
    from traitvec_core.models.language_model import load_language_model

    return load_language_model(name, **vars(options))
