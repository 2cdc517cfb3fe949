"""The groups of an experiment's settings, one file each; `experiment.py` puts them together."""
