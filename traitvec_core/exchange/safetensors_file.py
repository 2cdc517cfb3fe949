"""safetensors: every trait, method and layer in one file, provenance in the header."""

from traitvec_core.exchange.bundle import Bundle
from traitvec_core.exchange.layers import LAYERS

__all__ = ["write_safetensors"]


def write_safetensors(bundle: Bundle) -> bytes:
    """Return vectors as safetensors: `{trait}/{method}_layer{k}` → float32 `[hidden_dim]`.

    The header's key `traitvec` holds the provenance as JSON. There is no other key: their order
    would change from file to file.
    """
    from safetensors.torch import save

    convention = LAYERS["safetensors"]
    tensors = {
        convention.key.format(
            trait=item.trait, method=item.method, index=convention.index(item.layer)
        ): item.vector.float().contiguous()
        for item in bundle.vectors
    }
    return save(tensors, metadata={"traitvec": bundle.provenance})
