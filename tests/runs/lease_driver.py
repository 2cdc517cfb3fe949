"""A process that takes a GPU as a run does, works, and says when; `test_gpu_lease.py` starts many.

Each line on stdout is JSON: what happened, and when (seconds of the machine's clock).
"""

import json
import os
import sys
import time
from pathlib import Path

from traitvec_dagster.runs.gpu_lease import Step, seats, step_at


def main() -> None:
    """Work in places, one after the other: `gpu=SECONDS`, `elsewhere=NAME`, `gpu=forked`.

    A name instead of seconds means: until the test allows it with a file of that name.
    """
    owner, *works = sys.argv[1:]
    tell("waits")
    for number, work in enumerate(works, start=1):
        place, duration = work.split("=")
        needs_gpu_again = any(later.startswith("gpu") for later in works[number:])
        step = Step(
            owner, lambda text: tell("says", text), lambda gpu: None, keeps_gpu=needs_gpu_again
        )
        with step_at(place, step, lambda: tell("unloads")):  # type: ignore[arg-type]
            if place == "gpu":
                step.take_seat()
                tell("has", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
            else:
                tell("is away")
            # A child that lives on must not keep the lock.
            if duration == "forked" and os.fork() == 0:
                tell("has forked")
            _work(duration)
    tell("ends")


def _work(duration: str) -> None:
    if duration.replace(".", "").isdecimal():
        time.sleep(float(duration))
        return
    while not Path(os.environ["TMPDIR"], duration).exists():
        time.sleep(0.01)


def tell(what: str, which: str = "") -> None:
    print(json.dumps({"what": what, "which": which, "at": time.monotonic()}), flush=True)


def print_seats() -> None:
    """Print the seats, as a list of (name, names of the lock files), for each environment given."""
    for variables in map(json.loads, sys.argv[2:]):
        os.environ.update(variables)
        found = [(seat.name, [path.name for path in seat.locks]) for seat in seats()]
        print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "--seats":
        print_seats()
    else:
        main()
