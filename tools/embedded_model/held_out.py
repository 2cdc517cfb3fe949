"""Checks that the demo's traits are not part of the training text."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from tools.embedded_model.text.grammar import TRAITS, instruction
from tools.embedded_model.text.topics import NOUNS

__all__ = ["assert_held_out"]


def assert_held_out(experiments: Path, draws: int = 200_000) -> int:
    """Checks that the demo traits and the training grammar have no topic and no order in common.

    Args:
        experiments: The folder of the demo's trait folders.
        draws: How many instructions to draw from the grammar.

    Returns:
        How many demo instructions and questions were checked.

    Raises:
        SystemExit: If a demo question names a training topic, or a demo instruction is among
            those drawn from the grammar.
    """
    nouns = set(NOUNS) | {noun.removesuffix("s") for noun in NOUNS if noun.endswith("s")}
    checked = 0
    orders: set[str] = set()
    for path in sorted(experiments.glob("*/trait_definition.json")):
        trait = json.loads(path.read_text())
        for text in (*trait["questions"], *trait["eval_questions"]):
            known = set(re.findall(r"[a-z]+", text.lower())) & nouns
            if known:
                raise SystemExit(f"{path}: {text!r} names the training topic {sorted(known)}")
            checked += 1
        for pair in trait["instruction"]:
            orders |= {pair["pos"], pair["neg"]}
    rng = random.Random(0)
    sentences = {part.strip() for order in orders for part in re.split(r"(?<=[.!]) ", order)}
    for _ in range(draws):
        drawn = instruction(rng, rng.choice(TRAITS), rng.random() < 0.5)
        if not sentences.isdisjoint(re.split(r"(?<=[.!]) ", drawn)):
            raise SystemExit(f"the grammar writes (part of) a demo instruction: {drawn!r}")
    return checked + len(orders)
