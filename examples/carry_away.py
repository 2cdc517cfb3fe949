"""Carry vectors into other tools, and read them back. Run: `python examples/carry_away.py`."""

# %% Two traits, as safetensors (every method and layer) and as a GGUF control vector (one trait)
import json
import tempfile
from pathlib import Path

from demo_results import demo_results
from gguf import GGUFReader
from safetensors import safe_open

from traitvec_core import ExperimentFolder, export_vectors, load_vector

experiments = demo_results("refusal", "uncertainty")
demo = ExperimentFolder(experiments, "demo")
refusal = load_vector(experiments, "demo", "refusal")
folder = Path(tempfile.mkdtemp(prefix="traitvec-example-"))
everything, control = folder / "demo.safetensors", folder / "refusal.gguf"
export_vectors(demo, ["refusal", "uncertainty"], "safetensors", everything, method="all")
# llama.cpp cannot name our layer 1: its lowest direction belongs to the second block.
export_vectors(demo, ["refusal"], "gguf", control)
for path in sorted(folder.iterdir()):
    print(f"{path}: {path.stat().st_size:,} bytes")

# %% safetensors: vectors by trait, method and layer; how they were made is in the header
with safe_open(everything, "pt") as file:
    made = json.loads(file.metadata()["traitvec"])
    found = file.get_tensor(f"refusal/{refusal.name}")
    print(f"\n{len(list(file.keys()))} vectors of the model {made['model']}")
print(f"refusal/{refusal.name} came back the same: {bool((found == refusal.vector).all())}")

# %% GGUF: llama.cpp and repeng count blocks from 0, so their direction k − 1 is our layer k
for tensor in GGUFReader(control).tensors:
    layer = int(tensor.name.removeprefix("direction.")) + 1
    print(f"\n{tensor.name}: {tensor.tensor_type.name} {tensor.data.shape}, our layer {layer}")
print(f"llama-cli -m MODEL.gguf --control-vector-scaled {control}:{refusal.coefficient:g}")

# %% The files stay where they are; delete the folder when you are done
