"""The header of a GGUF file: its metadata and the table of its tensors.

The reader needs no torch and never touches the weights, so that a bad file is refused at once, with
one line. The format is specified in the repository ggml-org/ggml.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traitvec_core.errors import TraitvecError

__all__ = ["GgufHeader", "GgufTensor", "read_gguf_header"]

_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
# Codes of `struct` for the fixed-size types of metadata values.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # fmt: skip # noqa: E501
_MAX_DIMENSIONS = 4


@dataclass(frozen=True)
class GgufTensor:
    """One tensor of a GGUF file.

    Attributes:
        name: Its name in the file, such as `blk.0.attn_q.weight`.
        shape: Its shape in torch's order.
        type: Its number in `ggml_type`.
        offset: Where it begins, counted from the first tensor.
    """

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """Everything in a GGUF file except the weights.

    Attributes:
        metadata: Values by key, such as `llama.block_count`; arrays are lists.
        tensors: The table of tensors.
        data_start: Where the weights begin.
    """

    metadata: dict[str, Any]
    tensors: tuple[GgufTensor, ...]
    data_start: int

    @property
    def architecture(self) -> str:
        """`llama`, `gemma3` and so on; empty if the file does not say."""
        return str(self.metadata.get("general.architecture", ""))

    def of_architecture(self, key: str, default: Any = None) -> Any:
        """Return the value of a key of the architecture, such as `block_count`."""
        return self.metadata.get(f"{self.architecture}.{key}", default)

    def special_id(self, name: str) -> int | None:
        """Return the id of a special token, such as `eos`, or None."""
        value = self.metadata.get(f"tokenizer.ggml.{name}_token_id")
        return value if isinstance(value, int) and 0 <= value < len(self.tokens) else None

    @property
    def tokens(self) -> list[str]:
        """The vocabulary, by id; empty if the file has no tokenizer."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        return tokens if isinstance(tokens, list) else []


def read_gguf_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file.

    Raises:
        TraitvecError: If it cannot be read, is no GGUF file, or ends too early.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise TraitvecError(
                    f"model {str(path)!r} is not a GGUF file (it does not begin with GGUF); check"
                    " the path, or download it again"
                )
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as blob:
                return _Reader(path, blob).header()
    except OSError as error:
        raise TraitvecError(
            f"model {str(path)!r} could not be read ({error.strerror or error}); check the path"
            " and its permissions"
        ) from None
    except _Ended:
        raise TraitvecError(
            f"model {str(path)!r} is truncated or damaged: its header ends too early; download it"
            " again"
        ) from None


class _Ended(Exception):  # noqa: N818  # an end, which the caller words as an error
    """The file ends, or makes no sense, before its header is complete."""


class _Reader:
    """Reads forwards; every length is checked against the file, for the file may be damaged."""

    def __init__(self, path: Path, blob: mmap.mmap) -> None:
        self._path = path
        self._blob = blob
        self._at = 4

    def header(self) -> GgufHeader:
        version = self._number("I")
        if version not in _VERSIONS:
            raise TraitvecError(
                f"model {str(self._path)!r} is GGUF version {version}; traitvec reads version 2"
                " and 3, so convert it again with a current llama.cpp"
            )
        n_tensors, n_values = self._number("Q"), self._number("Q")
        metadata = {}
        for _ in range(n_values):
            key = self._string()
            metadata[key] = self._value(self._number("I"))
        tensors = tuple(self._tensor() for _ in range(n_tensors))
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise _Ended
        return GgufHeader(metadata, tensors, -(-self._at // alignment) * alignment)

    def _tensor(self) -> GgufTensor:
        name, n_dimensions = self._string(), self._number("I")
        if n_dimensions > _MAX_DIMENSIONS:
            raise _Ended
        # The file counts the fastest-moving dimension first.
        shape = tuple(reversed([self._number("Q") for _ in range(n_dimensions)]))
        return GgufTensor(name, shape, self._number("I"), self._number("Q"))

    def _value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            raise _Ended
        element, count = self._number("I"), self._number("Q")
        if element in _NUMBERS:
            layout = _NUMBERS[element]
            raw = self._take(count * struct.calcsize(f"<{layout}"))
            return list(struct.unpack(f"<{count}{layout}", raw))
        if element != _STRING:
            raise _Ended
        return [self._string() for _ in range(count)]

    def _number(self, layout: str) -> Any:
        (value,) = struct.unpack(f"<{layout}", self._take(struct.calcsize(f"<{layout}")))
        return value

    def _string(self) -> str:
        # Vocabularies hold pieces of characters.
        return self._take(self._number("Q")).decode("utf-8", "replace")

    def _take(self, n_bytes: int) -> bytes:
        end = self._at + n_bytes
        if end > len(self._blob):
            raise _Ended
        piece = self._blob[self._at : end]
        self._at = end
        return piece
