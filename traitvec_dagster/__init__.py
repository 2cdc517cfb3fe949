"""The asset graph over `experiments/`: Dagster around `traitvec_core`."""
