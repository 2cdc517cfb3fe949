"""Judges responses while others are still being generated, by judges that wait for a server.

A judge in this process gains nothing by it: it would take turns with the generation on the same
cores, and read its prompts through the hooks that steer the model.
"""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from traitvec_core.judging.api import ApiJudge
from traitvec_core.judging.judge import Judge, score_prompts
from traitvec_core.judging.judgement_store import JudgementStore, Origin
from traitvec_core.storage.provenance import Cost

__all__ = ["EarlyJudging"]

# For calls in flight when generation fails or is interrupted, so that their judgements are stored.
_CLOSING_S = 5.0


class EarlyJudging:
    """A context in which a thread judges what is added, until generation is over.

    Judging all responses afterwards reads these judgements from the store and requests the
    rest, so results do not depend on how far the thread came. Does nothing for judges that do not
    wait for a server.

    Args:
        judge: The judge; nobody else may use it inside the context.
        store: Gets the judgements.
        origin: The experiment and trait that pay.

    Attributes:
        paid: Cost of the judgements so far.
    """

    def __init__(self, judge: Judge, store: JudgementStore, origin: Origin) -> None:
        self.paid = Cost()
        self._judge = judge
        self._store = store
        self._origin = origin
        self._waiting: dict[str, tuple[str, str]] = {}
        self._change = threading.Condition()
        self._is_over = False
        self._error: BaseException | None = None
        # A daemon: a second Ctrl-C must be able to end the process.
        is_remote = isinstance(judge, ApiJudge) and judge.batches is None
        self._thread = threading.Thread(target=self._work, daemon=True) if is_remote else None

    def add(self, sources: Mapping[str, tuple[str, str]]) -> None:
        """Judge prompts soon.

        Args:
            sources: Prompt → name of its rubric and question_id, for the store.

        Raises:
            TraitvecError: If judging has failed for all prompts, as with a wrong key.
        """
        if self._thread is None:
            return
        with self._change:
            if self._error is not None:
                raise self._error
            self._waiting.update(sources)
            self._change.notify()

    def __enter__(self) -> Self:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is None:
            return
        with self._change:
            self._is_over = True
            self._change.notify()
        try:
            self._thread.join(None if kind is None else _CLOSING_S)
        except BaseException:
            self._thread.join(_CLOSING_S)
            raise
        if kind is None and self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while True:
                with self._change:
                    self._change.wait_for(lambda: self._waiting or self._is_over)
                    sources, self._waiting = self._waiting, {}
                if self._is_over:
                    return
                _, paid, _ = score_prompts(
                    self._judge, sources, store=self._store, origin=self._origin,
                    is_cancelled=lambda: self._is_over,
                )  # fmt: skip
                self.paid += paid
        except BaseException as error:  # noqa: BLE001  # raised in the caller's thread
            self._error = error
