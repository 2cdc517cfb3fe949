"""Experiments and traits on disk, and in a bucket."""
