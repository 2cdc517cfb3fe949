"""safetensors: every trait, method and layer in one file, with the provenance in its header."""

from traitvec_core.exchange.bundle import Bundle
from traitvec_core.exchange.file_formats.format import Format, LayerConvention

__all__ = ["SAFETENSORS", "write_safetensors"]

_LAYERS = LayerConvention("safetensors", 0, 0, "{trait}/{method}_layer{index}", is_menu=True)


def write_safetensors(bundle: Bundle) -> bytes:
    """Return vectors as safetensors: `{trait}/{method}_layer{k}` → float32 `[hidden_dim]`.

    The header's key `traitvec` holds the provenance as JSON. It is the only key: the order of
    several would differ from file to file.
    """
    from safetensors.torch import save

    tensors = {
        _LAYERS.key.format(
            trait=item.trait, method=item.method, index=_LAYERS.index(item.layer)
        ): item.vector.float().contiguous()
        for item in bundle.vectors
    }
    return save(tensors, metadata={"traitvec": bundle.provenance})


SAFETENSORS = Format(_LAYERS, ".safetensors", write_safetensors, holds_many=True, has_card=True)
