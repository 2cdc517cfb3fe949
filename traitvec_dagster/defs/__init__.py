"""What `dg scaffold defs` adds to this project; empty in the package."""
