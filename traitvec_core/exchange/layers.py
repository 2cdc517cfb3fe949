"""How each target counts layers: one table, held by tests and written out in docs/exchange.md.

Our layer k is the residual stream after decoder block k, counted from 1; layer 0 is the embedding
output. Tools that hook modules count the same blocks from 0, so their block k − 1 is our layer k.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from traitvec_core.errors import TraitvecError

__all__ = ["LAYERS", "LayerConvention"]


@dataclass(frozen=True)
class LayerConvention:
    """How one target names the vector of our layer k.

    Attributes:
        name: The target, as in `--format`.
        offset: What to add to our layer to get the target's number.
        first_layer: Lowest of our layers that the target can hold.
        key: Where in the file the vector of the target's number `{index}` lies.
        is_menu: Whether a reader picks layers from the file. Where it does not, it steers with
            every vector of the file at once.
    """

    name: str
    offset: int
    first_layer: int
    key: str
    is_menu: bool

    def index(self, layer: int) -> int:
        """Return the target's number for our layer.

        Raises:
            TraitvecError: If the target cannot hold this layer.
        """
        if layer < self.first_layer:
            lowest = self.key.replace("{index}", str(self.first_layer + self.offset))
            raise TraitvecError(
                f"{self.name} cannot hold layer {layer}: the lowest it can name is our layer"
                f" {self.first_layer} ({lowest})"
            )
        return layer + self.offset

    def holdable(self, layers: Iterable[int]) -> list[int]:
        """Return those of our layers that the target can hold, sorted."""
        return sorted(layer for layer in layers if layer >= self.first_layer)


LAYERS = {
    convention.name: convention
    for convention in (
        LayerConvention("safetensors", 0, 0, "{trait}/{method}_layer{index}", is_menu=True),
        # llama.cpp adds direction.N to the output of block N, counted from 0, and refuses N = 0;
        # repeng reads and writes the same numbers.
        LayerConvention("gguf", -1, 2, "direction.{index}", is_menu=False),
        # Row k is hidden_states[k]; its code hooks block k − 1 to steer with it.
        LayerConvention("persona-vectors", 0, 0, "row {index}", is_menu=True),
        LayerConvention("steering-vectors", -1, 1, "layer_activations[{index}]", is_menu=False),
    )
}
