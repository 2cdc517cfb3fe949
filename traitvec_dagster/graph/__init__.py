"""The asset graph of an experiment."""
