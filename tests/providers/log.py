"""What a server was asked and what it answered."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from tests.providers.replies import Call, Json, Provider, Reply


class ServerLog:
    """What the server was asked and what it answered; safe to read from any thread.

    A live call is in flight from its last byte received until its answer's last byte is handed to
    the operating system or its connection is closed. Requests in a batch count apart.
    """

    def __init__(self, path: Path | None = None, keeps_calls: bool = True) -> None:
        self.lock = threading.RLock()
        self._file = path.open("ab", buffering=0) if path else None
        self._keeps_calls = keeps_calls
        self._seen: Counter[tuple[str, str]] = Counter()
        self._answers: dict[bool, Counter[tuple[str, str]]] = {False: Counter(), True: Counter()}
        self._calls: list[Call] = []
        self._totals = {False: 0, True: 0}
        self._in_flight = 0
        self._max_in_flight = 0
        self._requests: list[str] = []

    @property
    def total(self) -> int:
        """Live calls so far, whatever became of them."""
        with self.lock:
            return self._totals[False]

    @property
    def batch_total(self) -> int:
        """Requests run in batches."""
        with self.lock:
            return self._totals[True]

    @property
    def in_flight(self) -> int:
        """Live calls without a complete answer at this moment."""
        with self.lock:
            return self._in_flight

    @property
    def max_in_flight(self) -> int:
        """The most that were in flight at once."""
        with self.lock:
            return self._max_in_flight

    @property
    def answers(self) -> dict[str, int]:
        """Prompt → usable answers written in full, prefilled calls left out."""
        with self.lock:
            return {
                prompt: n for (prompt, prefill), n in self._answers[False].items() if not prefill
            }

    @property
    def prefilled_answers(self) -> dict[tuple[str, str], int]:
        """(prompt, prefill) → the same for calls that continue an assistant message."""
        with self.lock:
            return {key: n for key, n in self._answers[False].items() if key[1]}

    @property
    def batch_answers(self) -> dict[str, int]:
        """Prompt → usable answers in batches."""
        with self.lock:
            return {prompt: n for (prompt, _), n in self._answers[True].items()}

    @property
    def calls(self) -> list[Call]:
        """Live calls, in the order in which they came in."""
        with self.lock:
            return [call for call in self._calls if not call.in_batch]

    @property
    def batch_calls(self) -> list[Call]:
        """Requests run in batches, in the order in which they were run."""
        with self.lock:
            return [call for call in self._calls if call.in_batch]

    @property
    def requests(self) -> list[str]:
        """Every HTTP request: "GET /v1/batches/batch_1", chat calls included."""
        with self.lock:
            return list(self._requests)

    def wait_until(self, claim: Callable[[Self], bool], timeout_s: float = 60.0) -> bool:
        """Whether a claim about this log came true in time."""
        deadline = time.monotonic() + timeout_s
        while not claim(self):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def requested(self, method: str, path: str) -> None:
        """Note an HTTP request."""
        if self._keeps_calls:
            with self.lock:
                self._requests.append(f"{method} {path}")

    def received(
        self,
        provider: Provider,
        path: str,
        headers: Mapping[str, str],
        body: Json,
        in_batch: bool = False,
    ) -> Call:
        """Note a call, and number it."""
        prompt, prefill = _prompt_and_prefill(body)
        with self.lock:
            number = self._totals[False] + self._totals[True]
            attempt = self._seen[prompt, prefill]
            call = Call(provider, path, headers, body, prompt, prefill, number, attempt, in_batch)
            self._seen[prompt, prefill] += 1
            self._totals[in_batch] += 1
            if not in_batch:
                self._in_flight += 1
                self._max_in_flight = max(self._max_in_flight, self._in_flight)
            if self._keeps_calls:
                self._calls.append(call)
        return call

    def ended(self, call: Call, written: Reply | None) -> None:
        """Note that a call is in flight no more; `written` None if its answer never got out."""
        with self.lock:
            if not call.in_batch:
                self._in_flight -= 1
            if written is None:
                return
            if written.is_usable:
                self._answers[call.in_batch][call.prompt, call.prefill] += 1
            if self._file:
                line = {
                    "number": call.number,
                    "provider": call.provider,
                    "prompt": call.prompt,
                    "prefill": call.prefill,
                    "status": written.status,
                    "is_usable": written.is_usable,
                    "in_batch": call.in_batch,
                    "time": time.time(),
                }
                self._file.write(json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()


def _prompt_and_prefill(body: Json) -> tuple[str, str]:
    messages = body.get("messages") or []
    prefill = ""
    if messages and messages[-1].get("role") == "assistant":
        prefill = _text(messages[-1].get("content"))
    users = [message for message in messages if message.get("role") == "user"]
    return _text(users[-1].get("content")) if users else "", prefill


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())
