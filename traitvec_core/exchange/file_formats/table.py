"""The table of file formats. Another format is one file beside this one, and one row here."""

from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.file_formats.format import Format
from traitvec_core.exchange.file_formats.gguf_file import GGUF
from traitvec_core.exchange.file_formats.persona_vectors import PERSONA_VECTORS
from traitvec_core.exchange.file_formats.safetensors_file import SAFETENSORS
from traitvec_core.exchange.file_formats.steering_vectors import STEERING_VECTORS

__all__ = ["FORMATS", "LAYERS", "find_format"]

FORMATS = {
    format_.name: format_
    for format_ in (
        SAFETENSORS,
        GGUF,
        PERSONA_VECTORS,
        STEERING_VECTORS,
    )
}
# Tests check each of these against its tool's own reader; docs/exchange.md shows them.
LAYERS = {name: format_.layers for name, format_ in FORMATS.items()}


def find_format(name: str) -> Format:
    """Return the format of this name.

    Raises:
        TraitvecError: If there is no such format.
    """
    if name not in FORMATS:
        raise TraitvecError(f"unknown format {name!r}; choose one of: {', '.join(FORMATS)}")
    return FORMATS[name]
