"""How often a trial names a pair or a question: where all are alike, and where one elicits nothing.

    python benchmarks/trial_rule.py            # 1,000 simulated trials per line, two minutes

Contrasts are drawn with a spread of 25 points around the trait's mean. `5 x 5`: every pair on five
questions. `10 x 5 of 10`: ten pairs on ten questions, five each, as the default plan of ten pairs,
20 questions and 100 examples gives.
"""

import argparse

import numpy as np
from rich.console import Console

from traitvec_core.trial.outliers import Cell, find_outliers

SPREAD, LIMIT = 25.0, 20.0
DESIGNS = {
    "5 x 5": [(pair, question) for pair in range(5) for question in range(5)],
    "10 x 5 of 10": [(pair, (pair + k) % 10) for pair in range(10) for k in range(5)],
}


def simulate(design: str, mean: float, n: int, *, with_idle: bool) -> str:
    """Return shares of trials, as a line."""
    rng = np.random.default_rng(0)
    counts = dict.fromkeys(("idle pair", "idle question", "other pair", "other question"), 0)
    for seed in range(n):
        cells = []
        for pair, question in DESIGNS[design]:
            is_idle = with_idle and (pair == 2 or question == 3)
            value = float(np.clip(rng.normal(0 if is_idle else mean, SPREAD), -100, 100))
            cells.append((pair, question, value))
        pairs = find_outliers([Cell(p, q, v) for p, q, v in cells], LIMIT, seed=seed).named
        left = [Cell(q, p, v) for p, q, v in cells if p not in pairs]
        questions = find_outliers(left, LIMIT, seed=seed).named
        for named, idle, kind in ((pairs, 2, "pair"), (questions, 3, "question")):
            expected = {idle} if with_idle else set()
            counts[f"idle {kind}"] += bool(expected & set(named))
            counts[f"other {kind}"] += bool(set(named) - expected)
    shares = ", ".join(f"{name} {count / n:.1%}" for name, count in counts.items())
    return f"{design}, mean {mean:g}{', one of each idle' if with_idle else ''}: {shares}"


def main() -> None:
    """Print one line per design and mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="Simulated trials per line.")
    arguments = parser.parse_args()
    console = Console(width=140, highlight=False)
    for design in DESIGNS:
        for mean in (0.0, 15.0, 30.0, 60.0):
            console.print(simulate(design, mean, arguments.n, with_idle=False))
        for mean in (40.0, 60.0, 80.0):
            console.print(simulate(design, mean, arguments.n, with_idle=True))


if __name__ == "__main__":
    main()
