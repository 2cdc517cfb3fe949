"""Unfinished drafts on disk: finished parts and what they cost, so that a killed draft goes on."""

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.trait_lock import holder_of, sign, try_lock
from traitvec_core.storage.tree import path_to_write, remove_inside
from traitvec_core.writing.prompts import PROMPT_VERSION
from traitvec_core.writing.writer import Writer, Written

__all__ = [
    "UnfinishedDraft",
    "draft_key",
    "remove_draft",
    "remove_outdated",
    "unfinished_draft",
]

_FOLDER = ".drafts"


def draft_key(
    sentence: str, writer: Writer, seed: int, prompt_version: int = PROMPT_VERSION
) -> str:
    """Return a hash of all that determines a draft."""
    determining = [sentence, writer.identity, seed, prompt_version]
    return hashlib.sha256(json.dumps(determining).encode()).hexdigest()[:32]


class _State(BaseModel):
    """The file of an unfinished draft.

    Attributes:
        sentence: For people who look into the file.
        parts: The answers that were accepted, by the part's name.
        given_up: Why a part that a draft can do without is not asked for again, by its name.
        calls: Answers, unusable ones included.
        usd: What they cost; None if the price was unknown at one of them.
    """

    model_config = ConfigDict(extra="ignore")

    sentence: str = ""
    started: str = ""
    parts: dict[str, Any] = Field(default_factory=dict)
    given_up: dict[str, str] = Field(default_factory=dict)
    calls: int = Field(default=0, ge=0)
    tokens_in: int = Field(default=0, ge=0)
    tokens_out: int = Field(default=0, ge=0)
    usd: float | None = Field(default=0.0, ge=0, allow_inf_nan=False)


class UnfinishedDraft:
    """What is there of a draft; every change is on disk at once, if there is a folder.

    Args:
        sentence: The sentence.
        key: See `draft_key`.
        folder: The experiment that keeps the draft; None keeps it in memory.
    """

    def __init__(self, sentence: str, key: str, folder: ExperimentFolder | None) -> None:
        self.key = key
        self._folder = folder
        self._state = _read(folder, key) or _State(sentence=sentence, started=_now())

    @property
    def calls(self) -> int:
        """Answers so far, by this process and earlier ones."""
        return self._state.calls

    @property
    def tokens(self) -> tuple[int, int]:
        """Input and output tokens so far."""
        return self._state.tokens_in, self._state.tokens_out

    @property
    def usd(self) -> float | None:
        """What the answers so far cost; None if the price is unknown."""
        return self._state.usd

    def part(self, name: str) -> Any:
        """Return the accepted answer of a part, as JSON; None if there is none."""
        return self._state.parts.get(name)

    def pay(self, written: Written) -> None:
        """Record what an answer cost, before it is read."""
        state = self._state
        state.calls += 1
        state.tokens_in += written.usage.tokens_in
        state.tokens_out += written.usage.tokens_out
        if written.usd is None or state.usd is None:
            state.usd = None
        else:
            state.usd += written.usd
        self._write()

    def keep(self, name: str, answer: BaseModel) -> None:
        """Record the accepted answer of a part."""
        self._state.parts[name] = answer.model_dump()
        self._write()

    def give_up(self, name: str, why: str) -> None:
        """Record that a part is not asked for again, and why."""
        self._state.given_up[name] = why
        self._write()

    def given_up(self, name: str) -> str | None:
        """Return why a part is not asked for again; None if it is."""
        return self._state.given_up.get(name)

    def _write(self) -> None:
        if self._folder is not None:
            text = json.dumps(self._state.model_dump(), indent=2) + "\n"
            self._folder.write(_file(self.key), text.encode())


@contextmanager
def unfinished_draft(
    sentence: str, key: str, folder: ExperimentFolder | None
) -> Iterator[UnfinishedDraft]:
    """Open a draft, new or unfinished, for this process alone.

    Args:
        sentence: The sentence.
        key: See `draft_key`.
        folder: The experiment that keeps the draft; None keeps it in memory.

    Raises:
        TraitvecError: If another process is working on this draft.
    """
    with ExitStack() as held:
        if folder is not None:
            place = path_to_write(folder.path, f"{_FOLDER}/{key}").parent
            place.mkdir(parents=True, exist_ok=True)
            lock = try_lock(held, place, key, fcntl.LOCK_EX)
            if lock is None:
                raise TraitvecError(
                    f"this draft is being written by {holder_of(place, key) or 'another process'};"
                    " wait until it ends, or end it, then run again"
                )
            sign(lock, "")
        yield UnfinishedDraft(sentence, key, folder)


def remove_draft(key: str, folder: ExperimentFolder) -> None:
    """Remove what is kept of a draft; called when its definition is on disk."""
    for name in (_file(key), f"{_FOLDER}/.locks/{key}"):
        remove_inside(folder.path, name)
    for name in (f"{_FOLDER}/.locks", _FOLDER):
        # Other drafts may be in progress.
        with suppress(OSError):
            path_to_write(folder.path, name).rmdir()


def remove_outdated(sentence: str, writer: Writer, seed: int, folder: ExperimentFolder) -> bool:
    """Remove what earlier prompts left unfinished of a draft; returns whether there was any."""
    keys = [draft_key(sentence, writer, seed, version) for version in range(1, PROMPT_VERSION)]
    outdated = [key for key in keys if (folder.path / _file(key)).exists()]
    for key in outdated:
        remove_draft(key, folder)
    return bool(outdated)


def _file(key: str) -> str:
    return f"{_FOLDER}/{key}.json"


def _read(folder: ExperimentFolder | None, key: str) -> _State | None:
    if folder is None:
        return None
    try:
        return _State.model_validate_json(folder.read(_file(key)))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        # Starting over in silence would pay for the same parts again.
        raise TraitvecError(
            f"{display_path(folder.path / _file(key))}: this unfinished draft cannot be read;"
            " delete it to start over"
        ) from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
