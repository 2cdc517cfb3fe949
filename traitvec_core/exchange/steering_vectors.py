"""The plain dictionary of the library steering-vectors, and `.pt` files with provenance inside."""

import io
import zipfile
from typing import Any

from traitvec_core.exchange.bundle import Bundle
from traitvec_core.exchange.layers import LAYERS

__all__ = ["RECORD", "dump_pt", "write_steering_vectors"]

# Beside the tensors in the archive; torch reads past what it does not know.
RECORD = "traitvec.json"


def write_steering_vectors(bundle: Bundle) -> bytes:
    """Return one trait's vectors as the arguments of `steering_vectors.SteeringVector`.

    `SteeringVector(**torch.load(path, weights_only=True))` makes one. Its numbers are decoder
    blocks counted from 0, and it steers with all of them at once.
    """
    convention = LAYERS["steering-vectors"]
    activations = {
        convention.index(item.layer): item.vector.float().clone() for item in bundle.vectors
    }
    arguments = {"layer_activations": activations, "layer_type": "decoder_block"}
    return dump_pt(arguments, bundle.provenance)


def dump_pt(value: Any, provenance: str) -> bytes:
    """Return a `.pt` file that loads with `weights_only=True` and holds a record beside the value.

    Args:
        value: Tensors, and plain containers of them.
        provenance: JSON; `unzip -p FILE '*/traitvec.json'` prints it.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    # A .pt file is a zip archive; all its entries lie in one folder.
    with zipfile.ZipFile(buffer, "a") as archive:
        folder = archive.namelist()[0].partition("/")[0]
        # A fixed date: equal vectors give equal files.
        archive.writestr(zipfile.ZipInfo(f"{folder}/{RECORD}"), provenance)
    return buffer.getvalue()
