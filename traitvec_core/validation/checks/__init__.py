"""The checks of a trait, one file per check; `table.py` lists them."""
