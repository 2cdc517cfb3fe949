"""The arguments of the steering-vectors library's `SteeringVector`, as a `.pt` file."""

from traitvec_core.exchange.bundle import Bundle
from traitvec_core.exchange.file_formats.format import Format, LayerConvention
from traitvec_core.exchange.file_formats.pt_archive import dump_pt

__all__ = ["STEERING_VECTORS", "write_steering_vectors"]

_LAYERS = LayerConvention("steering-vectors", -1, 1, "layer_activations[{index}]", is_menu=False)


def write_steering_vectors(bundle: Bundle) -> bytes:
    """Return one trait's vectors as the arguments of `steering_vectors.SteeringVector`.

    `SteeringVector(**torch.load(path, weights_only=True))` rebuilds it. Its keys are decoder blocks
    counted from 0, and it steers with all of them at once.
    """
    activations = {
        _LAYERS.index(item.layer): item.vector.float().clone() for item in bundle.vectors
    }
    arguments = {"layer_activations": activations, "layer_type": "decoder_block"}
    return dump_pt(arguments, bundle.provenance)


STEERING_VECTORS = Format(_LAYERS, ".pt", write_steering_vectors)
