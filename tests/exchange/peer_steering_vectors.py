"""Runs in steering-vectors' environment: steer the embedded model by its own code.

Usage: peer_steering_vectors.py MODEL FOLDER COEFFICIENT. The folder holds ids.pt and v*.pt.
"""

import sys
from pathlib import Path

import torch
from steering_vectors import SteeringVector
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
folder, coefficient = Path(sys.argv[2]), float(sys.argv[3])
ids = torch.load(folder / "ids.pt")
for path in sorted(folder.glob("v*.pt")):
    vector = SteeringVector(**torch.load(path, weights_only=True))
    with torch.no_grad(), vector.apply(model, multiplier=coefficient):
        logits = model(input_ids=ids).logits
    torch.save({"logits": logits}, path.with_suffix(".out"))
