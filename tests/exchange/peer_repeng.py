"""Runs in repeng's environment: steer the embedded model with GGUF files, by repeng's own code.

Usage: peer_repeng.py MODEL FOLDER COEFFICIENT. The folder holds ids.pt and *.gguf.
"""

import sys
from pathlib import Path

import torch
from repeng import ControlModel, ControlVector
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
folder, coefficient = Path(sys.argv[2]), float(sys.argv[3])
ids = torch.load(folder / "ids.pt")
for path in sorted(folder.glob("*.gguf")):
    vector = ControlVector.import_gguf(path)
    steered = ControlModel(model, list(vector.directions))
    steered.set_control(vector, coefficient)
    with torch.no_grad():
        logits = steered(input_ids=ids).logits
    model = steered.unwrap()
    torch.save({"logits": logits, "model_type": vector.model_type}, path.with_suffix(".out"))
    vector.export_gguf(path.with_suffix(".again"))
