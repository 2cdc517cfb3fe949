"""`make calibrate`: how often each check and the verdict say yes, when there is a trait and not.

Writes benchmarks/calibration.json and docs/calibration.md. Takes about an hour on two idle cores;
`--traits 20 --sets 3` gives a first impression in a few minutes, `--only` repeats one part.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kstest

from benchmarks.calibrate import steering
from benchmarks.calibrate.page import render
from benchmarks.calibrate.random_vectors import evaluate_random_vectors
from benchmarks.calibrate.traits import NON_TRAITS, PLANTED, Design, planted, simulate
from traitvec_core.experiment import Thresholds, VectorMethod
from traitvec_core.steering_evaluation.result import SteeringOptions
from traitvec_core.validation.measure_vectors import measure_vectors
from traitvec_core.validation.validate import check_vectors
from traitvec_core.validation.verdict import judge_vector

__all__ = ["main"]

_ROOT = Path(__file__).resolve().parents[2]
_RESULTS = _ROOT / "benchmarks" / "calibration.json"
# `ica` has no labels to overfit and costs as much as the other three together.
_METHODS: tuple[VectorMethod, ...] = ("mean_diff", "probe", "gradient")
_CHECKS = ("norm", "accuracy", "confounds", "chance", "stability")
# What changes with five pairs is `chance`, which they cannot pass.
_KINDS_OF_FIVE_PAIRS = ("exchangeable noise", "instruction-text effects", "length and a tic")
# As in the demo's experiment.yaml.
_DEMO_OPTIONS = SteeringOptions(n_search=12, n_held_out=30)
_SDS, _QUESTIONS = (0.0, 6.0, 12.0, 20.0), (5, 10, 20)


def measure(job: tuple[str, int, int]) -> dict[str, Any]:
    """Simulate one trait of a kind, measure it, and judge it.

    Args:
        job: The kind, the number of instruction pairs, and the number of the trait.
    """
    import torch

    kind, n_pairs, number = job
    torch.set_num_threads(1)
    design = Design(n_pairs=n_pairs)
    measured = measure_vectors(
        simulate(_kinds()[kind], design, number), range(1, 1 + design.n_layers), _METHODS
    )
    checks = check_vectors(measured, Thresholds())
    chance, winner = measured.chance, measured.separation.winner
    return {
        "verdict": judge_vector(checks)[0],
        "passes": {check.name: check.verdict == "pass" for check in checks},
        "p": {
            **{f"{test.of} swapped": test.p_value for test in chance.tests},
            **({"random directions": chance.random.p_value} if chance.random else {}),
        },
        "effect_size": winner.effect_size.value if winner else None,
        "covers_zero": winner is not None and (winner.effect_size.low or 0.0) <= 0,
        "is_hopeless": measured.forecast.is_hopeless,
    }


def _kinds() -> dict[str, Callable[..., Any]]:
    return {**NON_TRAITS, **{f"planted d = {size:g}": planted(s) for size, s in PLANTED.items()}}


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the shares over one kind's traits."""
    n = len(results)
    effects = [r["effect_size"] for r in results if r["effect_size"] is not None]
    verdicts = [r["verdict"] for r in results]
    return {
        "n": n,
        "verdict": {v: verdicts.count(v) / n for v in ("usable", "with_care", "not_usable")},
        "passes": {name: sum(r["passes"][name] for r in results) / n for name in _CHECKS},
        "p": {
            name: {
                "at_most_0.05": float(np.mean([r["p"][name] <= 0.05 for r in results])),
                # Of the distance from uniform; discrete p-values are a little above it.
                "kolmogorov_smirnov_p": float(
                    kstest([r["p"][name] for r in results], "uniform", alternative="greater").pvalue
                ),
            }
            for name in results[0]["p"]
        },
        "effect_size": float(np.mean(effects)) if effects else None,
        "interval_includes_zero": sum(r["covers_zero"] for r in results) / n,
        "steering_skipped_by_auto": sum(r["is_hopeless"] for r in results) / n,
    }


