"""Measures the embedded model on unseen traits and topics, and writes the figures beside it.

    python -m tools.embedded_model.measure --model traitvec_core/embedded/model

Independent of the pipeline: uses only transformers and torch. Rates are by the plain rules of
`rules.py`; scores are the model's own, as a judge.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from tools.embedded_model.figures.elicitation import measure_contrast, measure_topic, speak_poles
from tools.embedded_model.figures.judging import measure_judge
from tools.embedded_model.figures.rules import rule_rate
from tools.embedded_model.figures.speaker import Speaker
from tools.embedded_model.figures.steering import measure_steering
from tools.embedded_model.text.grammar import TRAITS
from traitvec_core.embedded import embedded_model_path

__all__ = ["measure"]


def measure(folder: Path, demo: Path, quick: bool = False) -> dict[str, Any]:
    """Return all figures of a model.

    Args:
        folder: The model's folder.
        demo: The folder of the demo's trait folders.
        quick: Smaller samples and no steering, for checks during training.

    Returns:
        The figures, ready for `figures.json`.
    """
    started = time.monotonic()
    speaker = Speaker(folder)
    traits = [json.loads((demo / name / "trait_definition.json").read_text()) for name in TRAITS]
    figures: dict[str, Any] = {"instructed": {}, "steering": {}}
    asks = [ask for trait in traits for ask in trait["questions"] + trait["eval_questions"]]
    texts = speaker.answer([speaker.prompt(ask) for ask in asks * (1 if quick else 3)])
    figures["base_rates"] = {name: rule_rate(name, texts) for name in TRAITS}
    for trait in traits:
        poles = speak_poles(speaker, trait)
        figures["instructed"][trait["name"]] = measure_contrast(speaker, trait, poles)
        if not quick:
            figures["steering"][trait["name"]] = measure_steering(speaker, trait, poles, 10)
    figures["judge"] = measure_judge(speaker, traits, 60 if quick else 150)
    figures["unseen_topic_in_answer"] = measure_topic(speaker, 40 if quick else 150)
    before = time.monotonic()
    speaker.answer([speaker.prompt(ask) for ask in (asks * 3)[:200]])
    figures["speed"] = {
        "seconds_for_200_answers": round(time.monotonic() - before, 2),
        "threads": torch.get_num_threads(),
    }
    figures["seconds_to_measure"] = round(time.monotonic() - started, 1)
    if not quick:
        figures["bars"] = bars(figures)
    return figures


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=embedded_model_path(), help="model folder")
    parser.add_argument(
        "--demo", type=Path, default=Path("experiments/demo"), help="folder of the trait folders"
    )
    parser.add_argument("--quick", action="store_true", help="small samples, print only")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = measure(options.model, options.demo, options.quick)
    text = json.dumps(figures, indent=2) + "\n"
    print(text)
    if not options.quick:
        beside = options.model / "figures.json.part"
        beside.write_text(text)
        os.replace(beside, options.model / "figures.json")


def bars(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return, for each requirement, the figure and whether it suffices."""
    rows: list[dict[str, Any]] = []

    def hold(claim: str, value: float, least: float) -> None:
        rows.append({"bar": claim, "at_least": least, "value": value, "holds": value >= least})

    for name in TRAITS:
        spoken, steered = figures["instructed"][name], figures["steering"][name]
        judged = figures["judge"][name]
        hold(f"{name}: contrast by its own judgement", spoken["contrast"], 60)
        hold(f"{name}: shown when asked for", spoken["rate_positive"], 0.8)
        hold(
            f"{name}: absent when the opposite is asked for",
            round(1 - spoken["rate_negative"], 3),
            0.8,
        )
        hold(f"{name}: judge's order right", judged["order_right"], 0.95)
        hold(f"{name}: judge's contrast, high and low text", judged["contrast"], 70)
        hold(f"{name}: judge's mass on numbers", judged["mass_on_numbers"], 0.9)
        hold(f"{name}: rate moved by steering", steered["moved"], 0.4)
        hold(
            f"{name}: rate not moved by a random vector",
            round(1 - steered["random_mean_absolute_move"], 3),
            0.85,
        )
    hold("coherence: clean over corrupted", figures["judge"]["coherence"]["contrast"], 30)
    hold("coherence: order right", figures["judge"]["coherence"]["order_right"], 0.95)
    hold("coherence: mass on numbers", figures["judge"]["coherence"]["mass_on_numbers"], 0.9)
    for kind, value in figures["unseen_topic_in_answer"].items():
        hold(f"unseen topic in the answer: {kind.replace('_', ' ')}", value, 0.8)
    return rows


if __name__ == "__main__":
    main()
