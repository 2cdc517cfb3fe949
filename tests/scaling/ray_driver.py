"""A process that runs traits as the UI's run processes do, all at once; `test_ray.py` starts it.

Usage: `python -m tests.scaling.ray_driver STAGE,STAGE TRAIT…`.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._grpc.impl import core_execute_run


def main() -> None:
    """Run the stages, and their checks, of each trait."""
    stages, *traits = sys.argv[1:]
    assets = frozenset(dg.AssetKey(["demo", stage]) for stage in stages.split(","))
    repository = ReconstructableRepository.for_module("traitvec_dagster.definitions", "defs")
    job = repository.get_reconstructable_job("demo_traits").get_subset(asset_selection=assets)
    with dg.DagsterInstance.get() as instance:
        runs = [
            instance.create_run_for_job(
                job.get_definition(),
                tags={"dagster/partition": trait},
                asset_selection=assets,
                job_code_origin=job.get_python_origin(),
            )
            for trait in traits
        ]

        def execute(run: dg.DagsterRun) -> bool:
            for _event in core_execute_run(job, run, instance, inject_env_vars=False):
                pass
            ended = instance.get_run_by_id(run.run_id)
            return ended is not None and ended.is_success

        with ThreadPoolExecutor(len(runs)) as pool:
            done = list(pool.map(execute, runs))
    sys.exit(not all(done))


if __name__ == "__main__":
    main()
