"""Writers that reword over the wire."""

from tests.writing.conftest import serve

__all__ = ["serve"]
