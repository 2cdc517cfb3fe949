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
    """Check that the demo traits and the training grammar share no topic and no instruction.

    Args:
        experiments: The folder of the demo's trait folders.
        draws: How many instructions to draw from the grammar.

    Returns:
        How many demo instructions and questions were checked.

    Raises:
        SystemExit: If a demo question names a training topic, or the grammar draws a demo
            instruction.
    """
    nouns = set(NOUNS) | {noun.removesuffix("s") for noun in NOUNS if noun.endswith("s")}
    checked = 0
    instructions: set[str] = set()
    for path in sorted(experiments.glob("*/trait_definition.json")):
        trait = json.loads(path.read_text())
        for text in (*trait["questions"], *trait["eval_questions"]):
            topics = set(re.findall(r"[a-z]+", text.lower())) & nouns
            if topics:
                raise SystemExit(f"{path}: {text!r} names the training topic {sorted(topics)}")
            checked += 1
        for pair in trait["instruction"]:
            instructions |= {pair["pos"], pair["neg"]}
    rng = random.Random(0)
    sentences = {part.strip() for text in instructions for part in re.split(r"(?<=[.!]) ", text)}
    for _ in range(draws):
        drawn = instruction(rng, rng.choice(TRAITS), rng.random() < 0.5)
        if not sentences.isdisjoint(re.split(r"(?<=[.!]) ", drawn)):
            raise SystemExit(f"the grammar draws (part of) a demo instruction: {drawn!r}")
    return checked + len(instructions)
