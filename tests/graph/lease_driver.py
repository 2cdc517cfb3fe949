"""A process that takes a GPU as a run does, works, and says when; `test_gpu_lease.py` starts many.

Each line on stdout is JSON: what happened, and when (seconds of the machine's clock).
"""

import json
import os
import sys
import time

from traitvec_dagster.runs.gpu_lease import Step, step_at


def main() -> None:
    """Work for some seconds: at a GPU, then perhaps elsewhere, then at the GPU again."""
    owner, *works = sys.argv[1:]
    tell("waits")
    for number, work in enumerate(works, start=1):
        place, seconds = work.split("=")
        wants_gpu_again = any(later.startswith("gpu") for later in works[number:])
        step = Step(
            owner, lambda text: tell("says", text), lambda gpu: None, keeps_gpu=wants_gpu_again
        )
        with step_at(place, step, lambda: tell("unloads")):  # type: ignore[arg-type]
            if place == "gpu":
                step.take_seat()
                tell("has", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
            else:
                tell("is away")
            if seconds == "forked":
                # A child that lives on must not keep the lock.
                if os.fork() == 0:
                    time.sleep(30)
                    os._exit(0)
                seconds = "30"
            time.sleep(float(seconds))
    tell("ends")


def tell(what: str, which: str = "") -> None:
    print(json.dumps({"what": what, "which": which, "at": time.monotonic()}), flush=True)


if __name__ == "__main__":
    main()
