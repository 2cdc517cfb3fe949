"""The groups of settings that an experiment consists of, one concept per file."""
