"""A process that runs traits as the UI's run processes do, all at once; `test_ray.py` starts it.

Usage: `python -m tests.scaling.ray_driver STAGE,STAGE TRAIT…`.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import dagster as dg

from tests.projects import REPOSITORY


def demo_traits() -> dg.JobDefinition:
    """The demo's job; the processes of its steps call this too."""
    from traitvec_dagster.definitions import defs

    return defs.resolve_job_def("demo_traits")


def main() -> None:
    """Run the stages, and their checks, of each trait."""
    stages, *traits = sys.argv[1:]
    assets = [dg.AssetKey(["demo", stage]) for stage in stages.split(",")]
    job = dg.build_reconstructable_job(
        "tests.scaling.ray_driver",
        demo_traits.__name__,
        reconstructor_working_directory=str(REPOSITORY),
    )
    with dg.DagsterInstance.get() as instance:
        # Dagster sets logging up anew for each run, where threads of one process can block each
        # other for ever; runs of the UI have a process each.
        instance.get_yaml_python_handlers = list  # type: ignore[method-assign]

        def execute(trait: str) -> bool:
            result = dg.execute_job(
                job, instance, asset_selection=assets, tags={"dagster/partition": trait}
            )
            return result.success

        with ThreadPoolExecutor(len(traits)) as pool:
            is_success = list(pool.map(execute, traits))
    sys.exit(not all(is_success))


if __name__ == "__main__":
    main()
