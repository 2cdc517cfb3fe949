"""Dagster's pages behind a front that only they can pass."""
