"""The provenance of an artifact: hashes of its inputs, settings, versions, time and cost."""

import hashlib
import platform
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel, Field

from traitvec_core.stage_names import Stage

__all__ = ["Cost", "Provenance", "content_hash", "library_versions"]


@cache
def library_versions() -> tuple[tuple[str, str], ...]:
    """Return the versions of the libraries that results depend on, without importing them."""
    versions = [("python", platform.python_version())]
    for name in ("traitvec", "torch", "transformers", "numpy", "scikit-learn"):
        try:
            versions.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(versions)


class Cost(BaseModel):
    """What a stage cost; `usd` is None if a price is not known."""

    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Return the sum; its dollars are None if either is."""
        is_known = self.usd is not None and other.usd is not None
        return Cost(
            seconds=self.seconds + other.seconds,
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            usd=(self.usd or 0.0) + (other.usd or 0.0) if is_known else None,
        )


class Provenance(BaseModel):
    """What an artifact was made from, when, and at what cost.

    Attributes:
        stage: The stage that made it.
        key: Hash of everything that determines the result; a stage with another key is stale.
        inputs: Content hashes of the inputs, by name.
        settings: The settings that the stage used.
        files: Content hash of each file of the artifact, by path in the trait's folder.
        content: Hash over the files that hold results: the artifact's data version.
        metadata: Hash of the rest of the metadata file. Empty in results of traitvec before 0.9,
            whose metadata cannot be verified.
        versions: Python and library versions.
        created_at: When it was finished, UTC.
        cost: Seconds, tokens and dollars.
        is_complete: False if some of the work failed in a way that another run may fix.
    """

    stage: Stage
    key: str
    inputs: dict[str, str]
    settings: dict[str, Any]
    files: dict[str, str] = Field(default_factory=dict)
    content: str = ""
    metadata: str = ""
    versions: dict[str, str] = Field(default_factory=lambda: dict(library_versions()))
    created_at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    cost: Cost = Field(default_factory=Cost)
    is_complete: bool = True


def content_hash(data: bytes | str) -> str:
    """Return the SHA-256 of bytes, or of text as UTF-8, in hex."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