def main() -> None:
    """Run everything, or one part, and write the results and the page after each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traits", type=int, default=200, help="simulated traits of each kind")
    parser.add_argument("--sets", type=int, default=20, help="sets of random directions (model)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--only", choices=sorted(_PARTS), help="one part; the others stay as they were measured"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep what an interrupted run has measured"
    )
    options = parser.parse_args()
    for name, part in _PARTS.items():
        if options.only in (None, name):
            started = time.monotonic()
            _write(part(options, started), name, round(time.monotonic() - started))


def _traits(options: argparse.Namespace, started: float) -> dict[str, Any]:
    unfinished = _RESULTS.with_name(".calibration_unfinished.json")
    tables: dict[str, Any] = {}
    if options.resume and unfinished.exists():
        tables = json.loads(unfinished.read_text())
    with ProcessPoolExecutor(options.processes) as pool:
        for n_pairs, kinds in ((10, tuple(_kinds())), (5, _KINDS_OF_FIVE_PAIRS)):
            table = tables.setdefault(f"{n_pairs} pairs", {})
            for kind in kinds:
                if kind in table:
                    continue
                jobs = [(kind, n_pairs, number) for number in range(options.traits)]
                table[kind] = summarise(list(pool.map(measure, jobs, chunksize=5)))
                unfinished.write_text(json.dumps(tables))
                _say(started, f"{n_pairs} pairs, {kind}: {table[kind]['verdict']}")
            # A resumed run measures in another order.
            tables[f"{n_pairs} pairs"] = {kind: table[kind] for kind in kinds}
    unfinished.unlink()
    return {"design": vars(Design()), "traits": tables}


def _steering(options: argparse.Namespace, started: float) -> dict[str, Any]:
    cells = [(sd, n, None) for sd in _SDS for n in _QUESTIONS]
    cells += [(6.0, n, 48.0) for n in _QUESTIONS]
    with ProcessPoolExecutor(options.processes) as pool:
        shares = list(pool.map(_steering_share, [(*cell, options.traits) for cell in cells]))
    _say(started, f"steering in simulation: {shares}")
    return {
        "steering": [
            {"sd": sd, "questions": n, "effect": effect, "n": options.traits, "steers": share}
            for (sd, n, effect), share in zip(cells, shares, strict=True)
        ]
    }


def _model(options: argparse.Namespace, started: float) -> dict[str, Any]:
    """Random directions in place of the demo's vectors, with the demo's numbers of responses."""
    unfinished = _RESULTS.with_name(".calibration_unfinished_sets.json")
    random: list[dict[str, Any]] = []
    if options.resume and unfinished.exists():
        random = json.loads(unfinished.read_text())[: options.sets]
    for result in evaluate_random_vectors(options.sets, _DEMO_OPTIONS, first=len(random)):
        random.append(result)
        unfinished.write_text(json.dumps(random))
        _say(started, f"random set {result['set']}: steers {result['steers']}")
    unfinished.unlink()
    return {
        "steering_on_the_model": {
            "random_sets": len(random),
            "random_called_steering": sum(r["steers"] for r in random),
            "sets": random,
        }
    }


_PARTS = {"traits": _traits, "steering": _steering, "model": _model}


def _write(figures: Mapping[str, Any], part: str, seconds: int) -> None:
    record = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {"measured": {}}
    record |= figures
    record["measured"][part] = {
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": seconds,
        **{name: version(name) for name in ("traitvec", "torch", "numpy")},
        "python": platform.python_version(),
    }
    _RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    if set(_PARTS) <= set(record["measured"]):
        (_ROOT / "docs" / "calibration.md").write_text(render(record), encoding="utf-8")


def _steering_share(cell: tuple[float, int, float | None, int]) -> float:
    sd, n_questions, effect, n_sets = cell
    return steering.simulate(sd, n_questions, n_sets, seed=0, effect=effect)


def _say(started: float, text: str) -> None:
    print(f"{time.monotonic() - started:6.0f} s  {text}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
