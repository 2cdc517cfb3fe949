"""Providers of judges: one module per provider, one row per provider in `table.PROVIDERS`."""
