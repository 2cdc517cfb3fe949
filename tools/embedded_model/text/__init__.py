"""The grammar that writes all training text."""
