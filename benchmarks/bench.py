"""Measure the promises about speed, mostly as ratios of two sides that take turns.

`make bench` prints each figure as it is measured. All figures of one run are in
`benchmarks/results.json`; until the run is complete, in `results.unfinished.json` beside it.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

PROJECT = Path(__file__).parent.parent
# Lets `python benchmarks/bench.py` import its siblings and the tests' servers.
sys.path.insert(0, str(PROJECT))

from benchmarks import (  # noqa: E402
    capture,
    command_line,
    engines,
    generation,
    graph,
    judging,
    many_traits,
    peers,
    steering,
    vectors,
)
from benchmarks.quoted import update_page  # noqa: E402
from benchmarks.record import Figure, Record, figure, is_met  # noqa: E402
from traitvec_core.storage.provenance import library_versions  # noqa: E402

PARTS: dict[str, Callable[[], Iterable[Figure]]] = {
    "location": graph.location_load,
    "capture": capture.figures,
    "extraction": vectors.extraction,
    "vectors": vectors.everything,
    "generation": generation.on_embedded_model,
    "generation-real": generation.on_real_model,
    "engines": engines.figures,
    "peers": peers.figures,
    "steering": steering.figures,
    "judging": judging.behind_an_api,
    "judging-local": judging.in_process,
    "dagster": graph.through_dagster,
    "many-traits": many_traits.figures,
    "command-line": command_line.figures,
}


def main(arguments: list[str] | None = None) -> None:
    """Measure everything, and print a table."""
    parser = argparse.ArgumentParser(description="Measure the promises about speed.")
    parser.add_argument(
        "--only", nargs="+", choices=[*PARTS], help="some parts, into results.partial.json"
    )
    parser.add_argument("--out", type=Path, default=PROJECT / "benchmarks")
    chosen = parser.parse_args(arguments)
    names = chosen.only or [*PARTS]
    about = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": dict(library_versions()),
    }
    # Some parts must never pass for all of them.
    record = Record(chosen.out / ("results.partial.json" if chosen.only else "results.json"), about)
    started = time.monotonic()
    for number, name in enumerate(names, start=1):
        sys.stdout.write(f"[{number}/{len(names)}, {time.monotonic() - started:.0f} s] {name}\n")
        sys.stdout.flush()
        before = _cpu_s()
        record.add(PARTS[name]())
        sys.stdout.write(f"    {name}: {_cpu_s() - before:.0f} CPU-seconds\n")
    record.add([figure("this run", time.monotonic() - started, "s", at_most=600)])
    record.finish()
    if chosen.only is None and chosen.out == PROJECT / "benchmarks":
        update_page(PROJECT / "docs/comparison.md", record.figures)
    Console(width=120).print(_table(record.figures))
    sys.stdout.write(f"written to {record.path}\n")


def _cpu_s() -> float:
    """CPU time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _table(figures: list[Figure]) -> Table:
    table = Table("figure", "value", "spread", "unit", "bar", "met")
    for row in figures:
        spread = f"{row['lowest']:.2f}–{row['highest']:.2f}" if "lowest" in row else ""
        bar = "" if row["bar"] is None else f"{'≥' if row.get('at_least') else '≤'} {row['bar']:g}"
        met = {True: "yes", False: "NO", None: ""}[is_met(row)]
        table.add_row(row["figure"], f"{row['value']:.3f}", spread, row["unit"], bar, met)
    return table


if __name__ == "__main__":
    main()
