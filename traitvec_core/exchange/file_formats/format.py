"""What describes a file format: its files, its writer, and how it counts layers.

Our layer k is the residual stream after decoder block k, counted from 1; layer 0 is the embedding
output. Tools that hook modules count the same blocks from 0, so their block k − 1 is our layer k.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.bundle import Bundle

__all__ = ["Format", "LayerConvention"]


@dataclass(frozen=True)
class LayerConvention:
    """How a format names the vector of our layer k.

    Attributes:
        name: The format, as in `--format`.
        offset: What to add to our layer to get the format's index.
        first_layer: The lowest of our layers that the format can hold.
        key: Where the file keeps the vector of the format's index `{index}`.
        is_menu: Whether a reader picks layers from the file. If not, it steers with every vector
            of the file at once.
    """

    name: str
    offset: int
    first_layer: int
    key: str
    is_menu: bool

    def index(self, layer: int) -> int:
        """Return the format's index for our layer.

        Raises:
            TraitvecError: If the format cannot hold this layer.
        """
        if layer < self.first_layer:
            lowest = self.key.replace("{index}", str(self.first_layer + self.offset))
            raise TraitvecError(
                f"{self.name} cannot hold layer {layer}; its lowest is our layer"
                f" {self.first_layer} ({lowest})"
            )
        return layer + self.offset

    def layer(self, index: int) -> int:
        """Return our layer for the format's index, as readers count it."""
        return index - self.offset

    def holdable(self, layers: Iterable[int]) -> list[int]:
        """Return those of our layers that the format can hold, sorted."""
        return sorted(layer for layer in layers if layer >= self.first_layer)


@dataclass(frozen=True)
class Format:
    """A file format for vectors.

    Attributes:
        layers: How it names layers; holds the format's name.
        suffix: Of its files.
        write: Turns a bundle into the file's bytes.
        holds_many: Whether one file can hold several traits and methods.
        has_card: Whether a model card (`.md`) is written beside the file.
    """

    layers: LayerConvention
    suffix: str
    write: Callable[[Bundle], bytes]
    holds_many: bool = False
    has_card: bool = False

    @property
    def name(self) -> str:
        """The format's name, as in `--format`."""
        return self.layers.name
