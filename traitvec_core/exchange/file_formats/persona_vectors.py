"""The `.pt` files of persona vectors (Chen et al. 2025): float32 `[n_layers + 1, hidden_dim]`.

Row k is `hidden_states[k]` of transformers: row 0 is the embedding output, row k the output of
block k counted from 1, as in our layers. Their last row is taken after the final norm, ours before.
"""

from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.bundle import Bundle
from traitvec_core.exchange.file_formats.format import Format, LayerConvention
from traitvec_core.exchange.file_formats.pt_archive import dump_pt
from traitvec_core.storage.formats import load_tensor

if TYPE_CHECKING:
    import torch

__all__ = ["PERSONA_VECTORS", "read_persona_tensor", "write_persona_vectors"]

# To steer with row k, their code hooks block k − 1.
_LAYERS = LayerConvention("persona-vectors", 0, 0, "row {index}", is_menu=True)


def write_persona_vectors(bundle: Bundle) -> bytes:
    """Return one trait's vectors as a persona-vectors tensor; rows without a vector are zero."""
    import torch

    rows = torch.zeros(bundle.n_layers, bundle.hidden_dim)
    for item in bundle.vectors:
        rows[_LAYERS.index(item.layer)] = item.vector
    return dump_pt(rows, bundle.provenance)


def read_persona_tensor(data: bytes, where: str) -> "torch.Tensor":
    """Read a persona-vectors tensor.

    Args:
        data: The file's bytes. Pickled objects are refused.
        where: The file, for messages.

    Returns:
        float32 `[n_layers + 1, hidden_dim]`.

    Raises:
        TraitvecError: If the file holds anything else, or numbers that are not finite.
    """
    import torch

    try:
        rows = load_tensor(data)
    except TraitvecError as error:
        raise TraitvecError(f"{where}: {error}") from None
    if rows.ndim != 2 or len(rows) < 3 or not rows.is_floating_point():
        raise TraitvecError(
            f"{where}: expected a float tensor [n_layers + 1, hidden_dim], got"
            f" {list(rows.shape)} of {str(rows.dtype).removeprefix('torch.')}"
        )
    if not torch.isfinite(rows).all():
        raise TraitvecError(
            f"{where}: contains NaN or infinity, as when a pole had no responses; recreate it"
        )
    return rows.float()


PERSONA_VECTORS = Format(_LAYERS, ".pt", write_persona_vectors)
